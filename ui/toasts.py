"""A word at the edge of the page when a job has ended, whatever tab is open."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lep_core.errors import LepError
from lep_core.runs.run import Run
from ui.job_panel import ICONS
from ui.material import run_name
from ui.messages import LIGHT_HANDLERS, both, core_words
from ui.studio import Studio

MOST = 3
SECONDS = 8


def connect(studio: Studio, changed: gr.Textbox) -> None:
    """Announce ended jobs of the open project whenever `changed` changes; those that had ended before a browser came are not news."""
    told = gr.State({})

    def announce(project_id: str | None, known: dict[str, Any]) -> dict[Any, Any]:
        if not project_id:
            return {told: known}
        try:
            project = studio.open_project(project_id)
            ended = [run for run in project.runs() if run.status().ended]
        except LepError as error:
            gr.Warning(both(error, studio.t))
            return {told: known}
        if known.get("project") == project_id:
            news = [run for run in ended if run.id not in known["ended"]]
            for run in news[:MOST]:
                say(run, run_name(run, project, studio.t), studio)
        return {told: {"project": project_id, "ended": {run.id for run in ended}}}

    # Queued: Gradio shows such words for events of its queue only.
    changed.change(
        announce,
        inputs=[studio.project, told],
        outputs=[told],
        show_progress="hidden",
        show_progress_on=[],
        api_visibility="private",
        concurrency_limit=LIGHT_HANDLERS,
        trigger_mode="always_last",
    )


def say(run: Run, name: str, studio: Studio) -> None:
    """One toast: a success, a word about a stop, or the error."""
    status, t = run.status(), studio.t
    text = f"{ICONS[status.state]} {name}: {t(f'state.{status.state}')}"
    if status.state == "failed":
        gr.Warning(f"{text}. {core_words(status.error.message, t)}." if status.error else text, duration=SECONDS)
    elif status.state == "succeeded":
        gr.Success(text, duration=SECONDS)
    else:
        gr.Info(text, duration=SECONDS)
