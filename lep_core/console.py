"""What the command line shows: progress on stderr, and a report as text for people.

On a terminal the progress is one line that is drawn again; elsewhere it is a plain line every five seconds at most.
"""

from __future__ import annotations

import re
import shutil
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

TERMINAL_SECONDS = 0.1
PLAIN_SECONDS = 5.0
BAR_WIDTH = 16
LONGEST_CELL = 60
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
METRICS_SHOWN = ("step", "loss", "bits_per_byte", "heldout_bits_per_byte", "tokens_per_second")


class ConsoleReporter:
    """A `Reporter` that writes to a text stream, stderr by default."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.stop_asked = False
        self.polled = False
        self.stop_heard = False
        self._stage = ""
        self._stage_began = time.monotonic()
        self._shown_at = 0.0
        self._drawn = False
        self._metric: Mapping[str, Any] = {}

    def stage(self, name: str) -> None:
        self._stage, self._stage_began, self._shown_at = name, time.monotonic(), time.monotonic()
        self._metric = {}
        if self.terminal:
            self._draw(name)
        else:
            self._line(name)

    def progress(self, done: float, total: float | None = None, unit: str = "") -> None:
        now = time.monotonic()
        if now - self._shown_at < (TERMINAL_SECONDS if self.terminal else PLAIN_SECONDS):
            return
        self._shown_at = now
        text = self._described(done, total, unit, now)
        if self.terminal:
            self._draw(text)
        else:
            self._line(text)

    def metric(self, record: Mapping[str, Any]) -> None:
        # Records come with some of the values only: the others stay as they were last.
        self._metric = {**self._metric, **record}

    def message(self, text: str) -> None:
        self._line(text)

    def should_stop(self) -> bool:
        self.polled = True
        self.stop_heard = self.stop_heard or self.stop_asked
        return self.stop_heard

    def close(self) -> None:
        """Take the progress line off the screen."""
        if self._drawn:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._drawn = False

    def _described(self, done: float, total: float | None, unit: str, now: float) -> str:
        count = f"{_number(done)}/{_number(total)}" if total else _number(done)
        parts = [self._stage, f"{count} {unit}".strip()]
        if total and done > 0:
            share = min(1.0, done / total)
            filled = round(share * BAR_WIDTH)
            parts.insert(1, f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {share:4.0%}")
            parts.append(f"{_duration((now - self._stage_began) * (1 - share) / share)} left")
        parts += [
            f"{name} {_number(self._metric[name])}"
            for name in METRICS_SHOWN
            if isinstance(self._metric.get(name), (int, float)) and name != "step"
        ]
        return "  ".join(part for part in parts if part)

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self.stream.write("\r" + _fitted(text, width) + "\x1b[K")
        self.stream.flush()
        self._drawn = True

    def _line(self, text: str) -> None:
        self.close()
        self.stream.write(text + "\n")
        self.stream.flush()


def summary(report: Mapping[str, Any]) -> str:
    """A report as text: `name: value` lines, and a table for each list of records."""
    lines: list[str] = []
    for name, value in report.items():
        if _is_table(value):
            lines += [f"{name}:", *("  " + line for line in table(value))]
            lines += _inner_tables(value)
        elif isinstance(value, Mapping):
            inner = summary(value).splitlines()
            lines += [f"{name}:", *("  " + line for line in inner)] if inner else [f"{name}: -"]
        elif isinstance(value, (list, tuple)):
            lines.append(f"{name}: {_listed(value)}")
        else:
            lines.append(f"{name}: {_value(value)}")
    return "\n".join(lines)


def _inner_tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tables of several rows inside a table's records, each under the name of its record."""
    lines: list[str] = []
    for row in rows:
        for name, value in row.items():
            if _is_table(value) and len(value) > 1:
                lines += [f"  {_value(next(iter(row.values())))}, {name}:", *("    " + line for line in table(value))]
    return lines


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Aligned columns, numbers to the right; columns that hold lists or records are left out."""
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, (list, tuple, Mapping))))
    cells = [[_fitted(" ".join(_value(row.get(name)).split()), LONGEST_CELL) for name in names] for row in rows]
    numeric = [all(isinstance(row.get(name), (int, float, type(None))) for row in rows) for name in names]
    # Wide tables are turned on their side, one column a record, so that they fit on a screen.
    if len(names) > 8:
        head, *turned = [list(column) for column in zip(names, *cells, strict=True)]
        return _aligned(head, turned, [False, *[True] * len(rows)])
    return _aligned(names, cells, numeric)


def _aligned(head: list[str], rows: list[list[str]], right: list[bool]) -> list[str]:
    widths = [max(_width(line[index]) for line in (head, *rows)) for index in range(len(head))]

    def line(cells: list[str]) -> str:
        padded = [
            (" " * (width - _width(cell)) + cell) if to_right else (cell + " " * (width - _width(cell)))
            for cell, width, to_right in zip(cells, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return [line(head), *map(line, rows)]


def _is_table(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(_value(item) if not isinstance(item, (list, tuple, Mapping)) else "..." for item in values[:8])
    return (shown or "-") + (f", ... ({len(values)} in all)" if len(values) > 8 else "")


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Texts of a model or a data set must not steer the terminal.
    return _number(value) if isinstance(value, (int, float)) else _CONTROLS.sub("\ufffd", str(value))


def _number(value: float | int) -> str:
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _fitted(text: str, width: int) -> str:
    return text if _width(text) <= width else text[: max(1, width - 1)] + "…"


@contextmanager
def interruptible(reporter: ConsoleReporter) -> Generator[None, None, None]:
    """Ctrl-C (and SIGTERM) first asks a stage that listens to stop after its step; the next one interrupts it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if reporter.stop_asked or not reporter.polled:
            raise KeyboardInterrupt
        reporter.stop_asked = True
        reporter.message("stopping after this step; press Ctrl-C again to interrupt")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
