"""Carry trained embeddings of the base model over to its instruct sibling (method, section 4)."""
