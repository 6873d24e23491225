"""Which script a text is written in: Latin, Cyrillic, Han ... A script is not a language, but it shows an answer in the wrong one.

What it cannot tell: languages that share a script (Russian and Bulgarian, English and French). Letters of rarer scripts go by the
first word of their Unicode name, so every script counts, whether it has a name here or not.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

# Japanese writes with three scripts at once, Chinese characters among them.
_SAME = {"HIRAGANA": "japanese", "KATAKANA": "japanese", "CJK": "han"}
# What is read of a long text.
_SAMPLE_CHARACTERS = 20_000


def main_script(text: str) -> str | None:
    """The script that most letters belong to, in small letters ("latin", "cyrillic", "han" ...); None without letters."""
    counts = _counts(text)
    return max(counts, key=lambda script: counts[script]) if counts else None


def share_of_script(text: str, script: str) -> float | None:
    """Share of the letters that belong to the script; None without letters. Japanese may use Chinese characters and Latin none."""
    counts = _counts(text)
    if not counts:
        return None
    own = counts[script] + (counts["han"] if script == "japanese" else 0)
    return own / counts.total()


def _counts(text: str) -> Counter[str]:
    return Counter(script for character in text[:_SAMPLE_CHARACTERS] if (script := _script_of(character)))


@lru_cache(maxsize=65_536)
def _script_of(character: str) -> str:
    """ "" for whatever is no letter."""
    if not character.isalpha():
        return ""
    word = unicodedata.name(character, "OTHER").partition(" ")[0]
    return _SAME.get(word, word.lower())
