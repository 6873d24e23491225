"""How a training goes: state, numbers, curves, samples, buttons; and the same job as a command line and as a Slurm script.

Follows the job that the panel beside the tabs shows, so that both speak of the same run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from lep_core.errors import LepError
from lep_core.jobs.command import cli_command, slurm_script
from lep_core.risk import MANY_READINGS, large_moves
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.i18n import Translator
from ui.job_panel import ICONS, RunButtons, current_run, error_text, waiting_text
from ui.material import result_of, run_name
from ui.messages import action, both, escape, note_area, view
from ui.studio import Studio
from ui.trainings import series

OUTPUT_FOLDER = "OUTPUT"
"""What stands for the result folder in a command line that is copied elsewhere."""


class LiveTraining:
    """Curves, numbers and samples of one training run, redrawn while it runs."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        with gr.Row(elem_classes=["run-line"]):
            self.shown = gr.Dropdown(
                choices=[(t("jobs.follow"), "")],
                value="",
                label=t("live.select"),
                elem_id="train-select",
                interactive=True,
                # Until the choices of another project have arrived, the chosen run may be one of the project before.
                allow_custom_value=True,
                scale=2,
            )
            with gr.Column(scale=3, min_width=320):
                self.buttons = RunButtons(studio, prefix="train")
        self.numbers = gr.Markdown(t("live.none"), elem_id="train-numbers", elem_classes=["headline"])
        self.error = gr.Markdown("", visible=False, elem_id="train-error", elem_classes=["note"])
        self.button_note = note_area("train-button-note")
        with gr.Row():
            self.quality = gr.Plot(show_label=False, elem_id="train-curve", visible=False)
            self.speed = gr.Plot(show_label=False, elem_id="train-speed", visible=False)
        with gr.Row():
            self.before = gr.Textbox("", label=t("live.before"), lines=3, interactive=False, visible=False, elem_id="train-sample-before")
            self.after = gr.Textbox("", label=t("live.after"), lines=3, interactive=False, visible=False, elem_id="train-samples")
        with gr.Accordion(t("live.elsewhere"), open=False, elem_id="train-elsewhere"):
            self.command = gr.Code(
                "", language="shell", interactive=False, label=t("live.command"), elem_id="train-command", wrap_lines=True
            )
            self.slurm = gr.Code("", language="shell", interactive=False, label=t("live.slurm"), elem_id="train-slurm", wrap_lines=True)
            with gr.Row(elem_classes=["run-line"]):
                self.prepare = gr.Button(t("live.prepare"), size="sm", elem_id="train-prepare", scale=0, min_width=200)
                gr.Markdown(t("live.slurm_info"))
            self.prepare_note = note_area("train-prepare-note")
        self.seen = gr.State("")
        self.inputs = [studio.project, self.shown, self.seen]
        shown = [self.numbers, self.error, self.quality, self.speed, self.before, self.after, self.command, self.slurm]
        self.drawn: list[Any] = [*shown, self.seen, self.shown, *self.buttons.outputs]
        self.outputs = [self.shown]
        self._connect()

    def _connect(self) -> None:
        t, job = self.studio.t, self.studio.job
        for trigger in (self.shown.change, self.studio.project.change):
            view(trigger, self.draw, inputs=self.inputs, outputs=self.drawn, t=t, trigger_mode="always_last")
        for button, what in zip(self.buttons.outputs, ("keep", "discard", "resume"), strict=True):
            action(button.click, self._presser(what), inputs=self.inputs[:2], outputs=self.drawn, note=self.button_note, t=t)
        if job is not None:
            # One choice for both: whatever is picked here is watched in the panel, and a training picked there is shown here.
            view(self.shown.input, lambda run_id: {job: gr.update(value=run_id or "")}, inputs=[self.shown], outputs=[job], t=t)
            view(job.input, self._follow, inputs=[self.studio.project, job], outputs=[self.shown], t=t)

    def _follow(self, project_id: str | None, job_id: str | None) -> dict[Any, Any]:
        if not project_id:
            return {}
        trainings = {run.id for run in self.studio.open_project(project_id).runs("train")}
        return {self.shown: gr.update(value=job_id if job_id in trainings else "")}

    def _presser(self, what: str) -> Any:
        def press(project_id: str, run_id: str | None) -> dict[Any, Any]:
            project = self.studio.open_project(project_id)
            self.buttons.press(what, shown_training(project, run_id))
            return self.draw(project_id, run_id, "")

        return press

    def choices(self, project: Project) -> list[tuple[str, str]]:
        """The current training, then all, newest first."""
        t = self.studio.t
        return [(t("jobs.follow"), ""), *((run_name(run, project, t), run.id) for run in project.runs("train"))]

    def refresh(self, project: Project) -> dict[Any, Any]:
        """The list of trainings; what they show is drawn by the timer."""
        return {self.shown: gr.update(choices=self.choices(project))}

    def draw(self, project_id: str | None, run_id: str | None, seen: str) -> dict[Any, Any]:
        """Everything about the run, or nothing when it looks as before."""
        if not project_id:
            return {}
        project, t = self.studio.open_project(project_id), self.studio.t
        run = shown_training(project, run_id)
        if run is None:
            return self._nothing() if seen != "-" else {}
        records, status = run.metrics(), run.status()
        waiting = waiting_text(run, project, self.studio) if status.state == "queued" else ""
        signature = repr((run.id, run_id, t.language, len(records), status.state, status.stage, status.stopping, status.message, waiting))
        if signature == seen:
            return {}
        report = result_of(run)
        before, after = samples(report, records)
        return {
            self.numbers: headline(run, records, project, self.studio),
            self.error: gr.update(value=error_text(run, t), visible=status.error is not None),
            **self._curves(records),
            self.before: gr.update(value=before, visible=bool(before)),
            self.after: gr.update(value=after, visible=bool(after)),
            self.command: cli_command(run, output=OUTPUT_FOLDER),
            self.slurm: _cluster_script(run, t),
            self.seen: signature,
            **({self.shown: gr.update(value="")} if run_id and run.id != run_id else {}),
            **self.buttons.render(run),
        }

    def _nothing(self) -> dict[Any, Any]:
        hidden = gr.update(visible=False)
        return {
            self.numbers: self.studio.t("live.none"),
            **dict.fromkeys([self.error, self.quality, self.speed, self.before, self.after], hidden),
            self.command: "",
            self.slurm: "",
            self.shown: gr.update(value=""),
            self.seen: "-",
            **self.buttons.render(None),
        }

    def _curves(self, records: list[dict[str, Any]]) -> dict[Any, Any]:
        from ui.plots import lines

        t = self.studio.t
        learned, held_out = series(records, "bits_per_byte"), series(records, "heldout_bits_per_byte")
        if not learned[0] and not held_out[0]:
            hidden = gr.update(visible=False)
            return {self.quality: hidden, self.speed: hidden}
        both = {t("live.train"): learned, t("live.heldout"): held_out}
        quality = lines(both, title=t("live.quality"), x=t("live.step"), y=t("unit.bits_per_byte"))
        rates = {t("live.speed"): series(records, "tokens_per_second")}
        speed = lines(rates, title=t("live.speed"), x=t("live.step"), y=t("unit.tokens_per_second"))
        return {self.quality: gr.update(value=quality, visible=True), self.speed: gr.update(value=speed, visible=True)}


