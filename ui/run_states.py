"""The states of a project's runs, for pages that ask all the time: what has ended is read again only when its files have changed."""

from __future__ import annotations

import os
from pathlib import Path

from lep_core.jobs.queue import JobQueue
from lep_core.runs.run import DISCARD_FILE, LAUNCH_FILE, METRICS_FILE, STATUS_FILE, STOP_FILE, Run
from lep_core.runs.status import RunStatus
from lep_core.runs.workspace import Project

MOST_KEPT = 8192

Marks = tuple[tuple[int, int, int], ...]
_ended: dict[Path, tuple[Marks, RunStatus]] = {}


def statuses(project: Project) -> dict[Run, RunStatus]:
    """Every run of the project, newest first, with its status."""
    return {run: _status(run) for run in project.runs()}


def ended_signature(project: Project, states: dict[Run, RunStatus]) -> str:
    """Changes when the tabs have something else to offer: another project, other settings, a run that is new or in another state."""
    return repr((project.id, project.settings, [(run.id, status.state) for run, status in states.items()]))


def live_signature(states: dict[Run, RunStatus], queue: JobQueue) -> str:
    """Changes while runs are at work or wait: their progress, their measurements, their turn."""
    at_work = {run: status for run, status in states.items() if not status.ended}
    return repr([(run.id, status, queue.turn(run), _mark(run.path / METRICS_FILE)) for run, status in at_work.items()])


def _status(run: Run) -> RunStatus:
    marks = tuple(_mark(run.path / name) for name in (STATUS_FILE, LAUNCH_FILE, STOP_FILE, DISCARD_FILE))
    known = _ended.get(run.path)
    if known is not None and known[0] == marks:
        return known[1]
    status = run.status()
    if status.ended:
        if len(_ended) >= MOST_KEPT:
            _ended.clear()
        _ended[run.path] = (marks, status)
    return status


def _mark(path: Path) -> tuple[int, int, int]:
    """Which file this is, when it was written, and how long it is; zeros when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)
