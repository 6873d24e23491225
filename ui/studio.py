"""What every tab of the page shares: the workspace, the job queue, the translator and the components that all tabs listen to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.errors import InputError
from lep_core.jobs.queue import JobQueue
from lep_core.runs.lock import FileLock
from lep_core.runs.run import Run
from lep_core.runs.workspace import PROJECT_FILE, Project, Workspace
from ui.i18n import Translator

logger = logging.getLogger("lep.ui")

TABS = ("project", "corpus", "tokenizer", "train", "propagate", "calibrate", "chat", "benchmark", "export")


@dataclass
class Backend:
    """The parts behind all pages and languages: one workspace, one queue, one set of chat workers."""

    workspace: Workspace
    queue: JobQueue
    lock: FileLock
    closers: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path) -> Backend:
        """Take the workspace (JobError names another app that has it), adopt jobs that still run, and make the demo project in an empty workspace."""
        from ui.first_start import make_demo_project

        workspace = Workspace(path)
        lock = workspace.lock()
        make_demo_project(workspace)
        queue = JobQueue(workspace)
        queue.start()
        return cls(workspace=workspace, queue=queue, lock=lock)

    def close(self) -> None:
        """Let go of everything but the jobs: they are processes of their own."""
        for closer in self.closers:
            closer()
        self.queue.close()
        self.lock.release()


def latest_project(workspace: Workspace) -> Project | None:
    """The project that was worked on last: what a browser opens that has not been here before."""
    return max(workspace.projects(), key=_last_change, default=None)


def _last_change(project: Project) -> float:
    """When a run was made in the project, or the project itself was made or changed."""
    places = (project.path / "runs", project.path / PROJECT_FILE)
    return max((place.stat().st_mtime for place in places if place.exists()), default=0.0)


@dataclass
class TabParts:
    """What a tab gives back to the page.

    `refresh(project)` returns {component: update} and is called when the project's runs changed; `outputs` are the components
    that it may change.
    """

    outputs: list[Any]
    refresh: Callable[[Project], dict[Any, Any]]


@dataclass
class Studio:
    """One page in one language."""

    backend: Backend
    t: Translator
    project: gr.Dropdown
    tabs: gr.Tabs
    job: gr.Dropdown | None = None
    shown_chats: gr.BrowserState | None = None
    # Tab -> a hidden text that changes while the tab is open and a run is at work.
    pulses: dict[str, gr.Textbox] = field(default_factory=dict)

    def open_project(self, project_id: str | None) -> Project:
        """The selected project."""
        if not project_id:
            raise InputError(self.t("error.no_project"), self.t("error.no_project_hint"))
        return self.backend.workspace.project(project_id)

    def start(
        self, project: Project, verb: str, values: dict[str, Any], *, inputs: dict[str, str] | None = None, after: list[Run] | None = None
    ) -> Run:
        """Create a run and hand it to the queue; the job runs in a child process."""
        run = project.create_run(verb, values, inputs or {}, [item.id for item in after or []])
        self.backend.queue.submit(run)
        return run