def shown_training(project: Project, run_id: str | None) -> Run | None:
    """The chosen training; when none is chosen, the current job if it is a training, else the one that is running, waiting, or newest."""
    runs = project.runs("train")
    chosen = next((run for run in runs if run.id == run_id), None)
    if chosen is not None:
        return chosen
    current = current_run(project)
    if current is not None and current.verb == "train":
        return current
    states = {run.id: run.status().state for run in runs}
    for state in ("running", "queued"):
        active = [run for run in runs if states[run.id] == state and not run.prepared]
        if active:
            return active[-1]
    return runs[0] if runs else None


def _cluster_script(run: Run, t: Translator) -> str:
    """The Slurm script of a run that waits for a cluster; a run of this machine's own queue has none."""
    if not run.prepared:
        return f"# {t('live.slurm_none')}"
    try:
        return slurm_script(run)
    except LepError as error:
        return f"# {both(error, t)}"


def headline(run: Run, records: Sequence[Mapping[str, Any]], project: Project, studio: Studio) -> str:
    """Markdown: state, steps, bits per byte, speed, memory, time left."""
    t, status, report = studio.t, run.status(), result_of(run)
    newest: dict[str, Any] = {}
    for record in records:
        newest.update({key: value for key, value in record.items() if value is not None})
    parts = [f"**{escape(run_name(run, project, t))}** · {ICONS[status.state]} **{t(f'state.{status.state}')}**"]
    if status.state == "queued":
        parts.append(waiting_text(run, project, studio))
    if status.stopping:
        parts.append(t("jobs.stopping"))
    if "step" in newest:
        planned = status.total if status.unit == "steps" else None
        total = planned or run.config.get("steps") or (report.get("steps") if status.state == "succeeded" else None)
        parts.append(t("live.steps", step=t.number(int(newest["step"])), total=t.number(round(total)) if total else "–"))
    elif status.state == "running" and status.stage:
        parts.append(escape(t.stage(status.stage)))
    parts += _measured(newest, report, t)
    if status.eta_seconds is not None and not status.ended:
        parts.append(t("jobs.eta", time=t.duration(status.eta_seconds)))
    elif status.ended and status.seconds is not None:
        parts.append(t("jobs.seconds", time=t.duration(status.seconds)))
    if status.discarded:
        parts.append(t("live.discarded"))
    frozen = report.get("frozen_sha256_before")
    if frozen and frozen == report.get("frozen_sha256_after"):
        parts.append(t("live.frozen_same"))
    return "\n\n".join([" · ".join(parts), *_risk(newest, report, t)])


