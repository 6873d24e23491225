"""How a stage tells its caller what it is doing: a narrow protocol, and its silent twin.

Stages take a `Reporter` and never print. The command line shows it on stderr, a run directory keeps it in `status.json` and
`metrics.jsonl`, a notebook may pass nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

MetricValue = int | float | str | bool | None


@runtime_checkable
class Reporter(Protocol):
    """Where a stage reports to. All calls are cheap and may be made from the stage's own thread only."""

    def stage(self, name: str) -> None:
        """A new part of the work begins, for example "reading the corpus"."""

    def progress(self, done: float, total: float | None = None, unit: str = "") -> None:
        """`done` of `total` units of the present stage are finished; `total` None = not known."""

    def metric(self, record: Mapping[str, MetricValue]) -> None:
        """One row of the metrics log; units are part of the names (`peak_memory_gib`, `seconds`)."""

    def message(self, text: str) -> None:
        """A line that the user should read: a warning or an intermediate result."""

    def should_stop(self) -> bool:
        """True once the user asked to stop; a stage then finishes its step, keeps what it has and returns."""


class SilentReporter:
    """A reporter that says nothing and never stops."""

    def stage(self, name: str) -> None:
        pass

    def progress(self, done: float, total: float | None = None, unit: str = "") -> None:
        pass

    def metric(self, record: Mapping[str, MetricValue]) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def should_stop(self) -> bool:
        return False


SILENT = SilentReporter()
