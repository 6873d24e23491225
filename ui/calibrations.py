"""What calibrations have to show: which way they went, their pairs, before against after, one row each for the history.

Pure reading of run directories, without a page; `ui.tabs.calibrate*` show it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from lep_core.calibration.outcome import AFTER, BEFORE, BITS_PER_BYTE, INSTRUCT, TEACHER
from lep_core.calibration.preview import REVIEW_FILE
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.i18n import Translator
from ui.material import Choice, result_of, run_name

VERB = "calibrate"
WAY, PAIRS = "way", "pairs"
"""Roles in a run's inputs: the way that was chosen, and the run whose pairs are learned."""
SELF, DATA, TRADITIONAL = "self", "data", "traditional"
PATHS = (SELF, DATA, TRADITIONAL)


def calibrations(project: Project) -> list[Run]:
    """Runs that make a model, newest first."""
    return [run for run in project.runs(VERB) if not run.config.get("pairs_only")]


def runs_with_pairs(project: Project) -> list[Run]:
    """Runs whose pairs can be looked at, newest first."""
    return [run for run in project.runs(VERB) if run.output is not None and (run.output / REVIEW_FILE).is_file()]


def pair_choices(project: Project, t: Translator) -> list[Choice]:
    """Runs with pairs, for a dropdown."""
    return [(run_name(run, project, t), run.id) for run in runs_with_pairs(project)]


def way_of(run: Run) -> str:
    """self, pairs, data or traditional: the last word of a key `way.*`."""
    if run.config.get("pairs_only"):
        return PAIRS
    given = run.inputs.get(WAY)
    return given if given in PATHS else SELF if run.config.get("teacher") else DATA


def pairs_summary(run: Run, t: Translator) -> str:
    """Markdown: how many pairs there are and what was left out, with reasons."""
    report = result_of(run).get("pairs")
    if not isinstance(report, Mapping):
        return t("pairs.none")
    prompts, answers, filters = report["prompts"], report["answers"], report["filters"]
    lines = [
        t("pairs.summary", kept=t.number(filters["kept"]), given=t.number(filters["given"]), copies=t.number(report["copies"])),
        t(f"pairs.prompts_from_{prompts['origin']}", kept=t.number(prompts["kept"]), candidates=t.number(prompts["candidates"])),
    ]
    for key, dropped in (("pairs.dropped_prompts", prompts["dropped"]), ("pairs.dropped_answers", filters["dropped"])):
        reasons = ", ".join(t(f"dropped.{reason}", n=t.number(count)) for reason, count in dropped.items())
        if reasons:
            lines.append(t(key, reasons=reasons))
    if answers.get("answers_per_second"):
        lines.append(t("pairs.speed", answers=t.number(answers["answers"]), rate=t.number(answers["answers_per_second"], 1)))
    return "  \n".join(lines)


def reason_text(row: Mapping[str, Any], t: Translator) -> str:
    """Whether a pair is learned, and why not."""
    if row.get("source") == "copy":
        return t("reason.copy")
    reason = row.get("reason")
    if reason is None:
        return t("reason.learned")
    return t(f"reason.{reason}") if t.has(f"reason.{reason}") else str(reason)


def outcome_lines(report: Mapping[str, Any], t: Translator) -> list[str]:
    """What calibration has done, in sentences with a sign in front."""
    lines = []
    for statement in report.get("outcome") or []:
        key, values = f"outcome.{statement['code']}", dict(statement["values"])
        if not t.has(key):
            continue
        language = values.get("language")
        values["language"] = f", {language_name(language, t)}" if language else ""
        sign = {True: "✔", False: "⚠", None: "·"}[statement["good"]]
        lines.append(f"{sign} {t(key, **values)}")
    return lines


def comparison_rows(report: Mapping[str, Any], t: Translator) -> list[list[str]]:
    """A row for each measurement: before, after, original, each with its interval, and the paired difference."""
    results, differences = report.get("results") or [], report.get("differences") or []
    rows = []
    for task, metric in dict.fromkeys((row["task"], row["metric"]) for row in results):
        found = {row["model"]: row for row in results if (row["task"], row["metric"]) == (task, metric)}
        paired = next((row for row in differences if (row["model"], row["task"], row["metric"]) == (AFTER, task, metric)), None)
        share = task != BITS_PER_BYTE
        rows.append(
            [
                task_name(task, t),
                *(_with_interval(found.get(model), share, "value") for model in (BEFORE, AFTER, TEACHER)),
                _with_interval(paired, share, "difference"),
                str(next(iter(found.values()))["n"]),
            ]
        )
    return rows


def task_name(task: str, t: Translator) -> str:
    """A task, with its language where it has one."""
    name, _, language = task.partition("/")
    label = t(f"task.{name}") if t.has(f"task.{name}") else name
    return t("task.in_language", task=label, language=language_name(language, t)) if language else label


def language_name(code: str, t: Translator) -> str:
    """The name of a language, or its code."""
    return t(f"language.{code}") if t.has(f"language.{code}") else code


def _with_interval(row: Mapping[str, Any] | None, share: bool, name: str) -> str:
    if row is None or row.get(name) is None:
        return "–"
    plus = "+" if name == "difference" else ""

    def shown(value: float) -> str:
        return f"{value * 100:{plus}.1f} %" if share else f"{value:{plus}.4f}"

    low, high = row.get("low"), row.get("high")
    return shown(row[name]) if low is None or high is None else f"{shown(row[name])} [{shown(low)}, {shown(high)}]"


def loss_curves(records: Sequence[Mapping[str, Any]], t: Translator) -> dict[str, tuple[list[float], list[float]]]:
    """Loss of answers over the steps: learned and held out."""
    from ui.trainings import series

    curves = {
        t("calibrated.learning"): series(records, "loss"),
        t("calibrated.heldout"): series(records, "heldout_loss"),
    }
    return {name: curve for name, curve in curves.items() if len(curve[0]) > 1}


def history_rows(project: Project, t: Translator) -> list[list[Any]]:
    """One row for each run, newest first; what is not known is None."""
    rows = []
    for run in project.runs(VERB):
        status, report = run.status(), result_of(run)

        def value(model: str, task: str, report: Mapping[str, Any] = report) -> float | None:
            found = next((row for row in report.get("results") or [] if (row["model"], row["task"]) == (model, task)), None)
            return None if found is None else round(found["value"], 4)

        rows.append(
            [
                run_name(run, project, t),
                t(f"state.{status.state}"),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)),
                t(f"way.{way_of(run)}"),
                report.get("steps"),
                value(BEFORE, INSTRUCT),
                value(AFTER, INSTRUCT),
                value(BEFORE, BITS_PER_BYTE),
                value(AFTER, BITS_PER_BYTE),
                None if status.seconds is None else round(status.seconds),
            ]
        )
    return rows
