"""Languages as far as a script shows them: what a prompt is written in, and whether an answer may be in a language."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

_CYRILLIC = re.compile(r"[\u0400-\u052f]")
_JAPANESE = ("CJK", "HIRAGANA", "KATAKANA")
# Language code -> how the Unicode names of its letters begin.
SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("am", "ti"), ("ETHIOPIC",)),
    **dict.fromkeys(("ar", "fa", "ps", "ug", "ur"), ("ARABIC",)),
    **dict.fromkeys(("as", "bn"), ("BENGALI",)),
    **dict.fromkeys(("ba", "be", "bg", "cv", "kk", "ky", "mk", "mn", "ru", "sah", "sr", "tg", "tt", "uk"), ("CYRILLIC",)),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), ("DEVANAGARI",)),
    **dict.fromkeys(
        (
            *("af", "az", "bs", "ca", "cs", "cy", "da", "de", "en", "es", "et", "eu", "fi", "fr", "ga", "gl", "hr", "hu", "id", "is", "it", "la"),
            *("lt", "lv", "ms", "mt", "nl", "no", "pl", "pt", "ro", "sk", "sl", "so", "sq", "sv", "sw", "tk", "tl", "tr", "uz", "vi", "yo", "zu"),
        ),
        ("LATIN",),
    ),
    "el": ("GREEK",),
    "gu": ("GUJARATI",),
    "he": ("HEBREW",),
    "hy": ("ARMENIAN",),
    "ja": _JAPANESE,
    "ka": ("GEORGIAN",),
    "km": ("KHMER",),
    "kn": ("KANNADA",),
    "ko": ("HANGUL",),
    "lo": ("LAO",),
    "ml": ("MALAYALAM",),
    "my": ("MYANMAR",),
    "pa": ("GURMUKHI",),
    "si": ("SINHALA",),
    "ta": ("TAMIL",),
    "te": ("TELUGU",),
    "th": ("THAI",),
    "zh": ("CJK",),
}  # fmt: skip


def prompt_language(text: str) -> str:
    """ "ru" when most letters are Cyrillic, else "en"."""
    letters = sum(character.isalpha() for character in text)
    return "ru" if 2 * len(_CYRILLIC.findall(text)) > letters else "en"


def may_be_in(text: str, language: str) -> bool:
    """Whether most letters are of the language's script. Languages that share a script are not told apart."""
    letters = Counter(character for character in text if character.isalpha())
    fitting = sum(count for letter, count in letters.items() if _name(letter).startswith(SCRIPTS[language]))
    return 2 * fitting > letters.total()


@lru_cache(maxsize=65_536)
def _name(letter: str) -> str:
    return unicodedata.name(letter, "")
