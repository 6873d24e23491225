"""Text cut into segments that many tokenizers encode independently, each distinct one counted: what is measured need be encoded once.

A cut lies before a single space between two characters that are no whitespace. Most tokenizers put a border there whatever stands on either
side (`separable.py` proves it for a given one), so that a corpus costs no more than its distinct segments, a few words at most.
Everything is bytes of UTF-8 and exact: equal segments are found by value, never by hash alone.

Shapes: B bytes of a block of documents, D its documents, S distinct segments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Ints = NDArray[np.int64]

# Stands before segments from inside a text, so that they are not encoded as the beginning of one; its own tokens are not counted.
LEAD = b"a"
# Text that a SentencePiece vocabulary holds pieces of which stand for other bytes: a space, a single byte. Documents with it stay whole.
_LITERALS = ("▁".encode(), b"<0x")
# Longer segments are hardly ever repeated.
_LONGEST_BYTES = 512
_PACKED_BYTES = 16_384

_WIDE_SPACES = [encoded for code in range(0x80, 0x10000) if chr(code).isspace() and (encoded := chr(code).encode())]
_ASCII_SPACE = np.array([code < 0x80 and chr(code).isspace() for code in range(256)])


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedText:
    """A text and the byte offsets of its segments, ascending; what precedes the first is `LEAD`. Segments are numbered from `number` on."""

    data: bytes
    starts: Ints
    number: int

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """Distinct segments, how often each occurs in all, and in whose text.

    Attributes:
        texts: what has to be encoded.
        weights_S: int64, occurrences of each segment.
        shares: (owner, numbers of segments, occurrences there); a segment may be named more than once.
    """

    texts: list[SegmentedText]
    weights_S: Ints
    shares: list[tuple[int, Ints, Ints]]

    def totals(self, values_S: Ints, owners: int) -> Ints:
        """A figure of each segment, added up over the occurrences, by owner."""
        sums = np.zeros(owners, dtype=np.int64)
        for owner, numbers, counts in self.shares:
            sums[owner] += values_S[numbers] @ counts
        return sums


def whitespace_mask(data_B: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which bytes of UTF-8 text belong to a whitespace character, as `str.isspace` knows them."""
    mask_B = _ASCII_SPACE[data_B]
    for width in (2, 3):
        spaces = [int.from_bytes(encoded, "big") for encoded in _WIDE_SPACES if len(encoded) == width]
        leads = np.zeros(256, dtype=bool)
        leads[[code >> 8 * (width - 1) for code in spaces]] = True
        places = np.flatnonzero(leads[data_B])
        codes = np.zeros(len(places), dtype=np.int64)
        for offset in range(width):
            codes = (codes << 8) | data_B[places + offset]
        places = places[np.isin(codes, spaces)]
        for offset in range(width):
            mask_B[places + offset] = True
    return mask_B


