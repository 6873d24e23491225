"""The demo: a small generated world in English and Russian, and a tiny base and instruct model that live in it."""
