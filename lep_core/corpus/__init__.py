"""Text of any kind into documents: reading, cleaning, splitting, counting duplicates, statistics, and the corpus folder."""
