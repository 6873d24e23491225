"""Tests of lep_core.corpus."""
