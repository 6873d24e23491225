"""What a benchmark consists of: the runs behind one click, and their results brought together.

One benchmark = one `evaluate` run on the new language (text and questions), one on the old language's text where there is some, one
`benchmark-speed` run, and, when it is missing, the control: the new vocabulary with averaged rows and no training. The runs carry
the benchmark's id among their inputs, so that any page finds them again.

A benchmark has results as soon as one task of one model is finished, whatever becomes of its runs later.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lep_core.config import ITEM_TASKS
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.material import CONTROL, label_of, models, result_of
from ui.model_places import model_places
from ui.studio import Studio

GROUP, PART = "benchmark", "part"
OLD_LANGUAGE = "/replay"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user chose."""

    models: Sequence[str]
    text: Sequence[str]
    old_text: Sequence[str]
    items: Sequence[str]
    tasks: Sequence[str]
    limit: int
    with_control: bool
    with_speed: bool
    harness: Sequence[str] = ()
    harness_path: str = ""


def start_benchmark(studio: Studio, project: Project, wish: Wish) -> str:
    """Queue all runs of a benchmark; its id."""
    group = secrets.token_hex(4)
    # The speed test compares with the first model, which must be the original.
    chosen, before = sorted(wish.models, key=lambda path: path != project.instruct), []
    if wish.with_control:
        for path, run in _controls(studio, project, wish.models):
            if path not in chosen:
                chosen.append(path)
            if run is not None:
                before.append(run)
    # Text is predicted in the contexts that training used, where the project says so: longer ones are another question.
    context = {name: value for name, value in project.settings.get("defaults", {}).items() if name == "block_size"}
    evaluation: dict[str, Any] = {"model": chosen, "task": list(wish.tasks), "limit": wish.limit, "input": list(wish.text), **context}
    if set(wish.tasks) & set(ITEM_TASKS):
        evaluation["items"] = list(wish.items)
    if wish.harness:
        evaluation["harness"] = list(wish.harness)
        evaluation["harness_path"] = str(Path(wish.harness_path).expanduser().absolute()) if wish.harness_path else None
    studio.start(project, "evaluate", evaluation, inputs={GROUP: group, PART: "new"}, after=before)
    if wish.old_text and "bits-per-byte" in wish.tasks:
        old = {"model": chosen, "task": ["bits-per-byte"], "limit": wish.limit, "input": list(wish.old_text), **context}
        studio.start(project, "evaluate", old, inputs={GROUP: group, PART: "old"}, after=before)
    if wish.with_speed:
        timing = {"model": chosen, "input": list(wish.text), **project.settings.get("speed", {})}
        studio.start(project, "benchmark-speed", timing, inputs={GROUP: group, PART: "speed"}, after=before)
    return group


def tokenizer_behind(project: Project, model: str) -> str | None:
    """The tokenizer folder that a propagated or trained model was made with, followed back through the runs."""
    by_output = {str(run.output): run for run in project.runs() if run.output is not None}
    seen: set[str] = set()
    while model in by_output and model not in seen:
        seen.add(model)
        run = by_output[model]
        if run.verb == "initialize":
            return run.config["tokenizer"]
        following = {"propagate": "adapted", "train": "model"}.get(run.verb)
        if following is None:
            return None
        model = run.config[following]
    return None


def _controls(studio: Studio, project: Project, chosen: Sequence[str]) -> list[tuple[str, Run | None]]:
    """(folder, run to wait for) of the control of every vocabulary among the chosen models; missing ones are queued."""
    wanted = dict.fromkeys(tokenizer for model in chosen if (tokenizer := tokenizer_behind(project, model)))
    present = {
        run.inputs[CONTROL]: run
        for run in project.runs("propagate")
        if run.inputs.get(CONTROL) and run.status().state in ("succeeded", "queued", "running")
    }
    found: list[tuple[str, Run | None]] = []
    for tokenizer in wanted:
        run = present.get(tokenizer)
        if run is None:
            marked = {CONTROL: tokenizer}
            rows = studio.start(project, "initialize", {"base": project.instruct, "tokenizer": tokenizer}, inputs=marked)
            # Swapping the averaged rows into the instruct model keeps its chat template and its own special tokens.
            swap = {"base": project.instruct, "adapted": str(rows.output), "instruct": project.instruct, "method": "swap"}
            run = studio.start(project, "propagate", swap, inputs=marked, after=[rows])
        found.append((str(run.output), run if run.status().state != "succeeded" else None))
    return found


def groups(project: Project) -> list[str]:
    """Ids of benchmarks that are under way or have a result, newest first."""
    runs = [run for run in _runs(project) if run.status().state in ("queued", "running") or any(rows_of(run))]
    runs.sort(key=lambda run: run.created, reverse=True)
    return list(dict.fromkeys(run.inputs[GROUP] for run in runs))


