"""Text on which two tokenizers are compared: lines that are known to go wrong, and words made of the vocabulary itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from lep_core.tokenizer.bytes import SPACE_MARK, from_byte_level, is_byte_token
from lep_core.tokenizer.definition import Definition

LINES = (
    "The quick brown fox jumps over 13 lazy dogs.\n\tSecond  line: naïve café, 12345 + 67.8%!",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Ёлка — 2024 год.",
    "don't we'll THEY'RE I'd; 'quoted' l'homme d'été — “x”…",
    "a  b   c    d \t\t e\n\n\nf\r\ng \n h",
    "漢字かな交じり文 한국어 العربية हिन्दी ภาษาไทย",
    "🙂👩\u200d👩\u200d👧 ☃ 𝒜 \u00a0\u2009 zero\u200bwidth",
    "def f(x):\n    return x**2  # комментарий\n\n\nEND",
    "1234567890 3.14159 1,000,000 ½ Ⅷ ٣",
    "ПРЕВЫСОКОМНОГОРАССМОТРИТЕЛЬСТВУЮЩИЙ antidisestablishmentarianism",
    "https://example.org/a?b=c&d=e#f <div class='x'>{{y}}</div>",
)
WORDS = 2_000
WORDS_A_LINE = 8
SPECIAL_TOKENS = 16


def sample_lines(definition: Definition, texts: Iterable[str] = (), *, limit: int = 2_000) -> list[str]:
    """The lines above, lines of words out of the vocabulary, and up to `limit` lines of `texts`, without any special token."""
    special = [token for token in definition.control if token.strip(SPACE_MARK)]
    given = (line for text in texts for line in text.splitlines() if line.strip())
    lines = [*LINES, *vocabulary_lines(definition), *islice(given, limit)]
    return [line for line in lines if not any(token in line for token in special)]


def vocabulary_lines(definition: Definition) -> Iterator[str]:
    """Lines of text that spell tokens, spread over the vocabulary; the newest tokens come in full measure."""
    words = [text for token in definition.by_id if token is not None and (text := _text(token, definition)) is not None]
    newest = words[-WORDS // 2 :]
    chosen = [*_spread(words[: -WORDS // 2], WORDS // 2), *newest]
    # Tokens from far apart side by side, with and without the space between them.
    for start in range(0, len(chosen), WORDS_A_LINE):
        part = chosen[start : start + WORDS_A_LINE]
        yield "".join(part).strip(" ")
        yield " ".join(word.strip() for word in reversed(part)).strip(" ")


def special_lines(definition: Definition) -> list[str]:
    """Lines with the special tokens in them, as chat templates write them."""
    special = [token["content"] for token in definition.added if token.get("special")][:SPECIAL_TOKENS]
    return [f"{token}Hello, мир!{token}\nYes." for token in special]


def _spread(words: Sequence[str], count: int) -> Sequence[str]:
    return words if len(words) <= count else [words[index * len(words) // count] for index in range(count)]


def _text(token: str, definition: Definition) -> str | None:
    """What a token spells; None for special tokens, bytes and parts of characters."""
    if token in definition.control or is_byte_token(token):
        return None
    if definition.family == "sentencepiece":
        return token.replace(SPACE_MARK, " ")
    try:
        return (from_byte_level(token) or b"").decode() or None
    except UnicodeDecodeError:
        return None
