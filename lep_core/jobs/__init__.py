"""Runs in child processes: their command, a thread that watches each of them, and whose turn it is."""
