"""How continuations that are to be scored share forward passes. Pure planning: a batch follows from the requests alone.

A row is what the model reads for a request: its context and all but the last token of its continuation.

family   rows with a long common beginning (examples of few-shot questions, a text with several options): it is read once, and the rows
         go on from its key-value cache
pack     short rows side by side in one sequence, as a forest: tokens that rows have in common are read once, and each token attends only to
         those before it in its own rows. No padding, and the sentences of a minimal pair cost little more than one of them
plain    other rows, those of similar length together, padded on the right where causal attention cannot see it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

LOGIT_ELEMENTS = 16_000_000  # 64 MB of float32 logits at a time
BATCH_TOKENS = 32  # short rows share a batch beyond its size, up to so many tokens for each row of that size
PACKED_ROW = 128  # longer rows are not packed: attention grows with the square of a sequence
SAVED_TOKENS = 256  # a common beginning is read apart when that saves so many
CACHE_TOKENS = 65_536  # of a common beginning, repeated in memory for the rows of a batch
Row = tuple[int, ...]


class Batch(NamedTuple):
    """Rows that are computed together; `shared` leading tokens of all of them are read apart."""

    rows: list[Row]
    shared: int = 0
    packed: bool = False


class Forest(NamedTuple):
    """Packed rows: each node is a token after its parent (-1 = none) at its position; `paths` holds the nodes of each row."""

    tokens: list[int]
    positions: list[int]
    parents: list[int]
    paths: list[list[int]]


def plan(starts: Mapping[Row, int], *, batch_size: int, vocabulary: int, can_pack: bool) -> Iterator[Batch]:
    """Batches of rows.

    Args:
        starts: for each row the first position whose prediction is wanted; nothing from there on is read apart.
        vocabulary: number of logits at a position.
        can_pack: the model takes packed rows.
    """
    short: list[Row] = []
    others: list[Row] = []
    for shared, rows in _families(starts):
        if shared:
            yield from (Batch(part, shared) for part in _similar(rows, starts, shared, batch_size=batch_size, vocabulary=vocabulary))
        else:
            for row in rows:
                (short if can_pack and len(row) <= PACKED_ROW else others).append(row)
    yield from (Batch(part, packed=True) for part in _packs(short, starts, tokens=batch_size * BATCH_TOKENS, vocabulary=vocabulary))
    yield from (Batch(part) for part in _similar(others, starts, 0, batch_size=batch_size, vocabulary=vocabulary))


def forest(rows: Iterable[Row]) -> Forest:
    """Rows as a forest; sorted rows share as much as they can."""
    found = Forest([], [], [], [])
    previous: Row = ()
    for row in rows:
        common = common_length(previous, row)
        path = found.paths[-1][:common] if found.paths else []
        for position in range(common, len(row)):
            found.parents.append(path[-1] if path else -1)
            found.tokens.append(row[position])
            found.positions.append(position)
            path.append(len(found.tokens) - 1)
        found.paths.append(path)
        previous = row
    return found


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common beginning of two rows."""
    return next((at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), min(len(first), len(second)))


def _families(starts: Mapping[Row, int]) -> Iterator[tuple[int, list[Row]]]:
    """Rows with a common beginning that is worth being read apart, and the others (0 shared tokens)."""
    family: list[Row] = []
    shared = 0
    for row in sorted(starts):
        common = min(common_length(family[-1], row), shared, starts[row]) if family else 0
        # Most of the row must be shared: a system prompt before long questions is not worth a family.
        if family and 2 * common >= len(row):
            family.append(row)
            shared = common
            continue
        yield _worth(family, shared)
        family, shared = [row], starts[row]
    yield _worth(family, shared)


def _worth(family: list[Row], shared: int) -> tuple[int, list[Row]]:
    return (shared if (len(family) - 1) * shared >= SAVED_TOKENS else 0), family


def _packs(rows: Iterable[Row], starts: Mapping[Row, int], *, tokens: int, vocabulary: int) -> Iterator[list[Row]]:
    pack: list[Row] = []
    nodes = predictions = 0
    for row in sorted(rows):
        common = common_length(pack[-1], row) if pack else 0
        added, wanted = len(row) - common, len(row) - max(starts[row], common)
        if pack and (nodes + added > tokens or (predictions + wanted) * vocabulary > LOGIT_ELEMENTS):
            yield pack
            pack, nodes, predictions, added, wanted = [], 0, 0, len(row), len(row) - starts[row]
        pack.append(row)
        nodes, predictions = nodes + added, predictions + wanted
    if pack:
        yield pack


def _similar(rows: Iterable[Row], starts: Mapping[Row, int], shared: int, *, batch_size: int, vocabulary: int) -> Iterator[list[Row]]:
    """The longest rows first, as many at a time as the limits on tokens and logits allow, at least one."""
    batch: list[Row] = []
    longest, first = 0, 0
    for row in sorted(rows, key=lambda row: (-len(row), row)):
        begin = min(first, starts[row]) if batch else starts[row]
        size = len(batch) + 1
        is_full = (
            (size > batch_size and size * (longest - shared) > batch_size * BATCH_TOKENS)
            or size * (longest - begin) * vocabulary > LOGIT_ELEMENTS
            or (shared > 0 and size * longest > CACHE_TOKENS)
        )
        if batch and is_full:
            yield batch
            batch, begin = [], starts[row]
        longest, first = (longest, begin) if batch else (len(row), begin)
        batch.append(row)
    if batch:
        yield batch
