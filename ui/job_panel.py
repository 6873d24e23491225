"""The jobs panel beside every tab: what runs, how far it is, what went wrong, and buttons to stop or resume.

Everything shown is read from run directories, so a reload, another browser or a restarted app shows the same.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.i18n import Translator
from ui.material import run_name
from ui.messages import action, escape, note_area
from ui.studio import Studio

ICONS = {"queued": "⏳", "running": "▶", "succeeded": "✔", "stopped": "■", "failed": "✖"}
SHOWN_RUNS = 40
LOG_LINES = 60


class JobPanel:
    """Builds the panel and renders it for a project."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        gr.Markdown(f"### {t('jobs.title')}")
        self.select = gr.Dropdown(
            choices=[(t("jobs.follow"), "")], value="", label=t("jobs.select"), elem_id="job-select", interactive=True, filterable=False
        )
        self.status = gr.Markdown(t("jobs.none"), elem_id="job-status", elem_classes=["job-status"])
        self.error = gr.Markdown("", visible=False, elem_id="job-error", elem_classes=["note"])
        with gr.Row():
            self.keep = gr.Button(t("jobs.stop_keep"), size="sm", interactive=False, elem_id="job-stop-keep", min_width=100)
            self.discard = gr.Button(
                t("jobs.stop_discard"), size="sm", variant="stop", interactive=False, elem_id="job-stop-discard", min_width=100
            )
        self.resume = gr.Button(t("jobs.resume"), size="sm", visible=False, elem_id="job-resume")
        self.note = note_area("job-note")
        with gr.Accordion(t("jobs.log"), open=True):
            self.log = gr.Textbox(
                "",
                lines=9,
                max_lines=9,
                show_label=False,
                container=False,
                interactive=False,
                elem_id="job-log",
                elem_classes=["log"],
                autoscroll=True,
            )

    @property
    def outputs(self) -> list[Any]:
        return [self.select, self.status, self.error, self.keep, self.discard, self.resume, self.log]

    def connect(self) -> None:
        """Connect the buttons; the page's timer renders."""
        inputs = [self.studio.project, self.select]
        for button, work in ((self.keep, self._stop_keep), (self.discard, self._stop_discard), (self.resume, self._resume)):
            action(button.click, work, inputs=inputs, outputs=self.outputs, note=self.note, t=self.studio.t)

    def watched(self, project: Project, selected: str | None) -> Run | None:
        """The selected run; when none is selected, the running one, else the next in the queue, else the newest."""
        runs = project.runs()
        if selected:
            return next((run for run in runs if run.id == selected), None)
        states = {run.id: run.status().state for run in runs}
        for state in ("running", "queued"):
            active = [run for run in runs if states[run.id] == state]
            if active:
                return active[-1]
        return runs[0] if runs else None

    def choices(self, project: Project) -> list[tuple[str, str]]:
        """The job list: newest first."""
        t = self.studio.t
        runs = project.runs()[:SHOWN_RUNS]
        return [(t("jobs.follow"), ""), *((f"{ICONS[run.status().state]} {run_name(run, project, t)}", run.id) for run in runs)]

    def render(self, project: Project, selected: str | None) -> dict[Any, Any]:
        """All of the panel."""
        run = self.watched(project, selected)
        choices = self.choices(project)
        known = {value for _, value in choices}
        changes: dict[Any, Any] = {
            self.select: gr.update(choices=choices) if (selected or "") in known else gr.update(choices=choices, value="")
        }
        if run is None:
            hidden = gr.update(visible=False)
            return {**changes, self.status: self.studio.t("jobs.none"), self.error: hidden, self.log: "", **self._buttons(None)}
        status = run.status()
        changes[self.status] = status_text(run, project, self.studio)
        changes[self.error] = gr.update(value=error_text(run, self.studio.t), visible=status.error is not None)
        changes[self.log] = run.log_tail(LOG_LINES)
        return {**changes, **self._buttons(run)}

    def signature(self, project: Project, selected: str | None) -> str:
        """Changes when the panel would look different."""
        run = self.watched(project, selected)
        states = [(item.id, item.status().state) for item in project.runs()[:SHOWN_RUNS]]
        return repr((project.id, selected, states, run and (run.id, run.status(), run.log_tail(3))))

    def _buttons(self, run: Run | None) -> dict[Any, Any]:
        state = run.status().state if run else ""
        active = state in ("queued", "running")
        stopping = bool(run and run.status().stopping)
        resumable = bool(run and run.can_resume and state in ("stopped", "failed") and not run.status().discarded)
        return {
            self.keep: gr.update(interactive=active and not stopping),
            self.discard: gr.update(interactive=active),
            self.resume: gr.update(visible=resumable),
        }

    def _run(self, project_id: str, selected: str | None) -> tuple[Project, Run | None]:
        project = self.studio.open_project(project_id)
        return project, self.watched(project, selected)

    def _stop_keep(self, project_id: str, selected: str | None) -> dict[Any, Any]:
        project, run = self._run(project_id, selected)
        if run is not None:
            self.studio.backend.queue.stop(run)
        return self.render(project, selected)

    def _stop_discard(self, project_id: str, selected: str | None) -> dict[Any, Any]:
        project, run = self._run(project_id, selected)
        if run is not None:
            self.studio.backend.queue.discard(run)
        return self.render(project, selected)

    def _resume(self, project_id: str, selected: str | None) -> dict[Any, Any]:
        project, run = self._run(project_id, selected)
        if run is not None:
            self.studio.backend.queue.resume(run)
        return self.render(project, selected)


def status_text(run: Run, project: Project, studio: Studio) -> str:
    """Markdown: name, state, stage, bar, time left."""
    t, status = studio.t, run.status()
    lines = [f"**{escape(run_name(run, project, t))}**", f"{ICONS[status.state]} {t(f'state.{status.state}')}"]
    if status.stopping and not status.ended:
        lines.append(t("jobs.stopping"))
    if status.state == "queued":
        turn = studio.backend.queue.turn(run)
        lines.append(t("jobs.waits", turn=turn) if turn else t("jobs.waits_soon"))
    if status.state == "running":
        if status.stage:
            lines.append(escape(t.stage(status.stage)))
        if status.total:
            share = min(1.0, max(0.0, (status.done or 0) / status.total))
            lines.append(f'<progress value="{share:.4f}" max="1"></progress>')
            lines.append(
                f"{share:.0%} · {t.number(round(status.done or 0))} / {t.number(round(status.total))} {escape(t.unit(status.unit))}"
            )
        if status.eta_seconds is not None:
            lines.append(t("jobs.eta", time=t.duration(status.eta_seconds)))
    if status.seconds is not None:
        lines.append(t("jobs.seconds" if status.ended else "jobs.so_far", time=t.duration(status.seconds)))
    if status.message and status.state != "succeeded" and status.error is None:
        lines.append(f"_{escape(status.message)}_")
    return "  \n".join(lines)


def error_text(run: Run, t: Translator) -> str:
    """Markdown: what happened and what to do."""
    error = run.status().error
    if error is None:
        return ""
    return f"⚠ {escape(error.message)}.  \n{t('error.what_to_do')} {escape(error.hint)}."
