"""The jobs panel beside every tab: what runs, how far it is, what went wrong, and buttons to stop or resume.

Everything shown is read from run directories, so a reload, another browser or a restarted app shows the same.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import gradio as gr

from lep_core.jobs.queue import lane
from lep_core.runs.run import Run
from lep_core.runs.status import RunStatus
from lep_core.runs.workspace import Project
from ui.i18n import Translator
from ui.material import run_name
from ui.messages import action, core_words, escape, note_area
from ui.run_states import statuses
from ui.studio import Studio

MOST_NAMES = 3
ICONS = {"queued": "⏳", "running": "▶", "succeeded": "✔", "stopped": "■", "failed": "✖"}
SHOWN_RUNS = 40
LOG_LINES = 60


def job_selector(t: Translator) -> gr.Dropdown:
    """Which job the panel shows: made before the tabs, so that they can listen to it, and rendered by the panel."""
    return gr.Dropdown(
        choices=[(t("jobs.follow"), "")],
        value="",
        label=t("jobs.select"),
        elem_id="job-select",
        interactive=True,
        filterable=False,
        render=False,
    )


class RunButtons:
    """Stop and keep, stop and discard, resume: for one run, wherever it is shown."""

    def __init__(self, studio: Studio, *, prefix: str) -> None:
        self.studio, t = studio, studio.t
        with gr.Row(elem_classes=["run-buttons"]):
            self.keep = gr.Button(t("jobs.stop_keep"), size="sm", interactive=False, elem_id=f"{prefix}-stop-keep", min_width=100)
            self.discard = gr.Button(
                t("jobs.stop_discard"), size="sm", variant="stop", interactive=False, elem_id=f"{prefix}-stop-discard", min_width=100
            )
            self.resume = gr.Button(t("jobs.resume"), size="sm", visible=False, elem_id=f"{prefix}-resume", min_width=100)

    @property
    def outputs(self) -> list[Any]:
        return [self.keep, self.discard, self.resume]

    def render(self, run: Run | None) -> dict[Any, Any]:
        """Which of the buttons make sense now."""
        status = run.status() if run else None
        active = status is not None and status.state in ("queued", "running")
        resumable = run is not None and status is not None and status.state in ("stopped", "failed") and not status.discarded
        return {
            self.keep: gr.update(interactive=active and not (status and status.stopping)),
            self.discard: gr.update(interactive=active),
            self.resume: gr.update(visible=bool(resumable and run and run.can_resume)),
        }

    def press(self, what: str, run: Run | None) -> None:
        """Ask the queue for what the button says: "keep", "discard" or "resume"."""
        queue = self.studio.backend.queue
        if run is not None:
            {"keep": queue.stop, "discard": queue.discard, "resume": queue.resume}[what](run)


def current_run(project: Project, states: dict[Run, RunStatus] | None = None) -> Run | None:
    """The running job, else the next in the queue, else the newest."""
    known = statuses(project) if states is None else states
    for state in ("running", "queued"):
        active = [run for run, status in known.items() if status.state == state and not run.prepared]
        if active:
            return active[-1]
    return next(iter(known), None)


class JobPanel:
    """Builds the panel and renders it for a project."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        gr.Markdown(f"### {t('jobs.title')}")
        self.select = studio.job if studio.job is not None else job_selector(t)
        self.select.render()
        self.status = gr.Markdown(t("jobs.none"), elem_id="job-status", elem_classes=["job-status"])
        self.error = gr.Markdown("", visible=False, elem_id="job-error", elem_classes=["note"])
        self.buttons = RunButtons(studio, prefix="job")
        self.keep, self.discard, self.resume = self.buttons.outputs
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

    def watched(self, project: Project, selected: str | None, states: dict[Run, RunStatus] | None = None) -> Run | None:
        """The selected run; when none is selected, the running one, else the next in the queue, else the newest."""
        if selected:
            return next((run for run in states or project.runs() if run.id == selected), None)
        return current_run(project, states)

    def choices(self, project: Project) -> list[tuple[str, str]]:
        """The job list: newest first."""
        t = self.studio.t
        shown = islice(statuses(project).items(), SHOWN_RUNS)
        return [(t("jobs.follow"), ""), *((f"{ICONS[status.state]} {run_name(run, project, t)}", run.id) for run, status in shown)]

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
            return {**changes, self.status: self.studio.t("jobs.none"), self.error: hidden, self.log: "", **self.buttons.render(None)}
        status = run.status()
        changes[self.status] = status_text(run, project, self.studio)
        changes[self.error] = gr.update(value=error_text(run, self.studio.t), visible=status.error is not None)
        changes[self.log] = run.log_tail(LOG_LINES)
        return {**changes, **self.buttons.render(run)}

    def signature(self, project: Project, selected: str | None, states: dict[Run, RunStatus] | None = None) -> str:
        """Changes when the panel would look different."""
        known = statuses(project) if states is None else states
        run = self.watched(project, selected, known)
        listed = [(item.id, status.state) for item, status in islice(known.items(), SHOWN_RUNS)]
        return repr((project.id, selected, listed, run and (run.id, known[run], run.log_tail(3))))

    def _run(self, project_id: str, selected: str | None) -> tuple[Project, Run | None]:
        project = self.studio.open_project(project_id)
        return project, self.watched(project, selected)

    def _stop_keep(self, project_id: str, selected: str | None) -> dict[Any, Any]:
        project, run = self._run(project_id, selected)
        self.buttons.press("keep", run)
        return self.render(project, selected)

    def _stop_discard(self, project_id: str, selected: str | None) -> dict[Any, Any]:
        project, run = self._run(project_id, selected)
        self.buttons.press("discard", run)
        return self.render(project, selected)

    def _resume(self, project_id: str, selected: str | None) -> dict[Any, Any]:
        project, run = self._run(project_id, selected)
        self.buttons.press("resume", run)
        return self.render(project, selected)


