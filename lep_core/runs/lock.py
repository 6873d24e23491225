"""Locks that the operating system releases when their holder dies, and that name their holder.

The lock file stays where it is after use: deleting it would let two processes lock two files of one name.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lep_core.files import translated_errors
from lep_core.runs.process import this_process


class LockHeld(Exception):
    """Somebody else holds the lock; `holder` says who (empty when that is not known)."""

    def __init__(self, path: Path, holder: dict[str, Any]) -> None:
        self.path = path
        self.holder = holder
        super().__init__(f"{path} is locked by {holder}")

    def who(self) -> str:
        """The holder in words."""
        if "pid" not in self.holder:
            return "another process"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.holder.get("since", 0)))
        return f"process {self.holder['pid']} on {self.holder.get('host', 'an unknown host')} since {since}"


class FileLock:
    """An exclusive lock on the file `path`, held from construction until `release` or the end of the process.

    Raises:
        LockHeld: another process (or another `FileLock` in this one) has it.
        OutputError: the file cannot be made.
    """

    def __init__(self, path: Path, *, wait_seconds: float = 0.0) -> None:
        self.path = Path(path)
        with translated_errors(self.path):
            # Not inheritable: a child started by the holder must not keep the lock alive.
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        give_up = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    holder = self._read_holder()
                    os.close(self._handle)
                    raise LockHeld(self.path, holder) from None
                time.sleep(0.01)
        with translated_errors(self.path):
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps({**this_process(), "since": time.time()}).encode(), 0)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def _read_holder(self) -> dict[str, Any]:
        try:
            holder = json.loads(os.pread(self._handle, 4096, 0))
        except ValueError:
            return {}
        return holder if isinstance(holder, dict) else {}
