"""The metrics log of a run: one JSON object per line, appended and flushed, readable while it is written.

A killed writer may leave half a line. Readers skip it, and the next writer begins on a line of its own. A resumed run repeats
the steps since its checkpoint; readers keep the newer record of a step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from lep_core.files import translated_errors


def json_safe(value: Any) -> Any:
    """The value with NaN and infinity as null, tuples as lists and paths as texts: what strict JSON can hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


class MetricsWriter:
    """Appends records to `path`; the file is made with the first record."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._stream: TextIO | None = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record and flush it, so that other processes see it at once."""
        line = json.dumps(json_safe(record), ensure_ascii=False, allow_nan=False)
        with translated_errors(self.path):
            if self._stream is None:
                torn = _ends_torn(self.path)
                self._stream = open(self.path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by `close`
                if torn:
                    self._stream.write("\n")
            self._stream.write(line + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Close the file; a later `append` opens it again."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole records in order; empty when there is no file yet.

    Of two records with the same fields and the same `step` (of the same learning rate: a sweep tries several) the later one counts, in
    the place of the earlier one.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    records: dict[Any, dict[str, Any]] = {}
    for number, line in enumerate(text.split("\n")):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            key = (record["step"], record.get("learning_rate"), tuple(sorted(record))) if "step" in record else ("line", number)
            records[key] = record
    return list(records.values())


def _ends_torn(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            if stream.seek(0, 2) == 0:
                return False
            stream.seek(-1, 2)
            return stream.read(1) != b"\n"
    except FileNotFoundError:
        return False
