"""What every task returns: one number made of units that can be resampled and compared between models."""

from __future__ import annotations

from collections.abc import Sequence
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
