"""What a new token may look like, so that it can be produced and leaves alone what the model does with old text.

Both families: no digits (numbers keep the model's own splitting), at most 32 characters. Byte-level: anything else inside one of the
model's pre-tokens. SentencePiece-style models mostly have no pre-tokeniser; their vocabularies were made by SentencePiece's rules, which
are followed here: `▁` only in front, then only letters and marks, or only punctuation and symbols; never a line break or a control
character; runs of `▁` stay the model's own (a vocabulary from nothing learns them).

A corpus in another script also holds foreign words (French in Russian novels), names and line ends. Where ASCII letters are the minority,
a token of ASCII alone is not made: it would change English text and serve the new language little.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from lep_core.tokenizer.bytes import SPACE_MARK, Family, from_byte_level, is_byte_token

MAX_TOKEN_CHARACTERS = 32
_JOINERS = "\u200c\u200d"  # zero-width (non-)joiner: inside words of Persian, Hindi and others


@cache
def character_class(character: str) -> str:
    """ " " for the space mark, "L" letters and marks, "N" numbers, "P" punctuation and symbols, "C" line breaks, controls and the rest."""
    if character == SPACE_MARK:
        return " "
    kind = unicodedata.category(character)[0]
    if kind in "LM" or character in _JOINERS:
        return "L"
    if kind in "PS" and character != "\ufffd":
        return "P"
    return "N" if kind == "N" else "C"


# Neighbouring classes that a token may hold under the rules above.
_CONVENTIONAL = frozenset({"  ", " L", " P", "LL", "PP"})


def adjacent_classes(tokens: Iterable[str]) -> frozenset[str]:
    """Pairs of character classes that stand side by side inside some token of a SentencePiece vocabulary, or may in a new one."""
    seen = set(_CONVENTIONAL)
    for token in tokens:
        if not is_byte_token(token):
            classes = list(map(character_class, token))
            seen.update(first + second for first, second in itertools.pairwise(classes))
    return frozenset(seen)


def split_at_classes(chunk: str, adjacent: frozenset[str]) -> list[str]:
    """Cut a chunk where no token can reach across: between characters whose classes no token holds side by side."""
    parts, start, before = [], 0, character_class(chunk[0])
    for position in range(1, len(chunk)):
        now = character_class(chunk[position])
        if before + now not in adjacent:
            parts.append(chunk[start:position])
            start = position
        before = now
    parts.append(chunk[start:])
    return parts


def admissible_beside(family: Family, words: Mapping[str, int]) -> Callable[[str], bool]:
    """Whether a string may become a new token beside an existing vocabulary, for a corpus of these (raw, counted) words."""
    rule = admissible_byte_level if family == "byte-level" else admissible_sentencepiece
    if not _is_mostly_other_script(family, words):
        return rule

    def holds_other_script(token: str) -> bool:
        data = from_byte_level(token) if family == "byte-level" else token.replace(SPACE_MARK, " ").encode()
        return data is not None and not data.isascii() and rule(token)

    return holds_other_script


def _is_mostly_other_script(family: Family, words: Mapping[str, int]) -> bool:
    """Whether fewer than half of the letters are ASCII."""
    ascii_letters = other_letters = 0
    for word, count in words.items():
        text = (from_byte_level(word) or b"").decode("utf-8", "ignore") if family == "byte-level" else word
        plain = sum(character.isascii() and character.isalpha() for character in text)
        ascii_letters += plain * count
        if not text.isascii():
            other_letters += (sum(map(str.isalpha, text)) - plain) * count
    return ascii_letters < other_letters


def admissible_sentencepiece(token: str) -> bool:
    """Whether a string may become a new token beside an existing SentencePiece vocabulary."""
    body = token.removeprefix(SPACE_MARK)
    if not body or len(token) > MAX_TOKEN_CHARACTERS:
        return False
    kinds = set(map(character_class, body))
    return kinds == {"L"} or kinds == {"P"}


def admissible_sentencepiece_from_nothing(token: str) -> bool:
    """Whether a string may become a token of a new SentencePiece-style vocabulary: runs of spaces as well."""
    return admissible_sentencepiece(token) or (set(token) == {SPACE_MARK} and len(token) <= 16)


def admissible_byte_level(token: str) -> bool:
    """Whether a string may become a new token beside an existing byte-level vocabulary."""
    if len(token) > 4 * MAX_TOKEN_CHARACTERS:
        return False
    data = from_byte_level(token)
    if data is None:
        return False
    # Part of a character may be missing at either end; what is there of whole characters decides.
    text = data.decode("utf-8", "ignore")
    return len(text) <= MAX_TOKEN_CHARACTERS and not any(character.isnumeric() for character in text)