def word_edges(mask_B: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Start and end, in bytes, of the maximal runs that are no whitespace."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], mask_B, [True]]).astype(np.int8)))
    return edges[0::2], edges[1::2]


def whole_texts(documents: Sequence[bytes], owner: int) -> Segments:
    """Documents that are not cut: for tokenizers that nothing is known of."""
    count = len(documents)
    start, ones = np.zeros(1, dtype=np.int64), np.ones(count, dtype=np.int64)
    texts = [SegmentedText(data, start, number) for number, data in enumerate(documents)]
    return Segments(texts=texts, weights_S=ones, shares=[(owner, np.arange(count), ones)])


class SegmentCounter:
    """Counts distinct segments, block by block; `drain` hands them over. Memory: the distinct segments of each block (`held_bytes`).

    Three kinds are kept apart, because they are encoded differently: beginnings of documents; ends of documents that are whitespace and long
    segments, each a text of its own behind `LEAD`; all the others, many in one text.
    """

    def __init__(self) -> None:
        self.held_bytes = 0
        self._clear()

    def _clear(self) -> None:
        self.held_bytes = 0
        self._first: list[_Counted] = []
        self._apart: list[_Counted] = []
        self._inner: list[_Counted] = []

    def add(self, documents: Sequence[bytes], owner: int) -> None:
        """Count the segments of a block of documents (less than 2 GB)."""
        import pyarrow as pa

        whole = [data for data in documents if any(literal in data for literal in _LITERALS)]
        if whole:
            self._hold(self._first, pa.array(whole, pa.binary()), owner)
        plain = [data for data in documents if data and not any(literal in data for literal in _LITERALS)]
        if not plain:
            return
        data_B = np.frombuffer(b"".join(plain), dtype=np.uint8)
        mask_B = whitespace_mask(data_B)
        is_edge = np.zeros(len(data_B) + 1, dtype=bool)  # of documents
        is_edge[np.cumsum([0, *map(len, plain)])] = True
        starts = np.flatnonzero(is_edge[:-1] | _cuts(data_B, mask_B, is_edge))
        ends = np.append(starts[1:], len(data_B))
        first = is_edge[starts]
        apart = ~first & ((is_edge[ends] & mask_B[ends - 1]) | (ends - starts > _LONGEST_BYTES))
        offsets = np.append(starts, len(data_B)).astype(np.int32)
        segments = pa.Array.from_buffers(pa.binary(), len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(data_B)])
        self._hold(self._first, segments.filter(pa.array(first)), owner)
        self._hold(self._apart, segments.filter(pa.array(apart)), owner)
        self._hold(self._inner, segments.filter(pa.array(~first & ~apart)), owner)

    def _hold(self, kind: list[_Counted], segments: pa.BinaryArray, owner: int) -> None:
        if len(segments):
            counted = segments.value_counts()
            values, counts = counted.field(0), counted.field(1).to_numpy()
            kind.append(_Counted(owner, values, counts))
            self.held_bytes += values.nbytes + counts.nbytes

    def drain(self) -> Segments:
        """All that was counted since the last time."""
        texts: list[SegmentedText] = []
        weights: list[Ints] = [np.zeros(0, dtype=np.int64)]
        shares: list[tuple[int, Ints, Ints]] = []
        number = 0
        for kind, lead, pack in ((self._first, b"", False), (self._apart, LEAD, False), (self._inner, LEAD, True)):
            if not kind:
                continue
            values, weights_S, own_shares = _merged(kind, number)
            weights.append(weights_S)
            shares += own_shares
            texts += _packed(values, number) if pack else _single(values, number, lead)
            number += len(values)
        self._clear()
        return Segments(texts=texts, weights_S=np.concatenate(weights), shares=shares)


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """Distinct segments of one block."""

    owner: int
    values: pa.BinaryArray
    counts: Ints


def _cuts(data_B: NDArray[np.uint8], mask_B: NDArray[np.bool_], is_edge: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a cut lies before each byte: a single space between characters of one document that are no whitespace."""
    places = np.flatnonzero(data_B[1:-1] == 0x20) + 1
    places = places[~(mask_B[places - 1] | mask_B[places + 1] | is_edge[places] | is_edge[places + 1])]
    cuts = np.zeros(len(data_B), dtype=bool)
    cuts[places] = True
    return cuts


def _merged(blocks: Sequence[_Counted], number: int) -> tuple[pa.BinaryArray, Ints, list[tuple[int, Ints, Ints]]]:
    """Distinct segments of several blocks, their weights, and who has them; numbered from `number` on."""
    import pyarrow as pa

    encoded = pa.concat_arrays([block.values for block in blocks]).dictionary_encode()
    indices = encoded.indices.to_numpy().astype(np.int64)
    values = encoded.dictionary
    weights_S = np.zeros(len(values), dtype=np.int64)
    shares: list[tuple[int, Ints, Ints]] = []
    begin = 0
    for block in blocks:
        own = indices[begin : begin + len(block.values)]
        weights_S[own] += block.counts  # distinct within a block
        shares.append((block.owner, own + number, block.counts))
        begin += len(own)
    return values, weights_S, shares


def _single(values: pa.BinaryArray, number: int, lead: bytes) -> Iterator[SegmentedText]:
    """A text for each segment."""
    start = np.array([len(lead)], dtype=np.int64)
    for offset, value in enumerate(values):
        yield SegmentedText(lead + value.as_py(), start, number + offset)


def _packed(values: pa.BinaryArray, number: int) -> Iterator[SegmentedText]:
    """Texts of many segments, one behind the other as in a sentence: each begins with its space."""
    _, offset_buffer, data = values.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    begin = 0
    while begin < len(values):
        end = max(begin + 1, int(np.searchsorted(offsets, offsets[begin] + _PACKED_BYTES, side="right")) - 1)
        piece = data[int(offsets[begin]) : int(offsets[end])].to_pybytes()
        yield SegmentedText(LEAD + piece, offsets[begin:end] - offsets[begin] + len(LEAD), number + begin)
        begin = end
