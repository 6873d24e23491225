"""Whether a tokenizer always puts a border before a single space between two other characters, and encodes either side by itself.

If so, a text may be encoded in segments (`segments.py`). It is shown from the tokenizer's parts, never guessed:

- Byte-level: the pre-tokeniser's expression is an alternation in which a space can only be the first character of a match or stand among
  whitespace, every space is matched, and nothing looks behind. Then no match reaches across the border, and none depends on what is beyond it.
- SentencePiece-style BPE without a pre-tokeniser merges across words, but only into tokens of the vocabulary: when no token holds the space
  mark behind another character, merges on either side of a border never meet, and happen in the same order as each side alone.
- Metaspace with splitting cuts at every space mark by itself.

The model must spell every byte, so that a segment's tokens are known to be its own bytes. Whatever is not recognised is not separable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer

from lep_core.errors import TokenizerError
from lep_core.tokenizer.bytes import (
    BYTE_TO_CHARACTER,
    SPACE_MARK,
    byte_token,
    components,
    definition_without_vocabulary,
    family_of,
)

_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (rf"{_UPPER}*{_LOWER}+", rf"{_UPPER}+{_LOWER}*")
# Alternatives of the expressions of GPT-2, LLaMA-3, Qwen, GPT-4, GPT-4o, Tekken and DeepSeek. Each can hold a space only as its first
# character, before one that is none, or consists of whitespace; the only thing that looks ahead does so behind whitespace.
_SAFE = frozenset(
    (
        *_CONTRACTIONS,
        *(rf"[^\r\n\p{{L}}\p{{N}}]{maybe}{letters}" for maybe in ("?", "?+") for letters in (r"\p{L}+", r"[\p{L}\p{M}]+")),
        *(rf"[^\r\n\p{{L}}\p{{N}}]?{letters}{ending}" for letters in _CASED for ending in ("", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?")),
        r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
        r" ?\p{L}+",
        r"\p{N}",
        r"\p{N}+",
        r"\p{N}{1,3}",
        r" ?\p{N}+",
        r" ?[^\s\p{L}\p{N}]+",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r" ?[^\s\p{L}\p{N}]++[\r\n]*",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
        r" ?[\p{P}\p{S}]+[\r\n]*",
        r"\s*[\r\n]",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
# Expressions that only set runs of digits apart, before the one above comes.
_DIGITS_ONLY = frozenset({r"\p{N}", r"\p{N}+", r"\p{N}{1,3}"})

# Text has no others; some vocabularies (GPT-NeoX) leave them out.
_UTF8_BYTES = frozenset(range(256)) - {0xC0, 0xC1, *range(0xF5, 0x100)}


def is_separable(tokenizer: Tokenizer) -> bool:
    """True when the borders described above are certain."""
    try:
        definition = definition_without_vocabulary(tokenizer)
        kind = family_of(definition)
    except TokenizerError:
        return False
    ordinary = [token for token in tokenizer.get_added_tokens_decoder().values() if not token.special]
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    if kind == "byte-level":
        return (
            (definition.get("normalizer") or {"type": "NFC"})["type"] == "NFC"
            and vocabulary.keys() >= {BYTE_TO_CHARACTER[byte] for byte in _UTF8_BYTES}
            and _splits_at_spaces(definition.get("pre_tokenizer"), bool(ordinary))
            and all(map(_stays_inside, ordinary))
            and not getattr(tokenizer.model, "dropout", None)
        )
    return (
        definition["model"]["byte_fallback"]
        and SPACE_MARK in vocabulary
        and all(byte_token(byte) in vocabulary for byte in range(256))
        and all(map(_stays_inside, ordinary))
        and _separates_sentencepiece(tokenizer, definition, vocabulary, bool(ordinary))
    )


def _splits_at_spaces(pre_tokenizer: Mapping[str, Any] | None, ordinary_added: bool) -> bool:
    """Whether a byte-level pre-tokeniser has the border."""
    parts = [part for part in components(pre_tokenizer) if part["type"] != "Sequence"]
    if not parts or parts[-1]["type"] != "ByteLevel":
        return False
    *before, last = parts
    if last.get("add_prefix_space") and (before or ordinary_added):
        return False  # the space goes before every piece, not only before the text
    while before and (before[0]["type"] == "Digits" or _expression(before[0]) in _DIGITS_ONLY):
        before.pop(0)
    if not before:
        return bool(last.get("use_regex", True))
    return all(part["type"] == "Split" for part in before) and len(before) == 1 and _has_border(_expression(before[0]))


def _expression(part: Mapping[str, Any]) -> str | None:
    """The regular expression of a `Split` that keeps its matches as pieces."""
    if part["type"] != "Split" or str(part.get("behavior")).lower() != "isolated" or part.get("invert"):
        return None
    pattern = part.get("pattern")
    expression = pattern.get("Regex") if isinstance(pattern, Mapping) else None
    return expression.replace("\r", r"\r").replace("\n", r"\n") if isinstance(expression, str) else None


def _has_border(expression: str | None) -> bool:
    if expression is None:
        return False
    found = set(_alternatives(expression))
    return found <= _SAFE and r"\s+" in found


def _alternatives(expression: str) -> list[str]:
    """The expression cut at `|` outside brackets and groups."""
    found, depth, start, escaped = [], 0, 0, False
    for position, character in enumerate(expression):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == "|" and depth == 0:
            found.append(expression[start:position])
            start = position + 1
    return [*found, expression[start:]]


def _stays_inside(token: AddedToken) -> bool:
    """Whether an added token can neither reach across a border nor take the space of one."""
    if token.lstrip or token.rstrip or not token.content:
        return False
    spaces = [character.isspace() or character == SPACE_MARK for character in token.content]
    return not any(spaces) or (all(spaces) and len(spaces) > 1)


def _separates_sentencepiece(tokenizer: Tokenizer, definition: Mapping[str, Any], vocabulary: Iterable[str], ordinary_added: bool) -> bool:
    normalizers = [part for part in components(definition.get("normalizer")) if part["type"] != "Sequence"]
    prepends = False
    marks = False
    for part in normalizers:
        if part["type"] == "Prepend" and part.get("prepend") == SPACE_MARK and not marks:
            prepends = True
        elif part["type"] == "Replace" and part.get("pattern") == {"String": " "} and part.get("content") == SPACE_MARK:
            marks = True
        else:
            return False
    splits = False
    pre_tokenizer = definition.get("pre_tokenizer")
    if pre_tokenizer and pre_tokenizer["type"] == "Metaspace" and pre_tokenizer.get("replacement") == SPACE_MARK:
        prepends = prepends or pre_tokenizer.get("prepend_scheme") == "always"
        splits, marks = bool(pre_tokenizer.get("split", True)), True
    elif pre_tokenizer and not (marks and pre_tokenizer["type"] == "Split" and pre_tokenizer.get("pattern") == {"String": " "}):
        return False  # such a Split finds nothing: the spaces have become marks
    if not marks or (prepends and ordinary_added):
        return False  # the mark goes before every stretch between added tokens
    if splits:
        return not getattr(tokenizer.model, "dropout", None)
    model = tokenizer.model
    merges_only = (
        definition["model"]["type"] == "BPE" and not getattr(model, "dropout", None) and not getattr(model, "ignore_merges", False)
    )
    return merges_only and not any(SPACE_MARK in token.lstrip(SPACE_MARK) for token in vocabulary)
