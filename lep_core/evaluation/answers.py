"""When two answers are the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def normalized(text: str) -> str:
    """NFKC, case folded, without surrounding white space and final punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold().strip()
    end = len(folded)
    while end and (unicodedata.category(folded[end - 1]).startswith("P") or folded[end - 1].isspace()):
        end -= 1
    # An answer that is nothing but punctuation stays.
    return folded[:end] or folded


def is_right(answer: str, accepted: Sequence[str]) -> bool:
    """Whether an answer equals one of the accepted ones."""
    return normalized(answer) in {normalized(one) for one in accepted}
