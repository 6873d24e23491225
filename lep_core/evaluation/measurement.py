"""What every task returns: one number made of units that can be resampled and compared between models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lep_core.evaluation.intervals import Interval, bootstrap_difference, bootstrap_ratio, wilson


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """sum(numerators) / sum(denominators) over units that are the same for every model."""

    task: str
    metric: str
    numerators: Sequence[float]
    denominators: Sequence[float]
    is_share: bool  # units are right (1) or wrong (0)

    def to_json(self) -> dict[str, Any]:
        """All of it, so that `Measurement(**values)` gives an equal one."""
        return {
            "task": self.task,
            "metric": self.metric,
            "numerators": list(self.numerators),
            "denominators": list(self.denominators),
            "is_share": self.is_share,
        }

    @property
    def n(self) -> int:
        return len(self.numerators)

    def interval(self, seed: int) -> Interval:
        """Wilson's interval for shares, else bootstrap over units."""
        if self.is_share:
            return wilson(sum(self.numerators), self.n)
        return bootstrap_ratio(self.numerators, self.denominators, seed=seed)

    def row(self, model: str, seed: int) -> dict[str, Any]:
        """One row of `results`."""
        value, low, high = self.interval(seed)
        return {"model": model, "task": self.task, "metric": self.metric, "value": value, "low": low, "high": high, "n": self.n}

    def difference(self, reference: Measurement, model: str, reference_model: str, seed: int) -> dict[str, Any]:
        """One row of `differences`: this model minus the reference, on the same units."""
        value, low, high = bootstrap_difference(
            (self.numerators, self.denominators), (reference.numerators, reference.denominators), seed=seed
        )
        return {
            "model": model,
            "reference": reference_model,
            "task": self.task,
            "metric": self.metric,
            "difference": value,
            "low": low,
            "high": high,
            "n": self.n,
        }


def grouped(
    task: str,
    metric: str,
    numerators: Sequence[float],
    labels: Iterable[Sequence[str | None]],
    *,
    denominators: Sequence[float] | None = None,
    is_share: bool = False,
) -> list[Measurement]:
    """A ratio overall (`task`) and of each label (`task/label`), labels in order of appearance.

    Args:
        numerators, denominators: one of each for each unit; denominators are 1 by default, so that the ratio is a mean.
        labels: for each unit, what it belongs to (a language, a group); None for nothing.
    """
    bottoms = [1.0] * len(numerators) if denominators is None else [float(value) for value in denominators]
    units: dict[str, list[int]] = {task: list(range(len(bottoms)))}
    for index, names in enumerate(labels):
        for name in dict.fromkeys(name for name in names if name):
            units.setdefault(f"{task}/{name}", []).append(index)
    return [
        Measurement(
            task=name,
            metric=metric,
            numerators=[float(numerators[index]) for index in own],
            denominators=[bottoms[index] for index in own],
            is_share=is_share,
        )
        for name, own in units.items()
    ]


def grouped_shares(task: str, metric: str, right: Sequence[bool], labels: Iterable[Sequence[str | None]]) -> list[Measurement]:
    """Shares of right units, as in `grouped`."""
    return grouped(task, metric, right, labels, is_share=True)
