"""What was measured on a model: the rows of evaluations, speed and fertility measurements that lie beside it or in its project.

A report counts when it measured this very model: it names the model's fingerprint, or its folder. The rows of the other models of such
a report are kept beside it, because a number says little without the original's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lep_core.export.lineage import REPORT_FILE, Lineage, public_name, read_object, read_record
from lep_core.inference.fingerprint import fingerprint
from lep_core.names import distinct_names

RUN_FILE = "run.json"
RUNS_FOLDER = "runs"
RUN_OUTPUT = "output"
MOST_REPORTS = 500


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One report that measured the model. `name` is what the model is called in `rows`; `data` names the texts and items."""

    verb: str
    name: str
    rows: list[dict[str, Any]]
    data: list[str]
    place: str


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """All that was found, by kind."""

    results: list[Measured] = field(default_factory=list)
    speed: list[Measured] = field(default_factory=list)
    fertility: list[Measured] = field(default_factory=list)


def find_measurements(model: Path, lineage: Lineage) -> Measurements:
    """Look beside the model and, when it is a run's result, at all runs of the same project."""
    model = model.resolve()
    mark = fingerprint(model)
    found = Measurements()
    for place, verb, config, report in _reports(model):
        if verb == "evaluate" and (name := _name(config, report, model, mark)):
            found.results.append(_measured(verb, name, report.get("results"), config, ("input", "items"), place))
        elif verb == "benchmark-speed" and (name := _name(config, report, model, mark)):
            found.speed.append(_measured(verb, name, report.get("models"), config, ("input",), place))
        elif verb == "measure-fertility" and (name := _tokenizer(config, report, lineage)):
            found.fertility.append(_measured(verb, name, report.get("tokenizers"), config, ("input",), place))
        elif verb == "adapt" and report.get("fertility"):
            name = next(
                (row["name"] for row in report["fertility"] if isinstance(row, dict) and row.get("name") == "tokenizer"), "tokenizer"
            )
            found.fertility.append(_measured(verb, name, report["fertility"], config, ("input",), place))
    return found


def _reports(model: Path) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Name of the place, verb, settings and report of everything that may have measured the model, in a settled order."""
    candidates = [model.parent, *sorted(path for path in model.parent.iterdir() if path.is_dir())]
    runs = next((folder for folder in model.parents if folder.name == RUNS_FOLDER), None)
    if runs is not None:
        for run in sorted(path for path in runs.iterdir() if (path / RUN_FILE).is_file()):
            made, report = read_object(run / RUN_FILE), read_object(run / REPORT_FILE)
            if made and report and isinstance(made.get("config"), dict):
                yield run.name, str(made.get("verb")), made["config"], report
        # The result folders of runs repeat what the runs say, but for what `adapt` made in one.
        candidates = [folder for folder in candidates if folder.name != RUN_OUTPUT and not (folder / RUN_FILE).is_file()]
    for folder in candidates[:MOST_REPORTS]:
        if record := read_record(folder / REPORT_FILE):
            yield folder.name, str(record.get("verb")), record["config"], record["report"]


def _name(config: dict[str, Any], report: dict[str, Any], model: Path, mark: str) -> str | None:
    """What a report calls the model, if it measured it."""
    for row in report.get("models") or []:
        if isinstance(row, dict) and row.get("fingerprint") == mark:
            return str(row.get("name") or row.get("model"))
    if any(isinstance(row, dict) and "fingerprint" in row for row in report.get("models") or []):
        return None
    given = [str(item) for item in config.get("model") or []]
    return next((name for name, path in zip(distinct_names(given), given, strict=True) if _same(path, model)), None)


def _tokenizer(config: dict[str, Any], report: dict[str, Any], lineage: Lineage) -> str | None:
    """What a fertility report calls the model's tokenizer."""
    given = [str(item) for item in config.get("tokenizer") or []]
    index = next((number for number, path in enumerate(given) if Path(path).resolve() in lineage.folders), None)
    rows = report.get("tokenizers") or []
    return None if index is None or index >= len(rows) else str(rows[index].get("name"))


def _measured(verb: str, name: str, rows: Any, config: dict[str, Any], data: tuple[str, ...], place: str) -> Measured:
    given = [item for field_name in data for item in config.get(field_name) or [] if isinstance(item, str)]
    return Measured(
        verb=verb,
        name=name,
        rows=[row for row in rows or [] if isinstance(row, dict)],
        data=[public_name(item) for item in given],
        place=place,
    )


def _same(path: str, model: Path) -> bool:
    return Path(path).exists() and Path(path).resolve() == model