def _runs(project: Project, group: str | None = None) -> list[Run]:
    """The measuring runs of benchmarks, or of one of them; discarded ones are gone."""
    runs = [run for verb in ("evaluate", "benchmark-speed") for run in project.runs(verb)]
    return [run for run in runs if run.inputs.get(GROUP) and group in (None, run.inputs[GROUP]) and not run.status().discarded]


def rows_of(run: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(results, differences) of a run: its report; until there is one, the results of the tasks that it has finished."""
    report = result_of(run)
    if report:
        return report.get("results" if run.verb == "evaluate" else "models", []), report.get("differences", [])
    rows = _kept_rows(run) or run.metrics()
    finished_rows = [row for row in rows if "value" in row and {"model", "task", "metric"} <= row.keys()]
    return list({(row["model"], row["task"], row["metric"]): row for row in finished_rows}.values()), []


def _kept_rows(run: Run) -> list[dict[str, Any]]:
    """What an evaluation keeps beside its output while it runs; a line that is only half there is passed over."""
    from lep_core.evaluation.partial import RESULTS_FILE, partial_folder

    if run.output is None:
        return []
    try:
        lines = (partial_folder(run.output) / RESULTS_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


@dataclass(frozen=True, kw_only=True)
class Results:
    """Rows of one benchmark under the models' labels; `paths` maps label -> folder, the original first."""

    results: list[dict[str, Any]]
    speed: list[dict[str, Any]]
    paths: dict[str, str]
    original: str | None
    control: str | None
    adapted: list[str]
    differences: list[dict[str, Any]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def place(self, label: str) -> int:
        """The model's place in the list of colours."""
        return self.places.get(self.paths[label], list(self.paths).index(label))

    @property
    def unfinished(self) -> list[Run]:
        """Runs that have not come to their end."""
        return [run for run in self.runs if run.status().state != "succeeded"]


def collect(studio: Studio, project: Project, group: str) -> Results:
    """Bring the results of a benchmark's runs together."""
    choices = models(project, studio.t)
    runs = _runs(project, group)
    results: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    speed: list[dict[str, Any]] = []
    paths: dict[str, str] = {}
    for run in runs:
        named = _names(run.config["model"])
        rows, compared = rows_of(run)
        suffix = OLD_LANGUAGE if run.inputs.get(PART) == "old" else ""
        for row in rows:
            path = named.get(row.get("model") or row.get("name"), str(row.get("model")))
            label = label_of(path, choices)
            paths[label] = path
            if run.verb == "evaluate":
                results.append({**row, "model": label, "path": path, "task": f"{row['task']}{suffix}"})
            else:
                speed.append({**row, "model": label, "path": path})
        for row in compared:
            if project.instruct and named.get(row["reference"], row["reference"]) == project.instruct:
                label = label_of(named.get(row["model"], row["model"]), choices)
                differences.append(
                    {**row, "model": label, "reference": label_of(project.instruct, choices), "task": f"{row['task']}{suffix}"}
                )
    controls = {str(run.output) for run in project.runs("propagate") if run.inputs.get(CONTROL)}
    made = {str(run.output) for run in project.runs("propagate") if not run.inputs.get(CONTROL)}
    order = {label: index for index, label in enumerate(sorted(paths, key=lambda name: _rank(paths[name], project, controls, made)))}
    return Results(
        results=sorted(results, key=lambda row: (row["task"], order[row["model"]])),
        speed=sorted(speed, key=lambda row: order[row["model"]]),
        paths={label: paths[label] for label in order},
        original=next((label for label, path in paths.items() if path == project.instruct), None),
        control=next((label for label, path in paths.items() if path in controls), None),
        adapted=[label for label in order if paths[label] in made],
        differences=sorted(differences, key=lambda row: (row["task"], order.get(row["model"], 0))),
        runs=runs,
        places=model_places(project),
    )


def _rank(path: str, project: Project, controls: set[str], made: set[str]) -> int:
    """Original first, then the control, the results, everything else."""
    return 0 if path == project.instruct else 1 if path in controls else 2 if path in made else 3


def _names(paths: Sequence[str]) -> dict[str, str]:
    """Every way in which a report may name a model -> its folder."""
    from lep_core.pipeline import distinct_names

    return {**{path: path for path in paths}, **dict(zip(distinct_names(paths), paths, strict=True))}


def moves_of(results: Results, project: Project) -> list[dict[str, Any]]:
    """How far training moved the rows of the newest measured result that was trained in this project."""
    trainings = {str(run.output): run for run in project.runs("train")}
    measured = {results.paths[label] for label in results.adapted}
    carried = [run.config.get("adapted") for run in project.runs("propagate") if str(run.output) in measured]
    trained = next((trainings[folder] for folder in carried if folder in trainings), None)
    return [] if trained is None else list(result_of(trained).get("moves") or [])
