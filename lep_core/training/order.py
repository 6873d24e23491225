"""Which sequences each optimizer step reads, as a pure function of the step number, so that resuming is exact.

Every pass over the text is a fresh permutation drawn from (seed, stream, pass). The share of replay sequences is spread evenly:
after k steps floor(k * batch * share) replay sequences have been read, whatever the batch size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

_TEXT, _REPLAY = 0, 1


@dataclass(frozen=True)
class Batch:
    """Indices of the sequences of one step, in the blocks of the text and of the replay text."""

    text: np.ndarray
    replay: np.ndarray


@dataclass
class DataOrder:
    """The order of `blocks` sequences of the text and `replay_blocks` of the replay text."""

    seed: int
    batch_size: int
    blocks: int
    replay_blocks: int = 0
    replay_share: float = 0.0
    _passes: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        # A fraction and not a float: 0.1 * 10 steps must be exactly 1 for every batch size.
        self._share = Fraction(str(self.replay_share)) if self.replay_blocks else Fraction(0)

    def batch(self, step: int) -> Batch:
        """The sequences of step `step` (0 = the first)."""
        replay_start, replay_stop = self._replay_read(step), self._replay_read(step + 1)
        text_start, text_stop = step * self.batch_size - replay_start, (step + 1) * self.batch_size - replay_stop
        return Batch(
            text=self._indices(_TEXT, self.blocks, text_start, text_stop),
            replay=self._indices(_REPLAY, self.replay_blocks, replay_start, replay_stop),
        )

    def steps_of_one_pass(self) -> int:
        """Fewest steps that read every sequence of the text once."""
        # k steps read less than k * batch * (1 - share) + 1 sequences of the text, so no smaller number can do.
        steps = max(1, math.ceil((self.blocks - 1) / (self.batch_size * (1 - self._share))))
        while steps * self.batch_size - self._replay_read(steps) < self.blocks:
            steps += 1
        return steps

    def _replay_read(self, steps: int) -> int:
        return math.floor(steps * self.batch_size * self._share)

    def _indices(self, stream: int, blocks: int, start: int, stop: int) -> np.ndarray:
        parts = []
        while start < stop:
            number, offset = divmod(start, blocks)
            taken = min(stop - start, blocks - offset)
            parts.append(self._permutation(stream, number, blocks)[offset : offset + taken])
            start += taken
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _permutation(self, stream: int, number: int, blocks: int) -> np.ndarray:
        key = (stream, number)
        if key not in self._passes:
            self._passes = {known: order for known, order in self._passes.items() if known[0] != stream}
            self._passes[key] = np.random.default_rng([self.seed, stream, number]).permutation(blocks)
        return self._passes[key]
