"""What one tokenizer makes of segmented text: tokens of each segment, tokens of each word, which tokens occur, whether nothing is lost.

A token belongs to a word when it covers some of the word's characters in context. Where a token lies follows from its canonical bytes: the
tokens of a text together are its bytes (or its bytes behind one space, which SentencePiece puts in front). That is exact for tokens that
hold part of a character, and quick. Only where normalisation changes a text, the library's character offsets are asked instead.

Shapes: X texts, T tokens, W words, S segments, V vocabulary, K stretches (segments, and what precedes them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lep_core.tokenizer.batches import batches
from lep_core.tokenizer.bytes import family, spelled_bytes
from lep_core.tokenizer.load import as_tokenizer, rust_errors
from lep_core.tokenizer.segments import LEAD, Ints, SegmentCounter, SegmentedText, Segments, whitespace_mask, whole_texts, word_edges
from lep_core.tokenizer.separable import is_separable

# An encoded token takes about 100 bytes in the library.
_BATCH_BYTES = 2_000_000
_BATCH_TEXTS = 20_000
_DECODED_TEXTS = 20
_SAMPLE_TEXTS, _SAMPLE_BYTES = 20, 5_000


class TokenMeter:
    """Running sums of one tokenizer over the segments that it is given.

    Attributes:
        counts_V: int64, occurrences of each token.
        continued, single: words of more than one token, and of exactly one.
        round_trip_ok: decoding gave back every text unchanged.
        separable: may be given segments that are cut out of their texts.
    """

    def __init__(self, name: str, source: Any) -> None:
        self.name = name
        self.tokenizer = _own_copy(name, source)
        self.tokenizer.encode_special_tokens = True
        self.table = [data or b"" for data in spelled_bytes(self.tokenizer)]
        self.vocab_size = self.tokenizer.get_vocab_size(with_added_tokens=True)
        self.separable = is_separable(self.tokenizer)
        self._lengths_V = np.array([len(data) for data in self.table], dtype=np.int64)
        self._usual_shift = 0 if family(self.tokenizer) == "byte-level" else 1
        with rust_errors(f"the tokenizer {name} cannot be used"):
            self._lead_tokens = len(self.tokenizer.encode(LEAD.decode(), add_special_tokens=False).ids)
        self._reset()

    def _reset(self) -> None:
        self.counts_V = np.zeros(len(self.table), dtype=np.int64)
        self.continued = self.single = self._decoded = 0
        self.round_trip_ok = True

    def try_on(self, documents: Sequence[bytes]) -> None:
        """Give up cutting unless the figures of a sample of these documents are the same with and without it. Forgets all sums."""
        if not self.separable:
            return
        sample = [data if len(data) <= _SAMPLE_BYTES else _beginning(data) for data in documents[:_SAMPLE_TEXTS]]
        counter = SegmentCounter()
        counter.add(sample, 0)
        figures = []
        for segments in (whole_texts(sample, 0), counter.drain()):
            self._reset()
            self.measure(segments)
            figures.append((self.counts_V.tolist(), self.continued, self.single, self.round_trip_ok))
        self.separable = figures[0] == figures[1]
        self._reset()

    def measure(self, segments: Segments, progress: Callable[[int], None] = lambda done_bytes: None) -> Ints:
        """Add what these segments hold; returns the tokens of each [S]."""
        tokens_S = np.zeros(len(segments.weights_S), dtype=np.int64)
        weights_S = np.append(segments.weights_S, 0)  # the last one counts what belongs to no segment
        done = 0
        for texts in batches(segments.texts, characters=_BATCH_BYTES, most_texts=_BATCH_TEXTS):
            self._measure(texts, weights_S, tokens_S)
            done += sum(map(len, texts))
            progress(done)
        return tokens_S

    def _measure(self, texts: Sequence[SegmentedText], weights_S: Ints, tokens_S: Ints) -> None:
        with rust_errors(f"the tokenizer {self.name} cannot encode the text"):
            encodings = self.tokenizer.encode_batch_fast([text.data.decode() for text in texts], add_special_tokens=False)
            ids = [encoding.ids for encoding in encodings]
        del encodings
        exact: list[int] = []
        shifts: list[int] = []
        changed: list[int] = []
        for index, (text, listed) in enumerate(zip(texts, ids, strict=True)):
            shift = self._shift(text.data, listed)
            self._check_round_trip(text.data, listed, shift)
            if shift is None:
                changed.append(index)
            else:
                exact.append(index)
                shifts.append(shift)
        if exact and not self._add_exact([texts[index] for index in exact], [ids[index] for index in exact], shifts, weights_S, tokens_S):
            changed = list(range(len(texts)))
        for index in changed:
            self._add_changed(texts[index], weights_S, tokens_S)

    def _shift(self, data: bytes, listed: list[int]) -> int | None:
        """Spaces that the tokens have in front of the text, 0 or 1; None unless the rest are the text's own bytes."""
        spelled = b"".join(map(self.table.__getitem__, listed))
        shift = len(spelled) - len(data)
        return shift if (shift == 0 and spelled == data) or (shift == 1 and spelled[:1] == b" " and spelled[1:] == data) else None

    def _check_round_trip(self, data: bytes, listed: list[int], shift: int | None) -> None:
        # The decoder joins the tokens' bytes and takes away the space that a SentencePiece normaliser put in front. Once that is seen
        # to hold, it need not be run on text whose bytes are all there.
        if self.round_trip_ok and (shift != self._usual_shift or self._decoded < _DECODED_TEXTS):
            self.round_trip_ok = self.tokenizer.decode(listed, skip_special_tokens=False) == data.decode()
            self._decoded += 1

    def _add_exact(self, texts: list[SegmentedText], ids: list[list[int]], shifts: list[int], weights_S: Ints, tokens_S: Ints) -> bool:
        """Add texts whose tokens are their bytes; False, and nothing added, when a token reaches across segments.

        All texts lie one behind the other, a space before each: that of the normaliser where there is one.
        """
        shifts_X, sizes_X = np.array(shifts, dtype=np.int64), np.array([len(text) for text in texts], dtype=np.int64)
        bases_X = 1 + _before(sizes_X + 1)
        ids_T = np.fromiter(chain.from_iterable(ids), dtype=np.int64)
        sizes_T = self._lengths_V[ids_T]
        starts_T = _before(sizes_T) + np.repeat(bases_X - shifts_X - _before(sizes_X + shifts_X), [len(listed) for listed in ids])
        starts_K, numbers_K, inner_K = _stretches(texts, bases_X)
        if not np.isin(starts_K[inner_K], starts_T).all():
            return False
        numbers_T = numbers_K[np.searchsorted(starts_K, starts_T, side="right") - 1]
        np.add.at(tokens_S, numbers_T[numbers_T >= 0], 1)
        np.add.at(self.counts_V, ids_T, weights_S[numbers_T])
        data_B = np.frombuffer(b" " + b" ".join(text.data for text in texts), dtype=np.uint8)
        starts_W, ends_W = word_edges(whitespace_mask(data_B))
        weights_W = weights_S[numbers_K[np.searchsorted(starts_K, starts_W, side="right") - 1]]
        self._add_words(_tokens_per_word(starts_T, starts_T + sizes_T, starts_W, ends_W), weights_W)
        return True

    def _add_changed(self, text: SegmentedText, weights_S: Ints, tokens_S: Ints) -> None:
        """Add a text that normalisation changes: each segment by itself, by character offsets."""
        if len(text.starts) > 1:
            ends = [*text.starts[1:].tolist(), len(text)]
            alone = np.array([len(LEAD)], dtype=np.int64)
            pieces = [LEAD + text.data[start:end] for start, end in zip(text.starts.tolist(), ends, strict=True)]
            self._measure([SegmentedText(piece, alone, text.number + i) for i, piece in enumerate(pieces)], weights_S, tokens_S)
            return
        with rust_errors(f"the tokenizer {self.name} cannot encode the text"):
            encoding = self.tokenizer.encode(text.data.decode(), add_special_tokens=False)
        lead = self._lead_tokens if text.starts[0] else 0
        listed = encoding.ids[lead:]
        tokens_S[text.number] += len(listed)
        np.add.at(self.counts_V, np.array(listed, dtype=np.int64), weights_S[text.number])
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        spans = spans[spans[:, 1] > spans[:, 0]]
        data_B = np.frombuffer(text.data, dtype=np.uint8)
        starts_W, ends_W = word_edges(whitespace_mask(data_B))
        own = starts_W >= text.starts[0]
        characters_B = np.append(_before((data_B & 0xC0) != 0x80), len(text.data.decode()))  # characters before each byte
        touching_W = _tokens_per_word(
            np.maximum.accumulate(spans[:, 0]),
            np.maximum.accumulate(spans[:, 1]),
            characters_B[starts_W[own]],
            characters_B[ends_W[own]],
        )
        self._add_words(touching_W, np.full(len(touching_W), weights_S[text.number]))

    def _add_words(self, touching_W: Ints, weights_W: Ints) -> None:
        self.continued += int(weights_W[touching_W > 1].sum())
        self.single += int(weights_W[touching_W == 1].sum())


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


