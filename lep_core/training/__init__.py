"""Continued pre-training of the input embeddings and the head, with everything else frozen (method section 3)."""
