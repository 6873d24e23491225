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


def grouped_shares(task: str, metric: str, right: Sequence[bool], labels: Iterable[Sequence[str | None]]) -> list[Measurement]:
    """Shares of right units: overall (`task`), and of each label that does not stand for all units (`task/label`), labels in order of appearance.

    Args:
        labels: for each unit, what it belongs to (a language, a group); None for nothing.
    """
    units: dict[str, list[bool]] = {}
    for ok, names in zip(right, labels, strict=True):
        for name in dict.fromkeys(name for name in names if name):
            units.setdefault(f"{task}/{name}", []).append(ok)
    return [
        Measurement(task=name, metric=metric, numerators=[float(ok) for ok in oks], denominators=[1.0] * len(oks), is_share=True)
        for name, oks in ((task, list(right)), *units.items())
    ]
