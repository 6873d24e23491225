"""95 % intervals: Wilson's for shares, bootstrap over documents or items for everything else.

A measurement is always a ratio of two sums over units (documents, items): nats over bytes, right answers over answers. The bootstrap
draws units with replacement and recomputes the ratio. Two models measured on the same units are compared with the *same* draws
(paired), which removes what is common to both: how hard the units are. Shapes: R resamples, N units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
_Z = 1.959963984540054  # 97.5 % quantile of the standard normal distribution
_CHUNK_ELEMENTS = 4_000_000


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval; the ends are None where one unit alone tells nothing about the spread."""

    value: float
    low: float | None
    high: float | None


def wilson(successes: float, n: int) -> Interval:
    """Share of successes with Wilson's score interval, which stays inside [0, 1] and has a width even at 0 and 1."""
    if n == 0:
        return Interval(0.0, 0.0, 1.0)
    share = successes / n
    scale = 1 + _Z**2 / n
    centre = (share + _Z**2 / (2 * n)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def bootstrap_ratio(numerators: Sequence[float], denominators: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """sum(numerators) / sum(denominators) with the percentile interval of a bootstrap over units; the same seed, the same ends."""
    top_N, bottom_N = _column(numerators), _column(denominators)
    value = float(top_N.sum() / bottom_N.sum())
    if len(top_N) < 2:
        return Interval(value, None, None)
    ratios = [_ratio(counts_RN, top_N, bottom_N) for counts_RN in _draws(len(top_N), seed, resamples)]
    return _percentiles(value, np.concatenate(ratios))


def bootstrap_difference(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """ratio(first) - ratio(second) for two (numerators, denominators) over the same units, resampled together."""
    top_a, bottom_a, top_b, bottom_b = map(_column, (*first, *second))
    if not len(top_a) == len(bottom_a) == len(top_b) == len(bottom_b):
        raise ValueError("paired measurements need the same units")
    value = float(top_a.sum() / bottom_a.sum() - top_b.sum() / bottom_b.sum())
    if len(top_a) < 2:
        return Interval(value, None, None)
    differences = [_ratio(counts, top_a, bottom_a) - _ratio(counts, top_b, bottom_b) for counts in _draws(len(top_a), seed, resamples)]
    return _percentiles(value, np.concatenate(differences))


def _column(values: Sequence[float]) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def _ratio(counts_RN: np.ndarray, top_N: np.ndarray, bottom_N: np.ndarray) -> np.ndarray:
    bottoms_R = counts_RN @ bottom_N
    return (counts_RN @ top_N)[bottoms_R > 0] / bottoms_R[bottoms_R > 0]


def _draws(units: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each unit is drawn in each resample, in chunks that bound the memory."""
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK_ELEMENTS // units)
    for start in range(0, resamples, rows):
        yield generator.multinomial(units, np.full(units, 1 / units), size=min(rows, resamples - start)).astype(np.float64)


def _percentiles(value: float, samples: np.ndarray) -> Interval:
    low, high = np.percentile(samples, [2.5, 97.5])
    return Interval(value, float(low), float(high))
