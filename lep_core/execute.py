"""Run one run directory in this process and record the outcome: `python -m lep_core execute RUN`.

The process takes the run's lock, so that no run is executed twice, and is the only writer of `status.json`, `metrics.jsonl`,
`errors/` and `report.json`. A thread writes the status, at least every two seconds: it is the sign of life, and the stage
itself never waits for the disk.

Stopping: the file `stop`, SIGTERM or SIGINT make `should_stop()` true. A stage that does not ask within 15 seconds (or three
times its longest step) is interrupted, one that cannot even be interrupted is ended: results appear only when they are whole
and checkpoints stay. A stage that has heard the request may take its time to save.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lep_core import pipeline
from lep_core.errors import ConfigError, InputError, JobError, LepError, ResourceError
from lep_core.files import write_json
from lep_core.runs.metrics import MetricsWriter, json_safe
from lep_core.runs.process import HEARTBEAT_SECONDS, this_process
from lep_core.runs.run import METRICS_FILE, REPORT_FILE, STATUS_FILE, Run, read_json_if_whole
from lep_core.runs.status import FINAL_STATES, RunError

SUCCEEDED, BUG, MENDABLE, INTERRUPTED = 0, 1, 2, 130
TICK_SECONDS = 0.25
STATUS_SECONDS = 0.5
RATE_WINDOW_SECONDS = 30.0
STOP_PATIENCE_SECONDS = 15.0
END_PATIENCE_SECONDS = 15.0
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN")


def execute(run_path: str | Path) -> int:
    """Execute a run and return the exit code: 0 done, 2 the user can mend it, 1 a bug, 130 stopped.

    Raises:
        JobError: there is no such run, somebody else executes it, or it has ended already. Nothing was changed then.
    """
    run = Run.open(run_path)
    _refuse_several_processes(run)
    with run.lock():
        _prepare(run)
        reporter = RunReporter(run)
        with reporter.alive(), _signals_to(reporter):
            return _outcome(run, reporter)


class RunReporter:
    """A `Reporter` that keeps what a stage says in the run directory."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.step: int | None = None
        self._process = {**this_process(), "world_size": 1, "started": time.time()}
        self._began = time.monotonic()
        self._stage, self._message = "", ""
        self._progress: tuple[float | None, float | None, str] = (None, None, "")
        self._samples: deque[tuple[float, float]] = deque(maxlen=int(RATE_WINDOW_SECONDS / STATUS_SECONDS))
        self._metrics = MetricsWriter(run.path / METRICS_FILE)
        self._news = True
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._stop_asked_at: float | None = None
        self._last_poll: float | None = None
        self._longest_gap = 0.0
        self.stop_heard = False
        self.can_interrupt = False

    def stage(self, name: str) -> None:
        self._stage, self._progress = name, (None, None, "")
        self._samples.clear()
        self._news = True
        self._log(name)

    def progress(self, done: float, total: float | None = None, unit: str = "") -> None:
        self._progress = (done, total, unit)
        self._news = True

    def metric(self, record: Mapping[str, Any]) -> None:
        self._metrics.append(record)
        step = record.get("step")
        if isinstance(step, int):
            self.step = step
        self._news = True

    def message(self, text: str) -> None:
        self._message = redacted(text)
        self._news = True
        self._log(self._message)

    def should_stop(self) -> bool:
        now = time.monotonic()
        if self._last_poll is not None and self._stop_asked_at is None:
            self._longest_gap = max(self._longest_gap, now - self._last_poll)
        self._last_poll = now
        if self._stop_asked_at is None and self.run.stop_requested:
            self.ask_to_stop()
        if self._stop_asked_at is not None:
            self.stop_heard = True
        return self.stop_heard

    def ask_to_stop(self) -> bool:
        """Make `should_stop` true; False when it was already."""
        if self._stop_asked_at is not None:
            return False
        self._stop_asked_at = time.monotonic()
        return True

    @property
    def ended(self) -> bool:
        """True once the final state is being written."""
        return self._ended.is_set()

    @contextmanager
    def alive(self) -> Generator[None, None, None]:
        """Write the status regularly while the block runs; `end` writes the last one."""
        self._write("running")
        thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
            self._metrics.close()

    def end(self, state: str, error: RunError | None = None) -> None:
        """Write the final state; nothing is written after it."""
        self._ended.set()
        self._write(state, error)

    def _beat(self) -> None:
        written = interrupted_at = 0.0
        while not self._ended.wait(TICK_SECONDS):
            now = time.monotonic()
            if self._stop_asked_at is None and self.run.stop_requested:
                self.ask_to_stop()
            if now - written >= (STATUS_SECONDS if self._news else HEARTBEAT_SECONDS):
                self._news, written = False, now
                self._write("running")
            if self._stop_asked_at is None or self.stop_heard or not self.can_interrupt:
                continue
            if not interrupted_at and now - self._stop_asked_at > max(STOP_PATIENCE_SECONDS, 3 * self._longest_gap):
                interrupted_at = now
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            elif interrupted_at and now - interrupted_at > END_PATIENCE_SECONDS:
                self._log("the stage could not be interrupted; the process ends here")
                self.end("stopped")
                os._exit(INTERRUPTED)

    def _write(self, state: str, error: RunError | None = None) -> None:
        now = time.monotonic()
        done, total, unit = self._progress
        record = {
            **self._process,
            "state": state,
            "stage": self._stage,
            "done": done,
            "total": total,
            "unit": unit,
            "step": self.step,
            "seconds": round(now - self._began, 3),
            "eta_seconds": self._eta(now, done, total) if state == "running" else None,
            "heartbeat": time.time(),
            "message": self._message,
            "error": error.to_json() if error else None,
        }
        with self._writing:
            if state == "running" and self._ended.is_set():
                return
            try:
                write_json(self.run.path / STATUS_FILE, json_safe(record))
            except (LepError, OSError) as problem:
                # A full disk must not end a training that has a sound checkpoint; the state is then read from the process.
                print(f"status.json could not be written: {problem}", file=sys.stderr)

    def _eta(self, now: float, done: float | None, total: float | None) -> float | None:
        if done is None:
            return None
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, done))
        first_time, first_done = self._samples[0]
        elapsed = now - first_time
        if total is None or elapsed <= 0 or done <= first_done:
            return None
        return round(max(0.0, (total - done) * elapsed / (done - first_done)), 1)

    def _log(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {text}\n"
        sys.stderr.write(line)
        sys.stderr.flush()
        if not _writes_to(self.run.log):
            with open(self.run.log, "a", encoding="utf-8") as log:
                log.write(line)


def explained(error: BaseException) -> LepError | None:
    """The error as one that people can mend, or None when it is a bug."""
    if isinstance(error, LepError):
        return error
    text = str(error)
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "No space left on device" in text:
        return ResourceError("the disk is full", "Free some space, then start or resume the run")
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return InputError("a path is longer than the file system allows", "Give a shorter path")
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    out_of_memory = out_of_memory or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    out_of_memory = out_of_memory or (
        isinstance(error, RuntimeError) and re.search(r"can't allocate memory|not enough memory|out of memory", text) is not None
    )
    if out_of_memory:
        detail = f" ({text.splitlines()[0][:200]})" if text else ""
        return ResourceError(
            f"memory ran out{detail}", "Choose a smaller micro batch or block size, or close other programs, then start or resume the run"
        )
    return None


def exit_code(error: BaseException) -> int:
    """2 for what the user can mend, 130 for an interruption, 1 for a bug."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return BUG if explained(error) is None else MENDABLE


def redacted(text: str) -> str:
    """The text without access tokens."""
    for name in TOKEN_VARIABLES:
        value = os.environ.get(name, "").strip()
        if value:
            text = text.replace(value, "***")
    return re.sub(r"\bhf_[A-Za-z0-9]{20,}", "hf_***", text)


def _prepare(run: Run) -> None:
    """Refuse a run that has ended; put a killed attempt aside so that this one goes on from its checkpoint."""
    own, launch = read_json_if_whole(run.path / STATUS_FILE), run.launch() or {}
    state = (own or {}).get("state")
    if state in FINAL_STATES or launch.get("outcome") or launch.get("error"):
        shown = run.status().state
        hint = "Make a new run" if shown == "succeeded" else f"`lep resume {run.path}` goes on with it"
        raise JobError(f"{run.id} has ended already ({shown})", hint)
    if own is not None:
        run.put_attempt_aside()
    run.clear_leftovers()


def _outcome(run: Run, reporter: RunReporter) -> int:
    try:
        config = run.typed_config()
        if run.stop_requested:
            reporter.end("stopped")
            return INTERRUPTED
        report = pipeline.VERBS[run.verb].run(config, reporter)
        write_json(run.path / REPORT_FILE, json_safe(report.to_json()))
    except KeyboardInterrupt:
        reporter.end("stopped")
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001
        # The process ends here; also a panic of a native library (a BaseException) must leave its reason behind.
        _record_failure(run, reporter, error)
        return exit_code(error)
    stopped = getattr(report, "stopped", reporter.stop_heard)
    reporter.end("stopped" if stopped else "succeeded")
    return INTERRUPTED if stopped else SUCCEEDED


def _record_failure(run: Run, reporter: RunReporter, error: BaseException) -> None:
    known = explained(error)
    trace = redacted("".join(traceback.format_exception(error)))
    if known is None:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        failure = RunError(
            kind=type(error).__name__, message=redacted(what), hint="This is a bug; please report it with the log", traceback=trace
        )
        print(trace, file=sys.stderr)
    else:
        field = known.field if isinstance(known, ConfigError) else None
        kept = None if isinstance(error, LepError) else trace
        failure = RunError(
            kind=type(known).__name__, message=redacted(known.message), hint=redacted(known.hint), field=field, traceback=kept
        )
        print(f"error: {failure.message}. {failure.hint}", file=sys.stderr)
    try:
        write_json(run.path / "errors" / "rank-0.json", failure.to_json())
    except (LepError, OSError) as problem:
        print(f"the error could not be written: {problem}", file=sys.stderr)
    reporter.end("failed", failure)


def _refuse_several_processes(run: Run) -> None:
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1:
        error = JobError(
            f"{run.verb} runs in one process, but {world_size} were started",
            "Start it with `python -m lep_core execute RUN`, without torchrun",
        )
        rank = int(os.environ.get("RANK", "0"))
        failure = RunError(kind="JobError", message=error.message, hint=error.hint)
        write_json(run.path / "errors" / f"rank-{rank}.json", failure.to_json())
        raise error


@contextmanager
def _signals_to(reporter: RunReporter) -> Generator[None, None, None]:
    """SIGTERM and the first SIGINT ask to stop, the second SIGINT interrupts. Python allows this in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if not reporter.ask_to_stop() and number == signal.SIGINT and not reporter.ended:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    reporter.can_interrupt = True
    try:
        yield
    finally:
        reporter.can_interrupt = False
        for number, handler in before.items():
            signal.signal(number, handler)


def _writes_to(log: Path) -> bool:
    """Whether the standard output of this process is that log file already."""
    try:
        return os.path.samestat(os.fstat(1), log.stat())
    except OSError:
        return False
