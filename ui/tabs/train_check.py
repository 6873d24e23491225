"""Check before training: memory, disk and time that a training will need, against what is there; what is missing, beside its field."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gradio as gr

from lep_core.pipeline import VERBS
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.form import Form
from ui.i18n import Translator
from ui.job_panel import error_text, waiting_text
from ui.material import result_of
from ui.messages import core_words, escape
from ui.studio import Studio

VERB = "preflight"
MARKS = {"error": "✖", "warning": "⚠", "info": "·"}
ROOM_SHOWN = 4.0
"""A free memory of more than so many times the need is only named: drawn to scale, the parts could not be seen."""


class TrainingCheck:
    """The card with the outcome of the newest check of the project."""

    def __init__(self, studio: Studio, form: Form) -> None:
        self.studio, self.form = studio, form
        self.card = gr.Markdown("", elem_id="train-check-result", visible=False, elem_classes=["card"])
        self.parts = gr.Plot(show_label=False, elem_id="train-check-memory", visible=False)
        self.outputs = [self.card, self.parts, *form.marked]

    def draw(self, project: Project, *, marked: bool = True) -> dict[Any, Any]:
        """The card, the bar of the memory's parts, and (when `marked`) the problems beside their fields."""
        run, hidden, t = newest_check(project), gr.update(visible=False), self.studio.t
        if run is None:
            return {self.card: hidden, self.parts: hidden, **self.form.with_problems(())}
        status, report = run.status(), result_of(run)
        if status.state != "succeeded":
            text = (
                error_text(run, t)
                if status.error
                else f"⏳ {t('check.runs')} {waiting_text(run, project, self.studio) if status.state == 'queued' else ''}"
            )
            shown = status.error is not None or not status.ended
            return {
                self.card: gr.update(value=text, visible=shown),
                self.parts: hidden,
                **self.form.with_problems(_own_problem(run) if marked else ()),
            }
        problems = [item for item in report.get("problems") or () if item.get("severity") != "info"]
        # A training that the check has let through is what people look at next: one line is enough then.
        passed = not problems and any(run.id in training.after for training in project.runs("train"))
        text = check_line(report, t) if passed else check_text(report, t, when=run.created)
        bar = hidden if passed else self._bar(report)
        return {self.card: gr.update(value=text, visible=True), self.parts: bar, **self.form.with_problems(problems if marked else ())}

    def signature(self, project: Project) -> str:
        """Changes when `draw` would show something else."""
        run = newest_check(project)
        return "" if run is None else repr((run.id, run.status().state))

    def _bar(self, report: Mapping[str, Any]) -> dict[str, Any]:
        from ui.plots import stacked_bar

        t = self.studio.t
        parts = {part_name(name, t): float(value) for name, value in (report.get("parts") or {}).items() if value}
        if not parts:
            return gr.update(visible=False)
        free = report.get("memory_free_gib")
        near = free is not None and free < ROOM_SHOWN * sum(parts.values())
        figure = stacked_bar(parts, title=t("check.parts"), x="", limit=free if near else None, limit_name=t("check.free"))
        return gr.update(value=figure, visible=True)


def available() -> bool:
    """Whether this version of the core can check before a training."""
    return VERB in VERBS


def newest_check(project: Project) -> Run | None:
    """The check that is shown: the newest one, unless a training was started after it that it says nothing about."""
    run = next(iter(project.runs(VERB)), None)
    training = next(iter(project.runs("train")), None)
    if run is not None and training is not None and training.created > run.created and run.id not in training.after:
        return None
    return run


def check_text(report: Mapping[str, Any], t: Translator, *, when: float | None = None) -> str:
    """Markdown: does it fit, what it needs and what is there, and every problem with its remedy."""
    problems = list(report.get("problems") or ())
    fits = bool(report.get("fits", not problems))
    lines = [f"**{'✔' if fits else '✖'} {t('check.fits' if fits else 'check.does_not_fit')}**"]
    rows = []
    for name in ("memory", "disk"):
        needed, free = report.get(f"{name}_gib"), report.get(f"{name}_free_gib")
        if needed is not None:
            mark = "✔" if free is None or needed <= free else "✖"
            rows.append((t(f"check.{name}"), t("check.of_free", needed=_gib(needed, t), free=_gib(free, t)), mark))
    if report.get("seconds") is not None:
        rate, steps = report.get("tokens_per_second"), report.get("steps")
        rows.append(
            (t("check.time"), t("check.time_is", time=t.duration(report["seconds"]), rate=_whole(rate, t), steps=_whole(steps, t)), "")
        )
    if report.get("device"):
        how = [str(report["device"]), str(report.get("precision") or "")]
        if report.get("micro_batch_size"):
            how.append(t("check.at_a_time", count=report["micro_batch_size"]))
        rows.append((t("check.device"), escape(", ".join(filter(None, how))), ""))
    if when is not None:
        rows.append((t("check.when"), time.strftime("%Y-%m-%d %H:%M", time.localtime(when)), ""))
    if rows:
        lines.append("| | | |\n|---|---|---|\n" + "\n".join(f"| {name} | {value} | {mark} |" for name, value, mark in rows))
    lines.append("  \n".join(f"{MARKS.get(item.get('severity') or 'error', '✖')} {_problem(item, t)}" for item in problems))
    return "\n\n".join(filter(None, lines))


def check_line(report: Mapping[str, Any], t: Translator) -> str:
    """Markdown: the outcome in one line."""
    parts = [f"✔ {t('check.fits')}"]
    if report.get("memory_gib") is not None:
        parts.append(f"{t('check.memory')}: {_gib(report['memory_gib'], t)}")
    if report.get("seconds") is not None:
        parts.append(f"{t('check.time')}: ≈ {t.duration(report['seconds'])}")
    return " · ".join(parts)


def part_name(name: str, t: Translator) -> str:
    """What a part of the memory is called."""
    key = f"check.part_{name}"
    return t(key) if t.has(key) else name.replace("_", " ")


def _problem(problem: Mapping[str, Any], t: Translator) -> str:
    try:
        where = f"**{t.field_label(str(problem.get('field')))}** – "
    except KeyError:
        where = ""
    sentences = (core_words(problem.get(part) or "", t) for part in ("message", "hint"))
    return f"{where}{escape('. '.join(sentences))}."


def _own_problem(run: Run) -> list[dict[str, Any]]:
    """The error of a check that failed, when it names a setting."""
    error = run.status().error
    return [{"field": error.field, "message": error.message, "hint": error.hint}] if error is not None and error.field else []


def _gib(value: float | None, t: Translator) -> str:
    return "–" if value is None else t("check.value_gib", value=t.number(float(value), 1 if value >= 10 else 2))


def _whole(value: float | None, t: Translator) -> str:
    return t.number(None if value is None else round(value))
