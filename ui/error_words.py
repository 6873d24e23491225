"""What the core says about an error, in the language of the page.

The core writes English, into messages and into run directories. Its sentences are templates with values in them; each known template has a
Russian one (`ui.texts.error_messages`, `ui.texts.error_hints`). A sentence that fits none is shown in English with a word of explanation.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ui.i18n import Translator
from ui.texts import common, fields
from ui.texts.error_hints import HINTS
from ui.texts.error_messages import MESSAGES

_VALUE = re.compile(r"\{\}")
_CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)
FEW = 8
LONGEST = 20_000
"""Characters of a sentence beyond which it is not matched."""


def in_language(text: str, t: Translator) -> str:
    """A sentence of the core in the language of the page; untranslated ones get a Russian lead-in."""
    if t.language == "en" or not text:
        return text
    return translated(text) or (text if _is_russian(text) else t("error.in_english", text=text))


@lru_cache(maxsize=4096)
def translated(text: str) -> str | None:
    """The Russian sentence, with the values of the English one; None when no template fits. Values that are phrases are translated too.

    Of two sentences in a row ("WHAT. HINT.") both must be known.
    """
    if len(text) > LONGEST:
        return None
    for end in re.finditer(r"\. (?=[A-Z])", text):
        what, hint = translated(text[: end.start()]), translated(text[end.end() :].rstrip("."))
        if what and hint:
            return f"{what}. {hint}."
    for pattern, russian in _patterns():
        if found := pattern.fullmatch(text):
            return russian.format(*(_phrase(value) for value in found.groups()))
    return None


def _phrase(value: str) -> str:
    """A value: a fixed phrase of the tables or a number with its unit in Russian, anything else as it is."""
    number, _, unit = value.rpartition(" ")
    units = {**fields.UNITS_RU, **common.UNITS_RU}
    return f"{number} {units[unit]}" if number and unit in units else _phrases().get(value, value)


@lru_cache(maxsize=1)
def _phrases() -> dict[str, str]:
    return {english: russian for english, russian in (*MESSAGES, *HINTS) if not _VALUE.search(english)}


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Templates as patterns, those with the most fixed letters first: "{} is {}" fits nearly everything and comes last."""
    pairs = dict((*MESSAGES, *HINTS))
    return [(_pattern(english), pairs[english]) for english in sorted(pairs, key=_fixed, reverse=True)]


def _pattern(english: str) -> re.Pattern[str]:
    # In a short template a value is one word, lest it swallow the words of a sentence that is not in the tables.
    value = r"(\S+)" if _fixed(english) < FEW and not english.startswith("--") else "(.*?)"
    return re.compile(value.join(re.escape(part) for part in english.split("{}")), re.DOTALL)


def _fixed(english: str) -> int:
    """How many characters of a template are fixed."""
    return len(_VALUE.sub("", english))


def _is_russian(text: str) -> bool:
    """True for what a tab has said itself; quoted names and paths do not count."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"'[^']*'|\"[^\"]*\"|\S*[/\\.]\S+", "", text))
    return 2 * sum(bool(_CYRILLIC.search(word)) for word in words) > len(words)