def _beginning(data: bytes) -> bytes:
    """About `_SAMPLE_BYTES` from the beginning, whole characters only."""
    return data[:_SAMPLE_BYTES].decode("utf-8", "ignore").encode()


def _stretches(texts: Sequence[SegmentedText], bases_X: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Where each stretch of text starts [K], the number of its segment or -1, and whether something of the same text precedes it.

    The first stretch of a text begins at the space before it.
    """
    starts: list[Ints] = []
    numbers: list[Ints] = []
    for text, base in zip(texts, bases_X.tolist(), strict=True):
        own = np.arange(text.number, text.number + len(text.starts))
        if text.starts[0]:
            starts += [np.array([base - 1]), base + text.starts]
            numbers += [np.array([-1]), own]
        else:
            starts += [np.array([base - 1]), base + text.starts[1:]]
            numbers.append(own)
    starts_K = np.concatenate(starts)
    return starts_K, np.concatenate(numbers), ~np.isin(starts_K, bases_X - 1)


def _before(sizes: NDArray[Any]) -> Ints:
    """The sum of all earlier sizes, for each."""
    ends = np.cumsum(sizes, dtype=np.int64)
    return ends - sizes


def _tokens_per_word(starts_T: Ints, ends_T: Ints, starts_W: Ints, ends_W: Ints) -> Ints:
    """How many tokens overlap each word [W]; all arrays ascend."""
    return np.maximum(np.searchsorted(starts_T, ends_W, side="left") - np.searchsorted(ends_T, starts_W, side="right"), 0)
