"""One module per tab; each has `build(studio) -> TabParts`."""
