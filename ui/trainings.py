"""What the files of training runs say: rows of the history, curves over a common axis, differences of settings, who waits for whom.

Pure reading of run directories, without a page; `ui.tabs.train*` show it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from lep_core.config import InitializeConfig, TrainConfig
from lep_core.errors import LepError
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.apart import CHILD
from ui.i18n import Translator
from ui.material import CONTROL, label_of, result_of, run_name, short, texts

MOST_POINTS = 600
PROMPT_WORDS, PROMPT_READS = 4, 2000
AXES = ("step", "tokens_seen", "seconds")
"""What the curves of several trainings can be laid over: steps, tokens seen, seconds of training."""
_NOT_COMPARED = {"model", "output", "checkpoints", "resume", "overwrite"}

Curve = tuple[list[float], list[float]]


def series(records: Sequence[Mapping[str, Any]], name: str, axis: str = "step") -> Curve:
    """A metric over an axis, thinned to what a screen can show; the last point is always kept.

    Records of held-out text name only their step: where along the other axes it lies is read from the record of that step.
    """
    place = {0: 0.0} | {record["step"]: record[axis] for record in records if "step" in record and record.get(axis) is not None}
    points = [
        (record["step"] if axis == "step" else place[record["step"]], record[name])
        for record in records
        if record.get(name) is not None and "step" in record and (axis == "step" or record["step"] in place)
    ]
    stride = max(1, len(points) // MOST_POINTS)
    kept = points[::stride] + ([points[-1]] if points and (len(points) - 1) % stride else [])
    return [across for across, _ in kept], [value for _, value in kept]


def overlay(project: Project, runs: Sequence[Run], axis: str, t: Translator) -> dict[str, Curve]:
    """Held-out curves of several trainings, by name."""
    return {run_name(run, project, t): series(run.metrics(), "heldout_bits_per_byte", axis) for run in runs}


def history(project: Project, t: Translator) -> list[dict[str, Any]]:
    """One row for each training of the project, newest first; what is not known is None."""
    return [_row(run, project, t) for run in project.runs("train")]


def _row(run: Run, project: Project, t: Translator) -> dict[str, Any]:
    status, report = run.status(), result_of(run)
    before, after, steps = report.get("bits_per_byte_before"), report.get("bits_per_byte_after"), report.get("steps")
    if before is None or after is None or steps is None:
        # A running, stopped or failed training has no report, but what it measured until then.
        records = run.metrics()
        measured = [record["heldout_bits_per_byte"] for record in records if record.get("heldout_bits_per_byte") is not None]
        before = measured[0] if before is None and measured else before
        after = measured[-1] if after is None and len(measured) > 1 else after
        steps = steps or max((record["step"] for record in records if "step" in record), default=None)
    return {
        "id": run.id,
        "name": run_name(run, project, t),
        "state": status.state,
        "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)),
        "tokenizer": tokenizer_name(run, project, t),
        "steps": steps,
        "learning_rate": run.config.get("learning_rate"),
        "before": before,
        "after": after,
        "seconds": status.seconds,
        "note": run.note,
    }


def initialization_of(run: Run, project: Project) -> Run | None:
    """The run that gave the model its new vocabulary before this training, if it was made in this project."""
    return next((item for item in project.runs("initialize") if str(item.output) == run.config.get("model")), None)


def tokenizer_name(run: Run, project: Project, t: Translator) -> str:
    """The tokenizer that the trained model got, by the name people know it by."""
    beginning = initialization_of(run, project)
    if beginning is None:
        return short(run.config.get("model", ""))
    folder = beginning.config.get("tokenizer")
    built = next((item for item in project.runs("build-tokenizer") if str(item.output) == folder), None)
    return run_name(built, project, t) if built else short(str(folder))


def settings(run: Run, project: Project, t: Translator) -> dict[str, Any]:
    """What distinguishes a training, by label: its settings, its tokenizer and how new rows began."""
    beginning = initialization_of(run, project)
    values: dict[str, Any] = {t("train.tokenizer"): tokenizer_name(run, project, t)}
    if beginning is not None:
        values[t("train.initialization")] = beginning.config.get("method")
    known = texts(project, t)
    for item in fields(TrainConfig):
        if item.name in _NOT_COMPARED:
            continue
        value = run.config.get(item.name, item.default)
        if isinstance(value, (list, tuple)):
            value = ", ".join(short(label_of(one, known)) for one in value)
        values[t.field_label(item.name)] = value
    return values


def differences(project: Project, runs: Sequence[Run], t: Translator) -> list[list[str]]:
    """A row for each setting in which the trainings differ: its label, then its value in each."""
    columns = [settings(run, project, t) for run in runs]
    labels = list(dict.fromkeys(label for column in columns for label in column))
    rows = []
    for label in labels:
        values = [_shown(column.get(label), t) for column in columns]
        if len(set(values)) > 1:
            rows.append([label, *values])
    return rows


def _shown(value: Any, t: Translator) -> str:
    if isinstance(value, bool):
        return t("yes" if value else "no")
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value is None or value == "" else str(value)


def reusable_initialization(project: Project, values: Mapping[str, Any]) -> Run | None:
    """A run that makes, or has made, exactly this model from files that have not changed since."""
    wished = _comparable(values)
    for run in project.runs("initialize"):
        if run.inputs.get(CONTROL) or run.discard_requested or _comparable(run.config) != wished:
            continue
        if run.status().state == "succeeded" and not (Path(run.config["output"]) / "config.json").is_file():
            continue
        sources = [run.config["base"], run.config["tokenizer"], *run.config.get("input", []), *filter(None, [run.config.get("donor")])]
        if run.status().state in ("queued", "running", "succeeded") and _newest_change(sources) < run.created:
            return run
    return None


def prompt_from(source: str) -> str:
    """The first words of a text: what a model can be asked to go on with before and after; "" when they cannot be read."""
    path = Path(source)
    return _first_words(path, path.stat().st_mtime_ns) if path.exists() else ""


@lru_cache(maxsize=256)
def _first_words(path: Path, changed: int) -> str:
    """`changed` makes the answer for a file that was written anew a new one."""
    try:
        text = CHILD.ask("first_text", str(path), PROMPT_READS, about=str(path))
    except LepError:
        return ""
    line = next((item for item in text.splitlines() if len(item.split()) > 1), "")
    return " ".join(line.split()[:PROMPT_WORDS])


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    complete = {item.name: values.get(item.name, item.default) for item in fields(InitializeConfig)} | {"output": None}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in complete.items()}


def _newest_change(sources: Sequence[str]) -> float:
    newest = 0.0
    for source in map(Path, sources):
        files = [source, *source.glob("*")] if source.is_dir() else [source]
        newest = max([newest, *(file.stat().st_mtime for file in files if file.exists())])
    return newest
