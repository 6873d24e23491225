"""Starts the process of a run and watches it: one thread per job, and files as the only link between the two.

The child leads a session of its own and writes to a log file, never to a pipe: closing the page, the terminal or the whole app
leaves it running. A new supervisor adopts it by process id and start. That no run is trained twice is kept by the lock that
the child takes on its run directory, whoever starts it.

Stopping is asked for with a file; the run itself sees to it that it obeys (`lep_core.execute`). Only `stop(force=True)` kills.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from lep_core.errors import JobError, LepError
from lep_core.files import write_json
from lep_core.jobs.command import child_command, child_environment
from lep_core.measuring import goes_first_when_memory_runs_out
from lep_core.runs.process import describe, is_alive, this_process
from lep_core.runs.run import LAUNCH_FILE, STATUS_FILE, Run, read_json_if_whole
from lep_core.runs.status import RunError

POLL_SECONDS = 0.5


class Supervisor:
    """Launches, adopts and stops runs.

    Args:
        command_for: gives the command of a run's process; `python -m lep_core execute RUN` by default.
        on_end: called with the run, in the watching thread, whenever a watched process has ended.
    """

    def __init__(self, *, command_for: Callable[[Run], Sequence[str]] = child_command, on_end: Callable[[Run], None] | None = None) -> None:
        self._command_for = command_for
        self._on_end = on_end
        self._lock = threading.RLock()
        self._watchers: dict[Run, threading.Thread] = {}
        self._closed = threading.Event()

    def launch(self, run: Run) -> None:
        """Start the process of a queued run; JobError when it was started before or cannot be started."""
        with self._lock:
            if run.started or run in self._watchers:
                raise JobError(f"{run.id} was started already", "Resume it after it has ended, or make a new run")
            command = list(self._command_for(run))
            try:
                with open(run.log, "ab") as log:
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        cwd=run.path,
                        env=child_environment(),
                        start_new_session=True,
                    )
            except OSError as error:
                self.refuse(
                    run, JobError(f"the process of {run.id} could not be started ({error})", "Free memory or disk space and start it again")
                )
                raise JobError(
                    f"the process of {run.id} could not be started ({error})", "Free memory or disk space and try again"
                ) from error
            goes_first_when_memory_runs_out(process.pid)
            launch = {"command": command, **describe(process.pid), "attempt": run.attempts + 1, "launched": time.time(), "exit_code": None}
            _try_to_write(run, launch)
            self._watch(run, lambda: self._follow_child(run, process, launch))

    def adopt(self, run: Run) -> bool:
        """Watch a run whose process another supervisor (or the command line) started; False when it is not alive."""
        with self._lock:
            if run in self._watchers:
                return True
            if run.status().state != "running":
                return False
            self._watch(run, lambda: self._follow_stranger(run))
            return True

    def refuse(self, run: Run, error: LepError) -> None:
        """Record that a queued run will never start, and why."""
        with self._lock:
            if not run.started:
                described = RunError(kind=type(error).__name__, message=error.message, hint=error.hint)
                _try_to_write(run, {**this_process(), "command": None, "pid": None, "error": described.to_json()})

    def stop(self, run: Run, *, force: bool = False) -> None:
        """Ask a run to stop and keep what it has; a queued one leaves the queue. `force` kills: only checkpoints remain."""
        with self._lock:
            if run.status().ended:
                return
            run.request_stop()
            if not run.started:
                _try_to_write(run, {**this_process(), "command": None, "pid": None, "outcome": "stopped"})
            elif force:
                self._kill(run)

    def discard(self, run: Run) -> None:
        """Stop a run, then delete its output and checkpoints; the record, the log and the metrics stay."""
        run.request_discard()
        self.stop(run)
        with self._lock:
            watched = run in self._watchers
        if not watched and run.status().ended:
            run.delete_results()

    def watched(self) -> list[Run]:
        """The runs whose processes are watched now."""
        with self._lock:
            return list(self._watchers)

    def wait(self, run: Run, timeout: float | None = None) -> bool:
        """Wait until the run's process has ended and been recorded; False after `timeout` seconds."""
        with self._lock:
            watcher = self._watchers.get(run)
        if watcher is not None:
            watcher.join(timeout)
            return not watcher.is_alive()
        return True

    def close(self) -> None:
        """Stop watching; the jobs go on."""
        self._closed.set()

    def _watch(self, run: Run, follow: Callable[[], None]) -> None:
        def body() -> None:
            try:
                follow()
                if run.discard_requested and run.status().ended:
                    run.delete_results()
            except LepError as error:
                # For example a full disk: the state is still right, since it is worked out from what is on disk.
                _note(run, f"the supervisor could not record the end: {error}")
            finally:
                with self._lock:
                    self._watchers.pop(run, None)
            if self._on_end is not None and not self._closed.is_set():
                self._on_end(run)

        thread = threading.Thread(target=body, name=f"watch-{run.id}", daemon=True)
        self._watchers[run] = thread
        thread.start()

    def _follow_child(self, run: Run, process: subprocess.Popen[bytes], launch: dict[str, Any]) -> None:
        if hasattr(os, "waitid"):
            # The child is dead but not reaped, so its group id is still its own: end what it left behind.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            _kill_group(process.pid)
        code = process.wait()
        if launch["attempt"] != run.attempts + 1:
            # Resumed from elsewhere while this process was on its way out: launch.json belongs to the next attempt now.
            return
        forced = (run.launch() or {}).get("forced", False)
        write_json(run.path / LAUNCH_FILE, {**launch, "forced": forced, "exit_code": code, "ended": time.time()})

    def _follow_stranger(self, run: Run) -> None:
        while not self._closed.wait(POLL_SECONDS):
            launch = run.launch()
            if not (is_alive(launch) or is_alive(read_json_if_whole(run.path / STATUS_FILE))):
                if launch is not None:
                    write_json(run.path / LAUNCH_FILE, {**launch, "ended": time.time()})
                return

    def _kill(self, run: Run) -> None:
        launch = run.launch()
        own = read_json_if_whole(run.path / STATUS_FILE)
        host = this_process()["host"]
        for record in filter(None, (launch, own)):
            if is_alive(record) and record.get("host") != host:
                raise JobError(
                    f"{run.id} runs on {record.get('host')}, which cannot be reached from here", "End it there, for example with scancel"
                )
        if launch is not None and is_alive(launch):
            _try_to_write(run, {**launch, "forced": True})
            _kill_group(launch["pid"])
        elif own is not None and is_alive(own):
            _try_to_write(run, {**own, "command": None, "exit_code": None, "forced": True})
            with contextlib.suppress(ProcessLookupError):
                os.kill(own["pid"], signal.SIGKILL)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _try_to_write(run: Run, launch: dict[str, Any]) -> None:
    try:
        write_json(run.path / LAUNCH_FILE, launch)
    except LepError as error:
        _note(run, f"the supervisor could not write {LAUNCH_FILE}: {error}")


def _note(run: Run, text: str) -> None:
    try:
        with open(run.log, "a", encoding="utf-8") as log:
            log.write(text + "\n")
    except OSError:
        # Nothing can be written there; the state shown does not depend on this line.
        pass
