"""Canonical bytes of tokens (method, section 1): the only sound way to compare tokens of two vocabularies.

A SentencePiece token `▁x`, a byte-fallback token `<0xD0>` and a byte-level token `Ġx` are three spellings of bytes. Tokens that
are only a part of a UTF-8 character are bytes too, so nothing here goes through decoded text and U+FFFD never appears.
In SentencePiece vocabularies a space is written as `▁` (U+2581) and has the canonical bytes `b" "`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from tokenizers import Tokenizer
from tokenizers.models import Unigram

from lep_core.errors import TokenizerError
from lep_core.tokenizer.load import as_tokenizer, definition_of

Family = Literal["byte-level", "sentencepiece"]

SPACE_MARK = "▁"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def _byte_level_alphabet() -> list[str]:
    """GPT-2's printable stand-in for each byte: itself where printable Latin-1, else the next free character from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    alphabet, spare = [], 256
    for byte in range(256):
        if byte in printable:
            alphabet.append(chr(byte))
        else:
            alphabet.append(chr(spare))
            spare += 1
    return alphabet


BYTE_TO_CHARACTER: tuple[str, ...] = tuple(_byte_level_alphabet())
CHARACTER_TO_BYTE: dict[str, int] = {character: byte for byte, character in enumerate(BYTE_TO_CHARACTER)}


def to_byte_level(data: bytes) -> str:
    """Bytes as the characters that a byte-level vocabulary writes them with."""
    return "".join(map(BYTE_TO_CHARACTER.__getitem__, data))


def from_byte_level(token: str) -> bytes | None:
    """Bytes of a byte-level vocabulary entry; None when it holds a character that stands for no byte."""
    try:
        return bytes(map(CHARACTER_TO_BYTE.__getitem__, token))
    except KeyError:
        return None


def byte_token(byte: int) -> str:
    """The SentencePiece byte-fallback token of a byte, such as `<0xD0>`."""
    return f"<0x{byte:02X}>"


def is_byte_token(token: str) -> bool:
    """True for `<0x00>` ... `<0xFF>`."""
    return _BYTE_TOKEN.fullmatch(token) is not None


def from_sentencepiece(token: str) -> bytes | None:
    """Bytes of a SentencePiece vocabulary entry; None when it cannot be written as UTF-8."""
    match = _BYTE_TOKEN.fullmatch(token)
    if match:
        return bytes([int(match[1], 16)])
    try:
        return token.replace(SPACE_MARK, " ").encode()
    except UnicodeEncodeError:
        return None


def family(tokenizer: Any) -> Family:
    """How a tokenizer writes bytes: "byte-level" (GPT-2, LLaMA-3, Qwen) or "sentencepiece" (Mistral, LLaMA-2).

    Raises:
        TokenizerError: it is neither, for example WordPiece.
    """
    return family_of(definition_without_vocabulary(as_tokenizer(tokenizer)))


def family_of(definition: Mapping[str, Any]) -> Family:
    """`family` of parsed `tokenizer.json` content."""
    parts = [part for name in ("pre_tokenizer", "decoder", "normalizer") for part in components(definition.get(name))]
    kinds = {str(part.get("type")) for part in parts}
    if "ByteLevel" in kinds:
        return "byte-level"
    replaces_spaces = any(part.get("type") == "Replace" and SPACE_MARK in (part.get("content"), _pattern(part)) for part in parts)
    if "Metaspace" in kinds or replaces_spaces or definition["model"].get("byte_fallback"):
        return "sentencepiece"
    raise TokenizerError(
        f"a {definition['model'].get('type', 'nameless')} tokenizer that is neither byte-level nor SentencePiece-style cannot be adapted",
        "Choose a model with a byte-level or SentencePiece-style BPE tokenizer, such as LLaMA, Mistral, Qwen or GPT-NeoX",
    )


def components(part: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """A normaliser, pre-tokeniser, decoder or post-processor with everything nested in its sequences."""
    if not isinstance(part, Mapping):
        return
    yield part
    for name in ("normalizers", "pretokenizers", "decoders", "processors"):
        for inner in part.get(name) or ():
            yield from components(inner)


def token_bytes(tokenizer: Any) -> list[bytes | None]:
    """Canonical bytes of every token, by id.

    Args:
        tokenizer: a `tokenizers.Tokenizer`, a transformers fast tokenizer, or a folder.

    Returns:
        As many entries as the highest id plus one. None for special, added and unknown tokens and for ids without a token.
    """
    tokenizer = as_tokenizer(tokenizer)
    read = from_byte_level if family(tokenizer) == "byte-level" else from_sentencepiece
    control = control_tokens(tokenizer)
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    table: list[bytes | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
    for token, index in vocabulary.items():
        if token not in control:
            table[index] = read(token)
    return table


def spelled_bytes(tokenizer: Any) -> list[bytes | None]:
    """Like `token_bytes`, but added and special tokens stand for the bytes of their own text: what encoded text consists of."""
    tokenizer = as_tokenizer(tokenizer)
    table = token_bytes(tokenizer)
    for index, added in tokenizer.get_added_tokens_decoder().items():
        table[index] = added.content.encode("utf-8", "surrogatepass")
    return table


def control_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    """Tokens that are matched as strings, not spelled by bytes: every added token, and the unknown token. String -> id."""
    control = {added.content: index for index, added in tokenizer.get_added_tokens_decoder().items()}
    unknown = _unknown_token(tokenizer)
    if unknown is not None and (index := tokenizer.token_to_id(unknown)) is not None:
        control[unknown] = index
    return control


def _unknown_token(tokenizer: Tokenizer) -> str | None:
    """What stands for text that the vocabulary cannot spell. A Unigram model has its id, which the library shows in the file only."""
    if isinstance(tokenizer.model, Unigram):
        index = definition_of(tokenizer)["model"].get("unk_id")
        return None if index is None else tokenizer.id_to_token(index)
    unknown = getattr(tokenizer.model, "unk_token", None)
    return unknown if isinstance(unknown, str) else None


def _pattern(part: Mapping[str, Any]) -> str | None:
    pattern = part.get("pattern")
    return pattern.get("String") if isinstance(pattern, Mapping) else None


def definition_without_vocabulary(tokenizer: Tokenizer) -> dict[str, Any]:
    """The definition with an empty model: cheap, because writing the merges of a large vocabulary takes a second."""
    kind = type(tokenizer.model).__name__
    shell = Tokenizer(type(tokenizer.model)())
    for name in ("normalizer", "pre_tokenizer", "decoder"):
        part = getattr(tokenizer, name)
        if part is not None:
            setattr(shell, name, part)
    definition = definition_of(shell)
    if isinstance(tokenizer.model, Unigram):
        byte_fallback = definition_of(tokenizer)["model"].get("byte_fallback", False)
    else:
        byte_fallback = getattr(tokenizer.model, "byte_fallback", False)
    definition["model"] = {"type": kind, "byte_fallback": bool(byte_fallback)}
    return definition