def status_text(run: Run, project: Project, studio: Studio) -> str:
    """Markdown: name, state, stage, bar, time left."""
    t, status = studio.t, run.status()
    lines = [f"**{escape(run_name(run, project, t))}**", f"{ICONS[status.state]} {t(f'state.{status.state}')}"]
    if status.stopping and not status.ended:
        lines.append(t("jobs.stopping"))
    if status.state == "queued":
        lines.append(waiting_text(run, project, studio))
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


def waiting_text(run: Run, project: Project, studio: Studio) -> str:
    """Markdown: which jobs must end before a queued one begins."""
    t, queue = studio.t, studio.backend.queue
    if run.prepared:
        return t("jobs.prepared")
    before = [Run(run.path.parent / item) for item in run.after]
    needed = [item for item in before if item.path.is_dir() and not item.status().ended]
    turn = queue.turn(run)
    ahead = [*queue.running(lane(run)), *queue.waiting(lane(run))[: turn - 1]] if turn else []
    names = [escape(_name_from(item, project, t)) for item in dict.fromkeys([*needed, *ahead])]
    if not names:
        return t("jobs.waits_soon")
    more = t("jobs.and_more", count=len(names) - MOST_NAMES) if len(names) > MOST_NAMES else ""
    return t("jobs.waits_for", names=", ".join(names[:MOST_NAMES]) + more)


def _name_from(run: Run, project: Project, t: Translator) -> str:
    """The run's name, with its project's where that is another one."""
    own = Project(run.path.parent.parent)
    name = run_name(run, own, t)
    return name if own == project else f"{own.name}: {name}"


def error_text(run: Run, t: Translator) -> str:
    """Markdown: what happened and what to do; of a run that needed another one also what became of that."""
    error = run.status().error
    if error is None:
        return ""
    text = f"⚠ {escape(core_words(error.message, t))}.  \n{t('error.what_to_do')} {escape(core_words(error.hint, t))}."
    for before in (Run(run.path.parent / item) for item in run.after):
        cause = before.status().error if before.path.is_dir() else None
        if cause is not None:
            text += f"  \n**{escape(t.verb(before.verb))}**: {escape(core_words(cause.message, t))}. {escape(core_words(cause.hint, t))}."
    return text
