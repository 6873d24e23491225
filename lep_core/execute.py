"""Run one run directory in this process and record the outcome: `python -m lep_core execute RUN`.

The process takes the run's lock, so that no run is executed twice, and is the only writer of `status.json`, `metrics.jsonl`,
`errors/` and `report.json`. A thread writes the status, at least every two seconds: it is the sign of life, and the stage
itself never waits for the disk.

Stopping: the file `stop`, SIGTERM or SIGINT make `should_stop()` true. A stage that does not ask within 15 seconds (or three
times its longest step) is interrupted, one that cannot even be interrupted is ended: results appear only when they are whole
and checkpoints stay. A stage that has heard the request may take its time to save.

Under torchrun every process executes the same run: rank 0 as described, the others only compute their share and write their errors.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lep_core import pipeline, ranks
from lep_core.config import Config
from lep_core.errors import ConfigError, JobError, LepError
from lep_core.failures import BUG_HINT, INTERRUPTED, SUCCEEDED, described, exit_code, redacted
from lep_core.files import write_json
from lep_core.progress import Reporter, SilentReporter
from lep_core.ranks import PeerLost, RankErrors
from lep_core.runs.metrics import MetricsWriter, json_safe
from lep_core.runs.process import HEARTBEAT_SECONDS, this_process
from lep_core.runs.run import METRICS_FILE, REPORT_FILE, STATUS_FILE, Run, read_json_if_whole
from lep_core.runs.status import FINAL_STATES, RunError

TICK_SECONDS = 0.25
STATUS_SECONDS = 0.5
RATE_WINDOW_SECONDS = 30.0
STOP_PATIENCE_SECONDS = 15.0
END_PATIENCE_SECONDS = 15.0
FIRST_WORD_SECONDS = 20.0
# What several processes can do together; every other verb runs in one.
SHARED_VERBS = ("train",)


def execute(run_path: str | Path) -> int:
    """Execute a run and return the exit code: 0 done, 2 the user can mend it, 1 a bug, 130 stopped.

    Raises:
        JobError: there is no such run, somebody else executes it, or it has ended already. Nothing was changed then.
    """
    run = Run.open(run_path)
    if ranks.world_size() > 1:
        _refuse_several_processes(run)
        os.environ[ranks.FOLDER_VARIABLE] = str(run.path / "errors")
    if ranks.rank() > 0:
        return _execute_share(run)
    with run.lock():
        _prepare(run)
        reporter = RunReporter(run)
        with reporter.alive(), _signals_to(reporter):
            code = _outcome(run, reporter)
        if code in (SUCCEEDED, INTERRUPTED):
            leave_team()
        return code


class RunReporter:
    """A `Reporter` that keeps what a stage says in the run directory."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.step: int | None = None
        self._process = {**this_process(), "world_size": ranks.world_size(), "started": time.time()}
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
        if run.stop_requested and ranks.world_size() == 1:
            reporter.end("stopped")
            return INTERRUPTED
        report = run_share(run.verb, config, reporter, on_loss=lambda loss: _record_failure(run, reporter, loss))
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
    failure = described(error)
    _print_failure(failure)
    if not isinstance(error, PeerLost) or error.failure is None:
        write_rank_error(RankErrors(run.path / "errors"), failure)
    reporter.end("failed", failure)


def write_rank_error(errors: RankErrors, failure: RunError) -> None:
    """Leave the error of this process for the others and for whoever started them."""
    try:
        errors.write(failure.to_json())
    except (LepError, OSError) as problem:
        print(f"the error could not be written: {problem}", file=sys.stderr)


def _print_failure(failure: RunError) -> None:
    is_bug = failure.hint == BUG_HINT
    print(failure.traceback if is_bug else f"error: {failure.message}. {failure.hint}", file=sys.stderr)


def run_share(
    verb: str, config: Config, reporter: Reporter, *, on_loss: Callable[[PeerLost], None], on_stop: Callable[[], None] | None = None
) -> pipeline.Report:
    """Run a verb, or in one of several processes this process's share of it; `on_loss`, `on_stop`: see `ranks.watched`."""
    if ranks.world_size() == 1:
        return pipeline.VERBS[verb].run(config, reporter)
    ranks.check_world_size(getattr(config, "processes", 1))
    from lep_core.training.team import join

    team = join(getattr(config, "device", "auto"))
    with ranks.watched(errors=RankErrors.from_environment(), gone=team.gone, on_loss=on_loss, on_stop=on_stop):
        return pipeline.VERBS[verb].run(config, reporter)


def leave_team() -> None:
    """Wait for the other processes of this work, if there are any: torchrun ends all of them as soon as one has gone."""
    if ranks.world_size() > 1:
        from lep_core.training.team import leave

        leave()


class ShareReporter(SilentReporter):
    """The reporter of a process that only computes a share: it says nothing and hears signals."""

    ended = False
    can_interrupt = False

    def __init__(self) -> None:
        self._stop_asked = False

    def should_stop(self) -> bool:
        return self._stop_asked

    def ask_to_stop(self) -> bool:
        """Make `should_stop` true; False when it was already."""
        asked_before, self._stop_asked = self._stop_asked, True
        return not asked_before


def _execute_share(run: Run) -> int:
    """Execute a run in a process that is not the first of its team."""
    reporter, errors = ShareReporter(), RankErrors(run.path / "errors")
    try:
        ranks.check_world_size(run.config.get("processes", 1))
        from lep_core.training.team import join

        # The first process joins when it has the run's lock and has put an earlier attempt aside.
        join(run.config.get("device", "auto"))
        with _signals_to(reporter):
            report = run_share(run.verb, run.typed_config(), reporter, on_loss=lambda loss: None)
            leave_team()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001
        # The process ends here; see `_outcome`.
        is_own = not isinstance(error, PeerLost)
        is_silent_loss = isinstance(error, PeerLost) and error.failure is None
        if is_own or (is_silent_loss and not _has_ended(run)):
            write_rank_error(errors, described(error))
        if isinstance(error, ConfigError):
            # The first process found the same wrong setting; torchrun would end it before it has said so.
            give_up = time.monotonic() + FIRST_WORD_SECONDS
            while not _has_ended(run) and time.monotonic() < give_up:
                time.sleep(TICK_SECONDS)
        return exit_code(error)
    return INTERRUPTED if getattr(report, "stopped", False) else SUCCEEDED


def _has_ended(run: Run) -> bool:
    return (read_json_if_whole(run.path / STATUS_FILE) or {}).get("state") in FINAL_STATES


def _refuse_several_processes(run: Run) -> None:
    if run.verb in SHARED_VERBS:
        return
    error = JobError(
        f"{run.verb} runs in one process, but {ranks.world_size()} were started",
        "Start it with `python -m lep_core execute RUN`, without torchrun",
    )
    RankErrors(run.path / "errors").write(ranks.failure_of(error))
    raise error


@contextmanager
def _signals_to(reporter: RunReporter | ShareReporter) -> Generator[None, None, None]:
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
