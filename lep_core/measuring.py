"""Time and memory of a piece of work, for reports; and who goes first when memory runs out."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Stopwatch:
    """Seconds since it was made, on a clock that never jumps."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin


def peak_memory_gib(device: torch.device | None = None) -> float:
    """Most memory of this process so far, in GiB: of a CUDA device when one is given, else resident memory (with mapped files in it)."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform.startswith("linux"):
        # A child's `ru_maxrss` begins at that of the process that started it; this counter begins at zero.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:", 1)[1].split(None, 1)[0]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def goes_first_when_memory_runs_out(pid: int) -> None:
    """Have Linux end this process, and what it starts, before the app that started it: a job can be resumed, the app is everybody's."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("500", encoding="ascii")
