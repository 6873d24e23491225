"""Find a learning rate: a short training for each, their held-out curves in one picture, and a button that takes the chosen one over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from lep_core.config import SweepConfig
from lep_core.pipeline import VERBS
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.form import Form
from ui.i18n import Translator
from ui.job_panel import ICONS, error_text, waiting_text
from ui.material import result_of, run_name
from ui.messages import action, escape, note_area
from ui.studio import Studio
from ui.trainings import Curve

VERB = "sweep-learning-rate"
OWN_SETTINGS = ("rates", "share")
COLUMNS = ("learning_rate", "before", "after", "outcome", "seconds")

Starter = Callable[[Project, str, dict[str, Any], Sequence[Any]], Run]


class LearningRateSweep:
    """Inputs, curves and table of a sweep. `start(project, verb, values, entered)` makes the jobs with the training's settings."""

    def __init__(self, studio: Studio, *, inputs: Sequence[Any], start: Starter, learning_rate: Any) -> None:
        self.studio, t = studio, studio.t
        self._start = start
        gr.Markdown(t("sweep.intro"))
        self.form = Form(SweepConfig, t, prefix="sweep", only=OWN_SETTINGS)
        self.begin = gr.Button(t("sweep.start"), elem_id="sweep-start", scale=0, min_width=240)
        self.note = note_area("sweep-note")
        self.said = gr.Markdown(t("sweep.none"), elem_id="sweep-numbers", elem_classes=["headline"])
        self.curves = gr.Plot(show_label=False, elem_id="sweep-curve", visible=False)
        self.table = gr.Dataframe(
            headers=[t(f"sweep.{name}") for name in COLUMNS],
            datatype=["number", "number", "number", "str", "number"],
            interactive=False,
            elem_id="sweep-table",
            visible=False,
        )
        with gr.Row(elem_classes=["run-line"]):
            self.rate = gr.Radio([], label=t("sweep.choose"), elem_id="sweep-rate", interactive=True, visible=False, scale=3)
            self.use = gr.Button(t("sweep.use"), variant="primary", elem_id="sweep-use", visible=False, scale=0, min_width=240)
        self.outputs = [self.rate, self.use]
        self.drawn = [self.said, self.curves, self.table]
        count = len(self.form.inputs)

        def on_start(project_id: str, *entered: Any) -> dict[Any, Any]:
            project = studio.open_project(project_id)
            self._start(project, VERB, self.form.values(entered[:count]), entered[count:])
            return {studio.job: gr.update(value="")} if studio.job is not None else {}

        outputs = [studio.job] if studio.job is not None else []
        action(self.begin.click, on_start, inputs=[studio.project, *self.form.inputs, *inputs], outputs=outputs, note=self.note, t=t)
        action(
            self.use.click, lambda rate: {learning_rate: _number(rate)}, inputs=[self.rate], outputs=[learning_rate], note=self.note, t=t
        )

    def refresh(self, project: Project) -> dict[Any, Any]:
        """Which rates can be taken over."""
        run = newest_sweep(project)
        report = result_of(run) if run else {}
        sound = [row["learning_rate"] for row in report.get("rates") or [] if not row.get("diverged")]
        best = report.get("best_learning_rate")
        choices = [(f"{rate:g}" + (f" · {self.studio.t('sweep.best')}" if rate == best else ""), rate) for rate in sound]
        return {
            self.rate: gr.update(choices=choices, value=best if best in sound else None, visible=bool(sound)),
            self.use: gr.update(visible=bool(sound)),
        }

    def draw(self, project: Project) -> dict[Any, Any]:
        """Curves and table of the newest sweep, whole or half-way."""
        from ui.plots import lines

        run, t, hidden = newest_sweep(project), self.studio.t, gr.update(visible=False)
        if run is None:
            return {self.said: t("sweep.none"), self.curves: hidden, self.table: hidden}
        drawn = {f"{rate:g}": curve for rate, curve in sweep_curves(run.metrics()).items()}
        rows = sweep_rows(result_of(run), t)
        figure = lines(drawn, title=t("sweep.curves"), x=t("live.step"), y=t("unit.bits_per_byte")) if drawn else None
        return {
            self.said: sweep_headline(run, project, self.studio),
            self.curves: gr.update(value=figure, visible=True) if drawn else hidden,
            self.table: gr.update(value=rows, visible=bool(rows)),
        }

    def signature(self, project: Project) -> str:
        """Changes when `draw` would show something else."""
        run = newest_sweep(project)
        if run is None:
            return ""
        status = run.status()
        return repr((run.id, status.state, status.stage, status.done, len(run.metrics())))


def available() -> bool:
    """Whether this version of the core can sweep."""
    return VERB in VERBS


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise `ConfigError` when a sweep cannot be made from these values."""
    values = {name: value for name, value in settings.items() if name in SweepConfig.__dataclass_fields__ and name != "learning_rate"}
    SweepConfig.from_mapping({**values, "model": "checked", "output": "checked"})


def newest_sweep(project: Project) -> Run | None:
    """The sweep that is shown."""
    return next(iter(project.runs(VERB)), None)


def sweep_curves(records: Sequence[Mapping[str, Any]]) -> dict[float, Curve]:
    """Held-out curves by learning rate, the smallest rate first."""
    curves: dict[float, Curve] = {}
    for record in records:
        value, rate = record.get("heldout_bits_per_byte"), record.get("learning_rate")
        if value is not None and rate is not None and "step" in record:
            steps, values = curves.setdefault(float(rate), ([], []))
            steps.append(record["step"])
            values.append(value)
    return dict(sorted(curves.items()))


def sweep_rows(report: Mapping[str, Any], t: Translator) -> list[list[Any]]:
    """The report as rows of the table: rate, bits per byte before and after, what became of it, seconds."""
    rows = []
    for row in report.get("rates") or []:
        best = row.get("learning_rate") == report.get("best_learning_rate")
        outcome = t("sweep.diverged") if row.get("diverged") else t("sweep.best") if best else ""
        before, after, seconds = row.get("bits_per_byte_before"), row.get("bits_per_byte_after"), row.get("seconds")
        rows.append([row.get("learning_rate"), _rounded(before), _rounded(after), outcome, _rounded(seconds, 1)])
    return rows


def sweep_headline(run: Run, project: Project, studio: Studio) -> str:
    """Markdown: the state, the best rate, or what went wrong."""
    t, status = studio.t, run.status()
    parts = [f"**{escape(run_name(run, project, t))}** · {ICONS[status.state]} {t(f'state.{status.state}')}"]
    if status.state == "queued":
        parts.append(waiting_text(run, project, studio))
    if status.state == "running" and status.total:
        parts.append(f"{(status.done or 0) / status.total:.0%}")
    if status.eta_seconds is not None and not status.ended:
        parts.append(t("jobs.eta", time=t.duration(status.eta_seconds)))
    best = result_of(run).get("best_learning_rate")
    if best is not None:
        parts.append(t("sweep.best_is", rate=f"{best:g}"))
        if any(one["learning_rate"] == best and one.get("moved_far") for one in result_of(run).get("rates", [])):
            parts.append(f"⚠ {t('sweep.moved_far')}")
    said = " · ".join(parts)
    return f"{said}  \n{error_text(run, t)}" if status.error else said


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
