"""Which conversations are computed together: one to a row, rows of like length side by side, so that none can see another.

Attention is causal and padding stands on the right: no token of an answer ever sees padding, and another row's tokens take no part in
its attention whatever the implementation. Rows that share a micro-batch are neighbours in length, so little padding is computed. Which
micro-batch a row is in changes nothing but rounding.

Shapes: B rows of a micro-batch, L tokens of the longest of them but one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lep_core.training.loss import IGNORED
from lep_core.tuning.rendering import Row

# A shorter row joins longer ones only as long as this share of the micro-batch at most is padding.
MOST_PADDING = 0.15
# Below so many tokens a micro-batch costs as much as a larger one.
SMALL_TOKENS = 256


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """Inputs and targets, B x L; the target is `IGNORED` where nothing is learned. `tokens` counts without padding."""

    inputs_BL: np.ndarray
    targets_BL: np.ndarray
    tokens: int


def micro_batches(rows: Sequence[Row], *, most_tokens: int) -> list[MicroBatch]:
    """All rows once, longest first, in micro-batches of at most `most_tokens` with their padding (a longer row stands alone)."""
    # Equal lengths keep their order: the same rows give the same micro-batches.
    ordered = sorted(rows, key=lambda row: -len(row.ids_L))
    batches: list[MicroBatch] = []
    chosen: list[Row] = []
    tokens = 0
    for row in ordered:
        size = len(row.ids_L) - 1
        if chosen:
            computed = (len(chosen[0].ids_L) - 1) * (len(chosen) + 1)
            wasteful = computed - tokens - size > MOST_PADDING * computed and computed > SMALL_TOKENS
            if computed > most_tokens or wasteful:
                batches.append(stacked(chosen))
                chosen, tokens = [], 0
        chosen.append(row)
        tokens += size
    return [*batches, stacked(chosen)] if chosen else batches


def stacked(rows: Sequence[Row]) -> MicroBatch:
    """Rows side by side, in the given order, padded on the right."""
    length = max(len(row.ids_L) for row in rows) - 1
    inputs_BL = np.zeros((len(rows), length), dtype=np.int64)
    targets_BL = np.full((len(rows), length), IGNORED, dtype=np.int64)
    for number, row in enumerate(rows):
        size = len(row.ids_L) - 1
        inputs_BL[number, :size] = row.ids_L[:-1]
        targets_BL[number, :size] = np.where(row.learned_L[1:], row.ids_L[1:], IGNORED)
    return MicroBatch(inputs_BL, targets_BL, sum(len(row.ids_L) - 1 for row in rows))