def _measured(newest: Mapping[str, Any], report: Mapping[str, Any], t: Translator) -> list[str]:
    parts = []
    before, after = report.get("bits_per_byte_before"), report.get("bits_per_byte_after")
    if before is not None and after is not None:
        parts.append(t("live.before_after", before=t.number(before), after=t.number(after)))
    elif "heldout_bits_per_byte" in newest:
        parts.append(t("live.heldout_now", value=t.number(newest["heldout_bits_per_byte"])))
    moved = _moved(newest, t)
    if moved:
        parts.append(t("live.moved", moves=", ".join(moved)))
    rate = report.get("tokens_per_second") or newest.get("tokens_per_second")
    if rate:
        parts.append(t("live.rate", value=t.number(round(rate))))
    memory = report.get("peak_memory_gib", newest.get("memory_gib"))
    if memory is not None:
        parts.append(t("live.memory", value=t.number(float(memory), 2)))
    return parts


def _moved(newest: Mapping[str, Any], t: Translator) -> list[str]:
    """How far training has moved the rows, in per cent of their length; nothing before the first step."""
    names = [f"moved_{matrix}_{rows}" for matrix in ("input", "output") for rows in ("shared", "new", "all")]
    known = {name: newest[name] for name in names if newest.get(name)}
    return [t("live.moved_part", what=t(f"live.{name}"), value=t.number(100 * value, 1)) for name, value in known.items()]


def _risk(newest: Mapping[str, Any], report: Mapping[str, Any], t: Translator) -> list[str]:
    """Markdown: what went farther than was good for the demo's models, and what to do."""
    moves = [{"matrix": matrix, "rows": "shared", "relative": newest.get(f"moved_{matrix}_shared")} for matrix in ("input", "output")]
    large = [
        t("live.moved_part", what=t(f"live.place_{move.place}"), value=t.number(100 * move.relative, 0))
        + f" (> {t.number(100 * move.limit, 0)} %)"
        for move in large_moves(moves)
    ]
    said = []
    if large:
        said.append(t("live.moved_far", moves=", ".join(large)))
        if report.get("suggested_anchor"):
            said[0] += " " + t("live.suggested_anchor", value=f"{report['suggested_anchor']:g}")
    if (report.get("passes") or 0.0) > MANY_READINGS:
        said.append(t("live.read_often", passes=t.number(report["passes"], 0)))
    return [f"⚠ {sentence}" for sentence in said]


def samples(report: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """What the model made of the sample prompt before and after; while it runs, what its metrics tell so far."""
    said = [str(record["sample"]) for record in records if record.get("sample")]
    before = "\n".join(map(str, report.get("samples_before") or said[:1]))
    after = "\n".join(map(str, report.get("samples_after") or said[1:][-1:]))
    return before, after
