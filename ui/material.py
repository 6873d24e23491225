"""What a project has to offer to each step: its models, tokenizers and corpora, found in its runs; and how they are called.

Pure reading of run directories; every list is (label, path) with the newest first, ready for a dropdown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.i18n import Translator

Choice = tuple[str, str]
RESULTS = ("instruct-", "calibrated-", "traditional")
"""How the folders of results begin in the output of a run that did all stages at once."""
CONTROL = "control"
"""Role in a run's inputs that marks the control: new vocabulary, averaged rows, no training."""


def finished(project: Project, verb: str) -> list[Run]:
    """Runs of a verb whose result is there, newest first."""
    return [run for run in project.runs(verb) if run.status().state == "succeeded" or _stopped_with_result(run)]


def _stopped_with_result(run: Run) -> bool:
    return run.status().state == "stopped" and run.output is not None and (run.output / "config.json").is_file()


def number_of(run: Run, project: Project) -> int:
    """The how-many-th run of its verb this is, counted from 1: a name that people can say. Ids begin with verb and time."""
    return sum(path.name <= run.id for path in (project.path / "runs").glob(f"{run.verb}-*"))


def run_name(run: Run, project: Project, t: Translator) -> str:
    """A short name: "Training 2"."""
    if run.inputs.get(CONTROL):
        return t("run.control_name", verb=t.verb(run.verb), number=number_of(run, project))
    detail = run.config.get("method") if run.verb == "propagate" else run.config.get("variant") if run.verb == "build-tokenizer" else None
    if run.verb == "calibrate" and run.config.get("pairs_only"):
        detail = t("calibrate.pairs")
    name = t("run.name", verb=t.verb(run.verb), number=number_of(run, project))
    target = run.config.get("instruct") if run.verb == "propagate" else None
    foreign = short(target) if target and target != project.instruct else None
    return " · ".join(part for part in (name, detail, foreign) if part)


def corpora(project: Project, t: Translator) -> list[Choice]:
    """Corpora of the project."""
    found: list[Choice] = []
    for run in finished(project, "add-corpus"):
        names = ", ".join(short(item) for item in run.config["input"][:3])
        found.append((f"{run_name(run, project, t)} · {names}", str(run.output)))
    return found


def texts(project: Project, t: Translator) -> list[Choice]:
    """Corpora, and text files that the project suggests."""
    return [*corpora(project, t), *((Path(path).name, path) for path in suggested(project, "text_files"))]


def tokenizers(project: Project, t: Translator) -> list[Choice]:
    """Built tokenizers and the base model's own."""
    built = [(run_name(run, project, t), str(run.output)) for run in finished(project, "build-tokenizer")]
    return [*built, *([(t("model.base_tokenizer", name=short(project.base)), project.base)] if project.base else [])]


def trained(project: Project, t: Translator) -> list[Choice]:
    """Base models after embedding training."""
    return [(run_name(run, project, t), str(run.output)) for run in finished(project, "train")]


def initialized(project: Project, t: Translator) -> list[Choice]:
    """Base models with the new vocabulary, before training."""
    return [(run_name(run, project, t), str(run.output)) for run in finished(project, "initialize") if not run.inputs.get(CONTROL)]


def propagated(project: Project, t: Translator, *, control: bool = False) -> list[Choice]:
    """Instruct models with the new vocabulary; `control` gives the untrained ones instead."""
    runs = [run for run in finished(project, "propagate") if bool(run.inputs.get(CONTROL)) == control]
    return [(run_name(run, project, t), str(run.output)) for run in runs]


def calibrated(project: Project, t: Translator) -> list[Choice]:
    """Models after calibration or instruction tuning."""
    runs = [run for run in finished(project, "calibrate") if run.output is not None and (run.output / "config.json").is_file()]
    return [(run_name(run, project, t), str(run.output)) for run in runs]


def adapted(project: Project, t: Translator, *, control: bool = False) -> list[Choice]:
    """Results of runs that did all stages at once; `control` gives their untrained ones instead."""
    found: list[Choice] = []
    for run in finished(project, "adapt"):
        folders = sorted(path.parent for path in (run.output or run.path).glob("*/config.json"))
        wanted = [path for path in folders if (path.name == "untrained" if control else path.name.startswith(RESULTS))]
        found += [(f"{run_name(run, project, t)} · {path.name}", str(path)) for path in wanted]
    return found


def models(project: Project, t: Translator) -> list[Choice]:
    """Every model of the project that can be asked, measured or exported: results first, then the originals."""
    return [
        *calibrated(project, t),
        *propagated(project, t),
        *adapted(project, t),
        *([(t("model.instruct", name=short(project.instruct)), project.instruct)] if project.instruct else []),
        *trained(project, t),
        *([(t("model.base", name=short(project.base)), project.base)] if project.base else []),
        *propagated(project, t, control=True),
        *adapted(project, t, control=True),
        *initialized(project, t),
    ]


def label_of(path: str, choices: list[Choice]) -> str:
    """The label of a path, or the path itself."""
    return next((label for label, value in choices if value == path), path)


def suggested(project: Project, name: str) -> list[str]:
    """Files that the project's settings suggest (the demo project has some) and that are there."""
    return [path for path in project.settings.get(name, []) if Path(path).exists()]


def first(choices: list[Choice]) -> str | None:
    """The value of the first choice."""
    return choices[0][1] if choices else None


def short(source: str) -> str:
    """The last part of a path or hub id."""
    return Path(str(source)).name or str(source)


def result_of(run: Run) -> dict[str, Any]:
    """The report's fields, wherever the run keeps them."""
    report = run.report() or {}
    inner = report.get("report")
    return inner if isinstance(inner, dict) else report
