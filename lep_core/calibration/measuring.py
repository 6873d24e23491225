"""Before against after: the model, the calibrated model and the teacher on the same items and the same held-out text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lep_core.calibration.outcome import AFTER, BEFORE, BITS_PER_BYTE, INSTRUCT, TEACHER
from lep_core.config import CalibrateConfig, EvaluateConfig
from lep_core.evaluation.evaluate import evaluate
from lep_core.evaluation.items import AnyItem, Item
from lep_core.names import distinct_names
from lep_core.progress import SILENT, MetricValue, Reporter


@dataclass(frozen=True)
class Measured:
    """Rows of `evaluate`, the models called before, after and teacher."""

    results: tuple[dict[str, Any], ...] = ()
    differences: tuple[dict[str, Any], ...] = ()
    stopped: bool = False


def measuring_texts(config: CalibrateConfig, heldout: Callable[[], Iterable[str]] | None, reporter: Reporter = SILENT) -> list[str]:
    """The first documents to measure bits per byte on, read before the long work begins, so that a missing file shows at once."""
    texts = list(islice(heldout(), config.limit)) if heldout is not None else []
    if heldout is not None and not texts:
        reporter.message("the text has no held-out part: bits per byte are not measured")
    return texts


def measure(
    config: CalibrateConfig, items: Sequence[AnyItem], texts: Sequence[str], *, output: Path, kept: Path, reporter: Reporter = SILENT
) -> Measured:
    """Checkable items and bits per byte, as far as there are items and text; nothing when there is neither.

    Args:
        output: the calibrated model.
        kept: folder that keeps what a stopped or killed run has measured.
    """
    tasks = [INSTRUCT] if any(isinstance(item, Item) for item in items) else []
    tasks += [BITS_PER_BYTE] if texts else []
    if not tasks:
        return Measured()
    compared = {config.model: BEFORE, str(output): AFTER}
    if config.teacher is not None:
        compared.setdefault(config.teacher, TEACHER)
    settings = EvaluateConfig(
        model=tuple(compared),
        task=tuple(tasks),
        input=config.heldout or config.input,
        items=config.items,
        limit=config.limit,
        # What is kept belongs to models and settings by their hashes: nothing else is ever taken from it.
        resume=True,
        seed=config.seed,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
    )
    parts = dict(zip(distinct_names(settings.model), compared.values(), strict=True))
    report = evaluate(settings, texts, items=items, partial=kept, reporter=_Naming(reporter, parts))

    def named(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
        return tuple({**row, **{key: parts[row[key]] for key in ("model", "reference") if key in row}} for row in rows)

    return Measured(named(report.results), named(report.differences), report.stopped)


class _Naming:
    """Calls the models by the parts that they play; the calibrated one has no final name yet."""

    def __init__(self, reporter: Reporter, parts: Mapping[str, str]) -> None:
        self._reporter, self._parts = reporter, parts

    def stage(self, name: str) -> None:
        model, colon, rest = name.partition(": ")
        self._reporter.stage(f"{self._parts.get(model, model)}{colon}{rest}")

    def metric(self, record: Mapping[str, MetricValue]) -> None:
        self._reporter.metric({**record, "model": self._parts.get(str(record.get("model")), record.get("model"))})

    def progress(self, done: float, total: float | None = None, unit: str = "") -> None:
        self._reporter.progress(done, total, unit)

    def message(self, text: str) -> None:
        self._reporter.message(text)

    def should_stop(self) -> bool:
        return self._reporter.should_stop()
