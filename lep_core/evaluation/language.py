"""The language that a prompt is written in, so that it fits the text it is about."""

from __future__ import annotations

import re

_CYRILLIC = re.compile(r"[\u0400-\u052f]")


def prompt_language(text: str) -> str:
    """ "ru" when most letters are Cyrillic, else "en"."""
    letters = sum(character.isalpha() for character in text)
    return "ru" if 2 * len(_CYRILLIC.findall(text)) > letters else "en"
