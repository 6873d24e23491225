"""Which process is meant, and is it alive: a process id alone does not say, because ids are used again.

A process is named by host, id and start. On Linux the start is the boot id with the clock ticks since boot, which no change
of the wall clock touches; elsewhere it is the start time in whole seconds.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEARTBEAT_SECONDS = 2.0
SILENT_AFTER_SECONDS = 60.0


def this_process() -> dict[str, Any]:
    """Host, id and start of the calling process, as they are kept in files."""
    return describe(os.getpid())


def describe(pid: int) -> dict[str, Any]:
    """Host, id and start of a process on this machine; the start is None when it is gone already."""
    return {"pid": pid, "process_start": process_start(pid), "host": socket.gethostname()}


def process_start(pid: int) -> str | None:
    """A text that no other process with the same id has; None when there is no such process or it has ended."""
    if sys.platform == "linux":
        return _linux_start(pid)
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"epoch:{process.create_time():.0f}"
    except psutil.Error:
        return None


def is_alive(record: Mapping[str, Any] | None, *, now: float | None = None) -> bool:
    """Whether the process of a `launch.json` or `status.json` is alive.

    A process on another machine cannot be asked; it counts as alive while its heartbeat is younger than a minute.
    """
    if not record or not isinstance(record.get("pid"), int):
        return False
    if record.get("host") != socket.gethostname():
        heartbeat = record.get("heartbeat")
        return isinstance(heartbeat, (int, float)) and (time.time() if now is None else now) - heartbeat < SILENT_AFTER_SECONDS
    start = process_start(record["pid"])
    return start is not None and start == record.get("process_start")


def _linux_start(pid: int) -> str | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold blanks and brackets itself.
    fields = text.rpartition(")")[2].split()
    state, ticks = fields[0], fields[19]
    return None if state in ("Z", "X") else f"{boot}:{ticks}"
