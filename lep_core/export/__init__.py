"""Model folders for others: files, model card, and proof that the written model computes the same."""
