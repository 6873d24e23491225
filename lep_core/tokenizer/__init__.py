"""Vocabularies: canonical bytes, new tokens, the map between two vocabularies, and how many tokens a text needs.

`bytes` compares tokens, `train` and `extend` learn them, `build` writes a tokenizer folder, `mapping` spells new tokens with
old ones, `fertility` measures. Import the submodules; this package itself imports nothing.
"""
