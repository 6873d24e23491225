"""Tokens for people to look at: the new-token browser and coloured text.

Tokens are shown as their own bytes: what is no whole character appears as `\\xd0`, never as U+FFFD. Making spaces and line breaks
visible is left to whoever draws them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from lep_core.tokenizer.bytes import family, from_byte_level, from_sentencepiece, spelled_bytes
from lep_core.tokenizer.fertility import Measurement
from lep_core.tokenizer.load import as_tokenizer, rust_errors
from lep_core.tokenizer.mapping import build_mapping
from lep_core.tokenizer.token_meter import TokenMeter


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """A stretch of text and the tokens that it became: one, or several where a character is cut into parts."""

    text: str
    ids: tuple[int, ...]


def visible(tokenizer: Tokenizer, index: int) -> str:
    """One token as text."""
    token = tokenizer.id_to_token(index)
    if token is None:
        return ""
    data = _bytes_of(tokenizer, token, index)
    return token if data is None else data.decode("utf-8", "backslashreplace")


def visible_pieces(tokenizer: Any, text: str) -> list[str]:
    """The text cut as `token_spans` cuts it."""
    return [span.text for span in token_spans(tokenizer, text)]


def token_spans(tokenizer: Any, text: str) -> list[TokenSpan]:
    """The text cut at token borders, without special tokens of the template; the texts together are `text`."""
    tokenizer = as_tokenizer(tokenizer)
    text = text.encode("utf-8", "replace").decode()
    with rust_errors("the tokenizer cannot encode the text"):
        encoding = tokenizer.encode(text, add_special_tokens=False)
    groups: list[tuple[int, list[int]]] = []  # end in the text, ids
    end = 0
    for index, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
        # A token that begins before the last group ended holds another part of the same character; one without text joins too.
        joins = bool(groups) and (start < end or stop <= end)
        end = max(end, stop)
        groups.append((end, [*groups.pop()[1], index] if joins else [index]))
    spans, position = [], 0
    for number, (stop, ids) in enumerate(groups):
        stop = len(text) if number == len(groups) - 1 else stop
        spans.append(TokenSpan(text=text[position:stop], ids=tuple(ids)))
        position = stop
    return spans


def new_token_table(old: Any, new: Any, texts: Iterable[str], *, limit: int | None = None) -> list[dict[str, Any]]:
    """Tokens that the new vocabulary adds, most frequent in `texts` (a stream) first.

    Returns:
        Dicts with `token` (text), `id`, `count` (occurrences when the new tokenizer encodes the texts) and `old_pieces` (what the old
        tokenizer makes of the same bytes, as texts).
    """
    old, new = as_tokenizer(old), as_tokenizer(new)
    mapping = build_mapping(old, new)
    meter = TokenMeter("of the new vocabulary", new)
    measurement = Measurement([meter])
    measurement.add(texts)
    measurement.finish()
    is_fresh = np.array([data is not None for data in spelled_bytes(new)])
    is_fresh[mapping.shared_new_ids] = is_fresh[mapping.special_new_ids] = False
    fresh = np.flatnonzero(is_fresh)
    fresh = fresh[np.argsort(-meter.counts_V[fresh], kind="stable")][:limit]
    old_texts, new_texts = _texts(old), _texts(new)
    return [
        {
            "token": new_texts[index],
            "id": index,
            "count": int(meter.counts_V[index]),
            "old_pieces": [old_texts[piece] for piece in mapping.pieces_of(index)],
        }
        for index in fresh.tolist()
    ]


def _texts(tokenizer: Tokenizer) -> list[str]:
    return ["" if data is None else data.decode("utf-8", "backslashreplace") for data in spelled_bytes(tokenizer)]


def _bytes_of(tokenizer: Tokenizer, token: str, index: int) -> bytes | None:
    if index in tokenizer.get_added_tokens_decoder():
        return None
    return from_byte_level(token) if family(tokenizer) == "byte-level" else from_sentencepiece(token)
