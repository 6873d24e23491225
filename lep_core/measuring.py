"""Time and memory of a piece of work, for reports."""

from __future__ import annotations

import resource
import sys
import time


class Stopwatch:
    """Seconds since it was made, on a clock that never jumps."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin


def peak_memory_gib() -> float:
    """Largest resident memory of this process so far, in GiB; mapped weight files count while they are in memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20
