"""Whose turn it is: one job at a time on the device, light jobs one at a time beside it, in the order they were handed in.

The queue is not kept anywhere: a run directory without `launch.json` and `status.json` is queued. So it survives a restart of
the app, and no run can be lost. A run that names predecessors (`after`) lets others pass until they have ended; when one of
them did not succeed, the run fails and says so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lep_core.errors import JobError, LepError
from lep_core.jobs.command import child_command
from lep_core.jobs.supervisor import Supervisor
from lep_core.runs.run import Run
from lep_core.runs.workspace import Workspace

SCAN_SECONDS = 1.0
EXIT_SECONDS = 10.0
LANES = ("device", "light")


def lane(run: Run) -> str:
    """Which turn order a run belongs to."""
    return "light" if run.light else "device"


class JobQueue:
    """Runs the queued runs of a workspace. The caller holds the workspace's lock.

    Args:
        workspace: whose runs are taken.
        command_for: see `Supervisor`.
    """

    def __init__(self, workspace: Workspace, *, command_for: Callable[[Run], Sequence[str]] = child_command) -> None:
        self.workspace = workspace
        self.supervisor = Supervisor(command_for=command_for, on_end=lambda run: self.submit())
        self._started: set[Path] = set()
        self._news = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Adopt what is running, finish what was to be discarded, and begin to hand out turns."""
        for run in self.workspace.runs():
            if not run.started:
                continue
            if not self.supervisor.adopt(run) and run.discard_requested:
                # Somebody may be executing it by hand just now; then the next start deletes it.
                with contextlib.suppress(LepError):
                    run.delete_results()
        self._thread = threading.Thread(target=self._serve, name="job-queue", daemon=True)
        self._thread.start()

    def submit(self, run: Run | None = None) -> None:
        """Look for queued runs now rather than within a second; `run` may be named twice and still runs once."""
        self._news.set()

    def waiting(self, lane_name: str | None = None) -> list[Run]:
        """The queued runs in the order of their turns."""
        queued = []
        for project in self.workspace.projects():
            for path in project.run_folders():
                # Old runs are the many; once started, a run is not looked at again until it is resumed.
                if path in self._started:
                    continue
                run = Run(path)
                if run.started:
                    self._started.add(path)
                elif run.whole and not run.prepared:
                    queued.append(run)
        queued.sort(key=lambda run: (run.queued_since, run.id))
        return [run for run in queued if lane_name is None or lane(run) == lane_name]

    def running(self, lane_name: str | None = None) -> list[Run]:
        """The runs whose processes are watched."""
        return [run for run in self.supervisor.watched() if lane_name is None or lane(run) == lane_name]

    def turn(self, run: Run) -> int | None:
        """1 = next in its lane, 2 = the one after ...; None when the run is not queued."""
        order = self.waiting(lane(run))
        return order.index(run) + 1 if run in order else None

    def stop(self, run: Run, *, force: bool = False) -> None:
        """Ask a run to stop; see `Supervisor.stop`."""
        self.supervisor.stop(run, force=force)

    def discard(self, run: Run) -> None:
        """Stop a run and delete its results."""
        self.supervisor.discard(run)

    def resume(self, run: Run) -> None:
        """Queue a stopped or failed run again; it goes on from its newest checkpoint, or starts again where it has none."""
        if run.status().ended:
            # The end of the earlier attempt is recorded by its watcher, a moment after the run's own last word.
            self.supervisor.wait(run, EXIT_SECONDS)
        run.new_attempt()
        self._started.discard(run.path)
        self.submit(run)

    def close(self) -> None:
        """Hand out no more turns and stop watching; running jobs go on, queued ones wait for the next start."""
        self._closed.set()
        self._news.set()
        self.supervisor.close()
        if self._thread is not None:
            self._thread.join(5)

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._news.clear()
            # The disk of the workspace may not answer now (a network file system); the next look may succeed.
            with contextlib.suppress(OSError):
                self._hand_out_turns()
            self._news.wait(SCAN_SECONDS)

    def _hand_out_turns(self) -> None:
        for run in self.waiting():
            if self._closed.is_set():
                return
            try:
                if run.stop_requested:
                    self.supervisor.stop(run)
                elif self._ready(run) and not self.running(lane(run)):
                    self.supervisor.launch(run)
            except LepError as error:
                self.supervisor.refuse(run, error)

    def _ready(self, run: Run) -> bool:
        """Whether all predecessors have succeeded; JobError when that can no longer come about."""
        project_runs = run.path.parent
        ready = True
        for run_id in run.after:
            before = Run(project_runs / run_id)
            state = before.status().state if before.path.is_dir() else "missing"
            if state in ("failed", "stopped", "missing"):
                hint = "Make it succeed (resume it or make it again), then start this run again"
                raise JobError(f"this run needs the result of {run_id}, which is {state}", hint)
            if state == "succeeded" and not run.attempts:
                _refuse_by_check(before)
            ready = ready and state == "succeeded"
        return ready


def _refuse_by_check(before: Run) -> None:
    """JobError when `before` is a check (`preflight`) that says the work does not fit. A resumed run starts all the same."""
    report = (before.report() or {}) if before.verb == "preflight" else {}
    if not report.get("fits", True):
        first = next(iter(report.get("problems") or []), {})
        message = first.get("message") or "it does not fit on this machine"
        hint = first.get("hint") or "Choose smaller settings"
        raise JobError(f"the check before the start found: {message}", f"{hint}; or resume this run to start it all the same")
