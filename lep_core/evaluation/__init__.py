"""Measurements of models, each with its number of observations and a 95 % interval (the method: arXiv 2412.21140, section 5)."""
