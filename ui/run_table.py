"""All runs of a project as a table, what distinguishes chosen ones, and the files for downloading both. Reading only, no components."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from lep_core.files import write_text
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.i18n import Translator
from ui.job_panel import ICONS
from ui.material import run_name, short

COLUMNS = ("name", "column_state", "created", "seconds", "note")
NOT_COMPARED = ("output", "checkpoints", "resume", "overwrite")


def chosen_runs(project: Project, kinds: Sequence[str], states: Sequence[str], search: str, t: Translator) -> list[Run]:
    """Runs of these verbs and states whose name or note holds the text; an empty filter lets all through."""
    wanted = search.strip().casefold()
    return [
        run
        for run in project.runs()
        if (not kinds or run.verb in kinds)
        and (not states or run.status().state in states)
        and (not wanted or wanted in f"{run_name(run, project, t)} {run.note}".casefold())
    ]


def rows(runs: Sequence[Run], project: Project, t: Translator) -> list[list[Any]]:
    """A row for each run, in the order of `COLUMNS`."""
    found = []
    for run in runs:
        status = run.status()
        seconds = None if status.seconds is None else round(status.seconds, 1)
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))
        found.append([run_name(run, project, t), f"{ICONS[status.state]} {t(f'state.{status.state}')}", made, seconds, run.note])
    return found


def differences(runs: Sequence[Run], project: Project, t: Translator) -> list[list[str]]:
    """A row for each setting in which the runs differ: its label, then its value in each; a dash where a run has no such setting."""
    names = list(dict.fromkeys(name for run in runs for name in run.config if name not in NOT_COMPARED))
    known = {str(run.output): run_name(run, project, t) for run in project.runs() if run.output is not None}
    found = []
    for name in names:
        values = [_shown(run.config.get(name), known, t) for run in runs]
        if len(set(values)) > 1:
            found.append([_label(name, t), *values])
    return found


def write_table(runs: Sequence[Run], project: Project, t: Translator) -> Path:
    """The table as CSV, in the folder that Gradio may serve from."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([t(f"runs.{name}") for name in COLUMNS])
    writer.writerows([[_safe(cell) for cell in row] for row in rows(runs, project, t)])
    return _write(project, "runs.csv", stream.getvalue())


def write_records(runs: Sequence[Run], project: Project) -> Path:
    """Verb, settings, state and note of the runs as JSON: `lep VERB --config` takes the settings of one."""
    records = [{"id": run.id, "verb": run.verb, "state": run.status().state, "note": run.note, "config": run.config} for run in runs]
    return _write(project, "settings.json", json.dumps(records, ensure_ascii=False, indent=2) + "\n")


def _write(project: Project, name: str, text: str) -> Path:
    path = Path(os.environ["GRADIO_TEMP_DIR"]) / f"runs-{project.id}" / name
    write_text(path, text)
    return path


def _label(name: str, t: Translator) -> str:
    try:
        return t.field_label(name)
    except KeyError:
        return name


def _shown(value: Any, known: dict[str, str], t: Translator) -> str:
    if isinstance(value, bool):
        return t("yes" if value else "no")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(item, known, t) for item in value) or "–"
    if isinstance(value, str) and value in known:
        return known[value]
    return "–" if value in (None, "") else short(value) if isinstance(value, str) and "/" in value else str(value)


def _safe(cell: Any) -> Any:
    """A text that spreadsheets do not take for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t") else cell
