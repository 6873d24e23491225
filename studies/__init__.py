"""Does the method work? Measurements on real text and real tokenizers, and on models that a CPU can train.

Each study is a small script over the public API that writes one file of results; `report` makes the tables and plots of docs/study.md
from these files. The parts of a study share its name; what studies share is in `results`, `report` and `svg`.
"""
