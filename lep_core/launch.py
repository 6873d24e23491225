"""Several processes for one piece of work on this host: `torchrun` starts them, and what they leave behind becomes one outcome.

    lep train --processes 2 ...        python -m lep_core execute RUN        (a run whose setting `processes` is 2)

Both start `python -m torch.distributed.run --standalone --nproc_per_node=2 -m lep_core ...`, here in this very process, which therefore
hears the signals itself: SIGINT and SIGTERM ask the work to stop, and it may take its time to save. Over several hosts Slurm or people
start torchrun (docs/distributed.md); then nothing of this module runs.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lep_core.failures import BUG, BUG_HINT, INTERRUPTED, MENDABLE, SUCCEEDED
from lep_core.files import write_json
from lep_core.jobs.command import child_environment, torchrun_options
from lep_core.ranks import FOLDER_VARIABLE, STOP_FILE, RankErrors
from lep_core.runs.run import STATUS_FILE, Run, read_json_if_whole
from lep_core.runs.status import FINAL_STATES, RunError

# What torchrun may handle itself; the signals that ask to stop are heard here.
_TORCHRUN_SIGNALS = "SIGHUP,SIGQUIT"


def execute_in_processes(run: Run) -> int:
    """Execute a run in as many processes as its settings say, and return the exit code of `execute`."""
    codes = run_processes(["execute", str(run.path)], processes=run.config["processes"], ask_to_stop=run.request_stop)
    own = read_json_if_whole(run.path / STATUS_FILE) or {}
    if own.get("state") not in FINAL_STATES and codes.get(0) != MENDABLE:
        # The first process had no time for a last word; who starts it keeps it, under the run's lock as any writer.
        failure = RankErrors(run.path / "errors").first() or _silent_end(codes).to_json()
        with run.lock():
            own = {**own, "state": "failed", "error": failure}
            write_json(run.path / STATUS_FILE, own)
        print(f"error: {failure['message']}. {failure['hint']}", file=sys.stderr)
    if own.get("state") == "failed":
        error: Any = own.get("error")
        return _code_of(error or {})
    return {"succeeded": SUCCEEDED, "stopped": INTERRUPTED}.get(str(own.get("state")), MENDABLE)


def run_verb_in_processes(arguments: Sequence[str], *, processes: int) -> int:
    """Run a command line of a verb in several processes and return its exit code; the first process shows progress and the report."""
    with tempfile.TemporaryDirectory(prefix="lep-ranks-") as name:
        folder = Path(name)
        os.environ[FOLDER_VARIABLE] = name
        codes = run_processes(arguments, processes=processes, ask_to_stop=(folder / STOP_FILE).touch)
        failure = RankErrors(folder).first()
    if not codes:
        return SUCCEEDED
    if failure is None and INTERRUPTED in codes.values():
        return INTERRUPTED
    failure = failure or _silent_end(codes).to_json()
    if failure.get("traceback"):
        print(failure["traceback"], file=sys.stderr, end="")
    if failure.get("hint") != BUG_HINT:
        print(f"error: {failure['message']}. {failure['hint']}", file=sys.stderr)
    return _code_of(failure)


def run_processes(arguments: Sequence[str], *, processes: int, ask_to_stop: Callable[[], None]) -> dict[int, int]:
    """Start `python -m lep_core ARGUMENTS` in several processes and wait; the exit codes, by rank, of those that did not end with 0."""
    os.environ.update(child_environment())
    # One thread each until training sets their number; torchrun would do the same and warn.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Each process says itself what went wrong; torchrun's table of exit codes would only hide it.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    options = [*torchrun_options(processes), f"--signals-to-handle={_TORCHRUN_SIGNALS}", "-m", "lep_core", *arguments]
    with _heard_signals(ask_to_stop):
        try:
            torchrun.run(torchrun.parse_args(options))
        except ChildFailedError as error:
            return {number: failure.exitcode for number, failure in error.failures.items()}
        except SignalException as error:
            return {0: 128 + error.sigval}
    return {}


@contextmanager
def _heard_signals(ask_to_stop: Callable[[], None]) -> Generator[None, None, None]:
    """The first SIGINT or SIGTERM asks to stop, a second SIGINT interrupts: the processes end with this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        ask_to_stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _silent_end(codes: dict[int, int]) -> RunError:
    number, code = min(codes.items(), default=(0, BUG))
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    likely = ": most likely the machine ran out of memory" if code == -signal.SIGKILL else ""
    return RunError(
        kind="JobError",
        message=f"process {number} ended without saying why ({how}){likely}",
        hint="Read the end of the log, then start or resume the run",
    )


def _code_of(failure: dict[str, object]) -> int:
    return BUG if failure.get("hint") == BUG_HINT else MENDABLE
