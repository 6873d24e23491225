"""Token ids to text, one token at a time, without broken characters.

A token may hold half a UTF-8 character. Bytes are collected until a character is whole; only bytes that can never become one
(and what is left at the very end) turn into U+FFFD. Control tokens give no text.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any


def text_bytes(tokenizer: Any) -> list[bytes]:
    """The bytes that each id contributes to a text: canonical bytes, the content of ordinary added tokens, nothing for control tokens."""
    from lep_core.tokenizer.bytes import token_bytes

    pieces = [piece or b"" for piece in token_bytes(tokenizer)]
    for token_id, added in tokenizer.added_tokens_decoder.items():
        if not added.special and token_id < len(pieces):
            pieces[token_id] = added.content.encode("utf-8")
    return pieces


class StreamDecoder:
    """Collects tokens and gives out the characters that they complete: the texts of all tokens join to the whole text."""

    def __init__(self, pieces: Sequence[bytes], *, strip_first_space: bool = False) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._strip = strip_first_space

    def push(self, token_id: int) -> str:
        """The characters that this token completes; may be empty."""
        piece = self._pieces[token_id] if token_id < len(self._pieces) else b""
        return self._give(self._decoder.decode(piece))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character, else nothing."""
        return self._give(self._decoder.decode(b"", final=True))

    def _give(self, text: str) -> str:
        if self._strip and text:
            self._strip = False
            return text.removeprefix(" ")
        return text


def decode(pieces: Sequence[bytes], token_ids: Sequence[int], *, strip_first_space: bool = False) -> str:
    """The text of a whole list of tokens."""
    decoder = StreamDecoder(pieces, strip_first_space=strip_first_space)
    return "".join([decoder.push(token_id) for token_id in token_ids]) + decoder.flush()
