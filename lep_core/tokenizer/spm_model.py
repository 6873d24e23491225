"""Read a SentencePiece `.model` file into the content of a `tokenizer.json`, losslessly.

The file is a protocol buffer; only the few fields that matter are read here, with every length checked. Normalisation rules (NFKC and
the like) and the removal of double spaces are left out, and missing byte tokens are added, so that any text survives.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lep_core.errors import TokenizerError
from lep_core.tokenizer.bytes import SPACE_MARK, byte_token

_LARGEST_FILE = 256 * 2**20
_LONGEST_PIECE = 10_000
_UNIGRAM, _BPE = 1, 2
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_HINT = "Give the .model file that SentencePiece wrote, or a tokenizer.json"
_BYTE_SCORE = -1_000.0


@dataclass(kw_only=True)
class SentencePieceModel:
    """`pieces`: text, score and type of each, by id."""

    kind: int = _UNIGRAM
    pieces: list[tuple[str, float, int]] = field(default_factory=list)
    normalization: str = ""
    adds_space: bool = True

    def tokens(self) -> list[str]:
        """Pieces that text is spelled with, in the order of their ids."""
        return list(dict.fromkeys(text for text, _, kind in self.pieces if kind in (_NORMAL, _USER_DEFINED, _BYTE)))


def read_sentencepiece_model(path: Path) -> SentencePieceModel:
    """Parse a `.model` file.

    Raises:
        TokenizerError: it is none, or of a kind without subwords.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise TokenizerError(f"{path} is too large for a SentencePiece model", _HINT)
        data = path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror}", "Check the path and its rights") from error
    model = SentencePieceModel()
    try:
        for number, value in _fields(data):
            if number == 1 and isinstance(value, bytes):
                model.pieces.append(_piece(value))
            elif number == 2 and isinstance(value, bytes):
                model.kind = _number(value, 3, _UNIGRAM)
            elif number == 3 and isinstance(value, bytes):
                model.normalization = next((_text(name) for key, name in _fields(value) if key == 1), "")
                model.adds_space = bool(_number(value, 3, 1))
    except (ValueError, struct.error) as error:
        raise TokenizerError(f"{path} is not a SentencePiece model: {error}", _HINT) from error
    if not model.pieces or model.kind not in (_UNIGRAM, _BPE):
        raise TokenizerError(f"{path} is not a SentencePiece model of subwords (bpe or unigram)", _HINT)
    return model


def as_tokenizer_json(model: SentencePieceModel) -> dict[str, Any]:
    """The content of a `tokenizer.json` that cuts text as the model does, without its normalisation and with every byte."""
    tokens = model.tokens()
    present = set(tokens)
    missing = [token for token in (*map(byte_token, range(256)), SPACE_MARK) if token not in present]
    ordered = list(dict.fromkeys(["<unk>", *missing, *tokens]))
    vocab = {token: index for index, token in enumerate(ordered)}
    # Whole strings that SentencePiece never splits; the space mark in them is a space.
    user = [text for text, _, kind in model.pieces if kind == _USER_DEFINED and text.strip(SPACE_MARK)]
    # As LLaMA-2 and Mistral do it. Metaspace would lose a space that a text begins with.
    steps = [{"type": "Prepend", "prepend": SPACE_MARK}] if model.adds_space else []
    decode = [{"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    if model.adds_space:
        decode.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(vocab[token], token) for token in dict.fromkeys(user)],
        "normalizer": {"type": "Sequence", "normalizers": [*steps, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decode},
        "model": _unigram(model, ordered) if model.kind == _UNIGRAM else _bpe(vocab, tokens),
    }


def merges_of_ranked_pieces(tokens: list[str]) -> list[list[str]]:
    """Every way to make each token of two others, in the order in which SentencePiece would join them."""
    rank = {token: index for index, token in enumerate(tokens)}
    merges = []
    for token in tokens:
        ways = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in rank and token[i:] in rank]
        merges.extend([left, right] for left, right in sorted(ways, key=lambda way: (rank[way[0]], rank[way[1]])))
    return merges


def _bpe(vocab: dict[str, int], tokens: list[str]) -> dict[str, Any]:
    return {
        "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": merges_of_ranked_pieces(tokens),
    }  # fmt: skip


def _unigram(model: SentencePieceModel, ordered: list[str]) -> dict[str, Any]:
    scores = {text: score for text, score, kind in model.pieces if kind in (_NORMAL, _USER_DEFINED)}
    return {"type": "Unigram", "unk_id": 0, "byte_fallback": True, "vocab": [[token, scores.get(token, _BYTE_SCORE)] for token in ordered]}


def _added(index: int, content: str) -> dict[str, Any]:
    return {
        "id": index, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False,
    }  # fmt: skip


def _piece(data: bytes) -> tuple[str, float, int]:
    text, score, kind = "", 0.0, _NORMAL
    for number, value in _fields(data):
        if number == 1:
            text = _text(value)
            if len(text) > _LONGEST_PIECE:
                raise ValueError(f"a piece has {len(text):,} letters, more than {_LONGEST_PIECE:,}")
        elif number == 2 and isinstance(value, bytes) and len(value) == 4:
            score = struct.unpack("<f", value)[0]
        elif number == 3 and isinstance(value, int):
            kind = value
    return text, score, kind


def _number(data: bytes, wanted: int, default: int) -> int:
    return next((value for number, value in _fields(data) if number == wanted and isinstance(value, int)), default)


def _text(value: bytes | int) -> str:
    if isinstance(value, int):
        raise ValueError("a text is missing")
    return value.decode("utf-8")


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Field numbers and raw values of one message: integers for varints, bytes for everything else."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire = key & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if wire == 2:
            length, position = _varint(data, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"unknown field type {wire}")
        if position + length > len(data):
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        value |= (byte & 127) << shift
        position += 1
        if byte < 128:
            return value, position
        shift += 7
    raise ValueError("it ends in the middle of a number")
