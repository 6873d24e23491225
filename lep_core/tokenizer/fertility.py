"""How many tokens a text costs: many tokenizers, one pass over the texts, bounded memory.

Definitions (they hold for every figure here):
- word: a maximal run of non-whitespace characters, as `str.split()` finds them; characters: Unicode code points, whitespace included;
  bytes: UTF-8.
- Each text is encoded whole, without special tokens; literals such as `<s>` inside it are encoded as plain text.
- A token belongs to a word when it covers some of the word's characters in context. A word is continued when more than one token
  belongs to it, and single when exactly one does; a word that lost all its characters in normalisation is neither.

Shapes: T tokens of a text, W its words.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.batches import batches
from lep_core.tokenizer.browse import colour_spans, new_token_table
from lep_core.tokenizer.bytes import family, spelled_bytes
from lep_core.tokenizer.load import as_tokenizer, rust_errors

__all__ = ["FertilityReport", "TokenizerFertility", "colour_spans", "measure_fertility", "new_token_table"]

_BATCH_CHARACTERS = 4_000_000
_DECODED_TEXTS = 20

_WHITESPACE = np.array([code for code in range(0x110000) if chr(code).isspace()], dtype=np.uint32)
_IS_WHITESPACE = np.zeros(int(_WHITESPACE.max()) + 2, dtype=bool)
_IS_WHITESPACE[_WHITESPACE] = True


@dataclass(frozen=True, kw_only=True)
class TokenizerFertility:
    """Figures of one tokenizer. Rates are shares from 0 to 1; ratios over nothing are 0.

    `continued_word_rate`: words of more than one token / words. `single_token_word_rate`: words of exactly one token / words.
    `vocabulary_used_rate`: distinct tokens that occurred / vocabulary. `round_trip_ok`: decoding gave back every text unchanged.
    """

    name: str
    vocab_size: int
    tokens: int
    words: int
    characters: int
    bytes: int
    tokens_per_word: float
    characters_per_token: float
    bytes_per_token: float
    continued_word_rate: float
    single_token_word_rate: float
    vocabulary_used_rate: float
    round_trip_ok: bool


@dataclass(frozen=True, kw_only=True)
class FertilityReport:
    """One entry per tokenizer, in the order given."""

    tokenizers: list[TokenizerFertility] = field(default_factory=list)
    texts: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def measure_fertility(tokenizers: Sequence[tuple[str, Any]], texts: Iterable[str], reporter: Reporter = SILENT) -> FertilityReport:
    """Measure each tokenizer on the same texts.

    Args:
        tokenizers: (name, tokenizer) pairs; `tokenizers.Tokenizer`, transformers fast tokenizers or folders.
        texts: read once, as a stream.
        reporter: hears about progress; when it asks to stop, the figures so far are returned.

    Raises:
        TokenizerError: a tokenizer cannot be used.
    """
    started = time.monotonic()
    reporter.stage("reading the tokenizers")
    meters = [_Meter(name, tokenizer) for name, tokenizer in tokenizers]
    reporter.stage("measuring")
    count = done_bytes = 0
    # Enough texts for every core, little enough to bound memory.
    for batch in batches(texts, characters=_BATCH_CHARACTERS, most_texts=64 * (os.cpu_count() or 1)):
        measured = [_TextLayout(text) for text in batch]
        for meter in meters:
            meter.add(measured)
        count += len(batch)
        done_bytes += sum(len(layout.data) for layout in measured)
        reporter.progress(done_bytes / 1e6, None, "MB")
        if reporter.should_stop():
            break
    return FertilityReport(tokenizers=[meter.result() for meter in meters], texts=count, seconds=time.monotonic() - started)


class _TextLayout:
    """Where the words of a text lie, in characters and in UTF-8 bytes. Arrays: int64 [W]."""

    def __init__(self, text: str) -> None:
        self.data = text.encode("utf-8", "replace")
        self.text = text = text if text.isascii() else self.data.decode()
        codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        inside = ~_IS_WHITESPACE[np.minimum(codes, len(_IS_WHITESPACE) - 1)]
        edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
        self.starts_W, self.ends_W = edges[0::2], edges[1::2]
        widths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
        byte_at = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(widths)])
        self.byte_starts_W, self.byte_ends_W = byte_at[self.starts_W], byte_at[self.ends_W]


class _Meter:
    """Running sums of one tokenizer."""

    def __init__(self, name: str, source: Any) -> None:
        self.name = name
        self.tokenizer = _own_copy(name, source)
        self.tokenizer.encode_special_tokens = True
        self.table = spelled_bytes(self.tokenizer)
        self.lengths = np.array([0 if data is None else len(data) for data in self.table], dtype=np.int64)
        self.used = np.zeros(len(self.table), dtype=bool)
        self.tokens = self.words = self.characters = self.bytes = self.continued = self.single = 0
        self.round_trip_ok = True
        self._decoded = 0
        self._shift = self._usual_shift = 0 if family(self.tokenizer) == "byte-level" else 1

    def add(self, layouts: Sequence[_TextLayout]) -> None:
        texts = [layout.text for layout in layouts]
        with rust_errors(f"the tokenizer {self.name} cannot encode the text"):
            encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            for layout, encoding in zip(layouts, encodings, strict=True):
                self._add_one(layout, encoding)

    def _add_one(self, layout: _TextLayout, encoding: Encoding) -> None:
        listed = encoding.ids
        ids_T = np.array(listed, dtype=np.int64)
        self.used[ids_T] = True
        self.tokens += len(listed)
        self.words += len(layout.starts_W)
        self.characters += len(layout.text)
        self.bytes += len(layout.data)
        tokens_W = self._tokens_by_bytes(layout, listed, ids_T)
        # The decoder joins the tokens' bytes and takes away the space that a SentencePiece normaliser put in front. Once that is seen
        # to hold, it need not be run on text whose bytes are all there.
        if self.round_trip_ok and (tokens_W is None or self._shift != self._usual_shift or self._decoded < _DECODED_TEXTS):
            self.round_trip_ok = self.tokenizer.decode(listed, skip_special_tokens=False) == layout.text
            self._decoded += 1
        if tokens_W is None:
            tokens_W = self._tokens_by_offsets(layout)
        self.continued += int((tokens_W > 1).sum())
        self.single += int((tokens_W == 1).sum())

    def _tokens_by_bytes(self, layout: _TextLayout, listed: list[int], ids_T: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Tokens per word from the tokens' own bytes; None unless these are the text's (or the text's with one space in front).

        Exact for tokens that hold part of a character, and much faster than character offsets.
        """
        spelled = b"".join([data for index in listed if (data := self.table[index]) is not None])
        shift = len(spelled) - len(layout.data)
        if shift not in (0, 1) or spelled[shift:] != layout.data or (shift and spelled[:1] != b" "):
            return None
        self._shift = shift
        ends_T = np.cumsum(self.lengths[ids_T]) - shift
        starts_T = ends_T - self.lengths[ids_T]
        return _tokens_per_word(starts_T, ends_T, layout.byte_starts_W, layout.byte_ends_W)

    def _tokens_by_offsets(self, layout: _TextLayout) -> NDArray[np.int64]:
        """Tokens per word from the character offsets that the library gives: for texts that normalisation changes."""
        offsets = self.tokenizer.encode(layout.text, add_special_tokens=False).offsets
        spans = np.array(offsets, dtype=np.int64).reshape(-1, 2)
        spans = spans[spans[:, 1] > spans[:, 0]]
        return _tokens_per_word(np.maximum.accumulate(spans[:, 0]), np.maximum.accumulate(spans[:, 1]), layout.starts_W, layout.ends_W)

    def result(self) -> TokenizerFertility:
        size = self.tokenizer.get_vocab_size(with_added_tokens=True)
        return TokenizerFertility(
            name=self.name,
            vocab_size=size,
            tokens=self.tokens,
            words=self.words,
            characters=self.characters,
            bytes=self.bytes,
            tokens_per_word=_ratio(self.tokens, self.words),
            characters_per_token=_ratio(self.characters, self.tokens),
            bytes_per_token=_ratio(self.bytes, self.tokens),
            continued_word_rate=_ratio(self.continued, self.words),
            single_token_word_rate=_ratio(self.single, self.words),
            vocabulary_used_rate=_ratio(int(self.used.sum()), size),
            round_trip_ok=self.round_trip_ok,
        )


def _own_copy(name: str, source: Any) -> Tokenizer:
    """A tokenizer that may be changed: the caller's object keeps its truncation, padding and treatment of special tokens."""
    tokenizer = as_tokenizer(source)
    if isinstance(source, (str, Path)):
        return tokenizer
    with rust_errors(f"the tokenizer {name} cannot be used"):
        copy = Tokenizer.from_str(tokenizer.to_str())
        copy.no_truncation()
        copy.no_padding()
    return copy


def _tokens_per_word(
    starts_T: NDArray[np.int64], ends_T: NDArray[np.int64], starts_W: NDArray[np.int64], ends_W: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many tokens overlap each word [W]; all arrays ascend."""
    return np.maximum(np.searchsorted(starts_T, ends_W, side="left") - np.searchsorted(ends_T, starts_W, side="right"), 0)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
