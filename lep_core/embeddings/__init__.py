"""Rows for a new vocabulary: initialisation by averaging, and nearest neighbours of a row (method, section 2)."""
