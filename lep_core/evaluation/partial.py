"""What an evaluation has finished, kept while it runs, so that nothing that was computed is lost when it is stopped or killed.

    RESULT.partial/
      results.jsonl    rows of finished tasks, as in the report: for people who look while it runs or after it was killed
      finished.jsonl   one line a finished task of a model: its measurements and answers
      batches.jsonl    one line a finished batch: the model's bare log-likelihoods or answers

A resumed evaluation does the same work again and takes from here what is there. Every line has a key: the hash of everything that it
depends on (model fingerprint, settings, tokens of the batch or items of the task). A changed model, item or setting has another key, so
nothing is ever mixed. Batches are put together before any of them is looked up, hence what a resumed evaluation still computes is what
the undisturbed one would have computed, to the last bit. A torn last line is skipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TextIO

from lep_core.errors import OutputError
from lep_core.evaluation.measurement import Measurement
from lep_core.files import make_folder, translated_errors

SUFFIX = ".partial"
RESULTS_FILE = "results.jsonl"
FINISHED_FILE = "finished.jsonl"
BATCHES_FILE = "batches.jsonl"


def partial_folder(output: str | Path) -> Path:
    """Where an evaluation keeps what it has finished, beside its result.

    Raises:
        OutputError: nothing lies beside the root of the file system.
    """
    output = Path(os.path.abspath(output))
    if not output.name:
        raise OutputError(f"{output} is no possible folder for a result", "Choose another --output")
    return output.with_name(output.name + SUFFIX)


def drop_partial(folder: Path) -> None:
    """Delete what an evaluation has kept, and the folder unless other files lie there."""
    for name in (RESULTS_FILE, FINISHED_FILE, BATCHES_FILE):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


class Batches:
    """Finished batches of one model under one set of settings; without a file nothing is kept."""

    def __init__(self, scope: str = "", lines: _Lines | None = None) -> None:
        self._scope, self._lines = scope, lines

    def of(self, batch: Any, compute: Callable[[], Any]) -> Any:
        """The JSON value of a batch, computed unless it is kept; None (a stop) is not kept.

        Args:
            batch: what the value depends on besides model and settings; must have a JSON form.
        """
        if self._lines is None:
            return compute()
        key = digest(self._scope, batch)
        if key not in self._lines:
            value = compute()
            if value is None:
                return None
            self._lines.add(key, value)
        return self._lines[key]


class Partial:
    """The folder of one evaluation, held by its process; a context manager. Without a folder it keeps nothing."""

    def __init__(self, folder: Path | None, *, resume: bool = False, overwrite: bool = False) -> None:
        """Open the folder.

        Raises:
            OutputError: it holds what an earlier evaluation had finished and neither `resume` nor `overwrite` is set; or another
                process is at work there.
        """
        self.folder = folder
        self._handle: int | None = None
        if folder is None:
            return
        with translated_errors(folder):
            make_folder(folder)
            self._handle = _locked(folder)
            files = [folder / name for name in (RESULTS_FILE, FINISHED_FILE, BATCHES_FILE)]
            if any(file.exists() for file in files) and not resume:
                if not overwrite:
                    os.close(self._handle)
                    raise OutputError(
                        f"{folder} holds results of an earlier evaluation that did not come to its end",
                        "Add --resume to go on from there, --overwrite to drop them, or choose another --output",
                    )
                for file in files:
                    file.unlink(missing_ok=True)
            self._results, self._finished, self._batches = map(_Lines, files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            for lines in (self._results, self._finished, self._batches):
                lines.close()
            os.close(self._handle)
        if self.folder is not None:
            # An evaluation that failed before it had anything to keep leaves nothing behind.
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def batches(self, scope: str) -> Batches:
        """The batches of a model and its settings (`scope`, see `digest`)."""
        return Batches() if self.folder is None else Batches(scope, self._batches)

    def finished(self, key: str) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
        """Measurements and answers of a finished task."""
        if self.folder is None or key not in self._finished:
            return None
        value = self._finished[key]
        return [Measurement(**one) for one in value["measurements"]], value["records"]

    def finish(self, key: str, measurements: Sequence[Measurement], records: Sequence[Mapping[str, Any]]) -> None:
        """Keep a finished task."""
        if self.folder is not None and key not in self._finished:
            self._finished.add(key, {"measurements": [one.to_json() for one in measurements], "records": list(records)}, durable=True)

    def show(self, row: Mapping[str, Any]) -> None:
        """Put a row of the results where people can see it, once."""
        if self.folder is not None and (key := digest(row)) not in self._results:
            self._results.add(key, dict(row), durable=True)


class _Lines:
    """A file of JSON lines `{"key": ..., "value": ...}` (results: the bare row) with its content in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values: dict[str, Any] = {}
        self._bare = path.name == RESULTS_FILE
        self._stream: TextIO | None = None
        for line in _whole_lines(path):
            if self._bare:
                self._values[digest(line)] = line
            elif isinstance(line.get("key"), str) and "value" in line:
                self._values[line["key"]] = line["value"]

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def add(self, key: str, value: Any, *, durable: bool = False) -> None:
        """Append a value; `durable` ones survive a power cut, others the end of the process."""
        line = json.dumps(value if self._bare else {"key": key, "value": value}, ensure_ascii=False)
        with translated_errors(self.path):
            if self._stream is None:
                self._stream = open(self.path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by `close`
                # What a killed writer left of a line must not swallow this one.
                self._stream.write("\n" if self._stream.tell() else "")
            self._stream.write(line + "\n")
            self._stream.flush()
            if durable:
                os.fsync(self._stream.fileno())
        # As a reader of the file would see it: lists for tuples.
        self._values[key] = json.loads(line) if self._bare else json.loads(line)["value"]

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def digest(*values: Any) -> str:
    """A hash of values that have a JSON form; dataclasses count with their text."""
    return hashlib.sha256(json.dumps(values, ensure_ascii=False, default=repr).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found = []
    for line in text.split("\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _locked(folder: Path) -> int:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise OutputError(f"another evaluation is writing to {folder}", "Wait for it, or choose another --output") from error
    except OSError:
        # Some network file systems lock no folders.
        return handle
    return handle
