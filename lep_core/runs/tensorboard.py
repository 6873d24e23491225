"""The metrics of runs as TensorBoard event files: `lep tensorboard RUN... --output DIR`, then `tensorboard --logdir DIR`.

A mirror of `metrics.jsonl`, made by a process of its own: the training imports and waits for nothing, a run made yesterday or on another
machine can be looked at, and what goes wrong here goes wrong here only. Everything stays in local files. Needs the package tensorboard
(`pip install "lep-studio[tensorboard]"`), which is imported when this is used and not before.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from lep_core.errors import InputError
from lep_core.files import translated_errors
from lep_core.runs.run import Run

# Not measurements, but where on the axes they lie.
AXES = ("step", "seconds")
MARK = ".lep-run"
SWEEP = "sweep-learning-rate"


class Mirror:
    """Event files below `output`: a folder a run, `PROJECT/RUN`. Each `update` adds what is new; the first replaces what was there.

    Raises:
        InputError: the package tensorboard is not installed, or a folder holds something else than an earlier mirror.
    """

    def __init__(self, output: Path) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise InputError(
                f"the package {error.name} is not installed", 'Install it with: pip install "lep-studio[tensorboard]"'
            ) from error
        # Their classes are made when they are loaded: type checkers see none.
        events, summaries = cast(Any, event_pb2), cast(Any, summary_pb2)
        self._event, self._summary, self._writer = events.Event, summaries.Summary, EventFileWriter
        self.output = output
        self._writers: dict[Run, Any] = {}
        self._seen: dict[Run, int] = {}

    @property
    def folders(self) -> list[Path]:
        """The folders of the runs that have metrics."""
        return [self.folder(run) for run in self._writers]

    def folder(self, run: Run) -> Path:
        """Where the event files of a run lie."""
        return self.output / run.path.parent.parent.name / run.id

    def update(self, runs: Iterable[Run]) -> int:
        """Write what these runs have measured since the last update; returns how many values were written."""
        written = 0
        for run in runs:
            records = run.metrics()
            fresh = [value for record in records[self._seen.get(run, 0) :] for value in _values(run, record)]
            self._seen[run] = len(records)
            if fresh:
                writer = self._writers.get(run) or self._begin(run)
                for wall_time, step, name, value in fresh:
                    summary = self._summary(value=[self._summary.Value(tag=name, simple_value=value)])
                    writer.add_event(self._event(wall_time=wall_time, step=step, summary=summary))
                writer.flush()
                written += len(fresh)
        return written

    def close(self) -> None:
        """Close all event files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _begin(self, run: Run) -> Any:
        folder = self.folder(run)
        with translated_errors(folder):
            if folder.exists():
                if not (folder / MARK).is_file():
                    raise InputError(f"{folder} was not made by this command", "Choose another --output")
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            (folder / MARK).touch()
        self._writers[run] = self._writer(str(folder))
        return self._writers[run]


def _values(run: Run, record: Mapping[str, Any]) -> Iterator[tuple[float, int, str, float]]:
    """Time, step, name and value of each number in a record; records without a step are no curve."""
    step = record.get("step")
    if not isinstance(step, int):
        return
    prefix = f"{record['learning_rate']:g}/" if run.verb == SWEEP and record.get("learning_rate") else ""
    for name, value in record.items():
        if name not in AXES and isinstance(value, (int, float)) and not isinstance(value, bool):
            yield run.created + float(record.get("seconds") or 0.0), step, prefix + name, float(value)
