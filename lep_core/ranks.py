"""The processes that share one piece of work, as torchrun numbers them: who am I, did another one fail, is torchrun still there.

torchrun starts the same command several times and tells each process its rank in the environment. Only rank 0 writes results; every
rank writes its own error, so that the run can name the process that failed and not the broken connection that the others saw.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lep_core.errors import ConfigError, JobError, LepError
from lep_core.files import read_json, write_json

# A folder for the errors of the processes and the request to stop, given by whoever started them.
FOLDER_VARIABLE = "LEP_RANKS_FOLDER"
STOP_FILE = "stop"
POLL_SECONDS = 0.25
# A process that hears of another one's end by itself gets this long to say so; then its thread ends it.
GRACE_SECONDS = 5.0


class PeerLost(JobError):
    """Another process of the same work has ended; `failure` is what it wrote, None when it ended without a word."""

    def __init__(self, message: str, hint: str, failure: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, hint)
        self.failure = failure


def is_rank() -> bool:
    """True in a process that torchrun started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def rank() -> int:
    """Number of this process, from 0; 0 when there is only one."""
    return int(os.environ["RANK"]) if is_rank() else 0


def world_size() -> int:
    """How many processes share the work."""
    return int(os.environ["WORLD_SIZE"]) if is_rank() else 1


def check_world_size(processes: int) -> None:
    """Raise `ConfigError` when another number of processes runs than the work was meant for."""
    if processes != world_size():
        raise ConfigError(
            "processes",
            f"the training is meant for {processes} processes, and {world_size()} {'was' if world_size() == 1 else 'were'} started",
            f"Give --processes {world_size()}, or start {processes} with torchrun (--nproc_per_node times --nnodes)",
        )


class RankErrors:
    """`rank-N.json` in one folder: each process writes its own and reads those of the others."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def from_environment(cls) -> RankErrors | None:
        """Those in the folder that the starter of the processes named."""
        folder = os.environ.get(FOLDER_VARIABLE)
        return cls(Path(folder)) if folder else None

    def write(self, failure: Mapping[str, Any]) -> None:
        """Leave the error of this process."""
        write_json(self.folder / f"rank-{rank()}.json", failure)

    def first(self, *, others_only: bool = False) -> dict[str, Any] | None:
        """The error that was written first; None when all is well."""
        found = []
        for path in self.folder.glob("rank-*.json"):
            if others_only and path.name == f"rank-{rank()}.json":
                continue
            # A file that vanished or a damaged one says nothing.
            with suppress(OSError, ValueError):
                found.append((path.stat().st_mtime_ns, path.name, read_json(path)))
        values = [value for _, _, value in sorted(found, key=lambda item: item[:2]) if isinstance(value, dict)]
        return values[0] if values else None


@contextmanager
def watched(
    *,
    errors: RankErrors | None,
    gone: Callable[[], str | None],
    on_loss: Callable[[PeerLost], None],
    on_stop: Callable[[], None] | None = None,
) -> Generator[None, None, None]:
    """End this process when it cannot go on while the block runs: torchrun is gone, or another process failed and this one waits for it.

    Waiting for another process happens inside native code that no exception interrupts, therefore a thread looks after it.

    Args:
        gone: says which process ended without a word, or None.
        on_loss: keeps the reason; the process ends right after it.
        on_stop: called when the starter of the processes asks to stop.
    """
    done = threading.Event()
    starter = os.getppid()

    def look() -> None:
        seen_at: float | None = None
        while not done.wait(POLL_SECONDS):
            if os.getppid() != starter:
                os._exit(1)
            if on_stop is not None and errors is not None and (errors.folder / STOP_FILE).exists():
                on_stop()
            loss = peer_loss(errors, gone)
            if loss is None:
                continue
            seen_at = seen_at or time.monotonic()
            if time.monotonic() - seen_at > GRACE_SECONDS:
                try:
                    on_loss(loss)
                finally:
                    os._exit(1)

    thread = threading.Thread(target=look, name="watch-ranks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def peer_loss(errors: RankErrors | None, gone: Callable[[], str | None]) -> PeerLost | None:
    """Why another process ended, if one did: its own words first."""
    failure = errors.first(others_only=True) if errors is not None else None
    if failure is not None:
        return PeerLost(str(failure.get("message")), str(failure.get("hint")), failure)
    who = gone()
    if who is None:
        return None
    return PeerLost(
        f"{who} ended without saying why: most likely the machine ran out of memory",
        "Close other programs or choose a smaller micro batch or block size, then start or resume the run",
    )


def failure_of(error: LepError) -> dict[str, Any]:
    """A mendable error as the JSON that other processes read."""
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "field": error.field if isinstance(error, ConfigError) else None,
        "traceback": None,
    }
