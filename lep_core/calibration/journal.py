"""Results that cost time, kept one by one: a JSONL file that is appended to and survives a kill.

Each line holds a key and what was computed for it. A killed writer may leave half a line: readers pass it over, and the next writer
cuts it off. A batch of records is written at once and flushed to the disk, so that a kill loses at most the batch being computed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lep_core.files import make_folder, translated_errors


class Journal:
    """Records by their `key`; the later one of two with the same key counts."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.damaged_lines = 0
        self._records: dict[str, dict[str, Any]] = {}
        with translated_errors(self.path):
            make_folder(self.path.parent)
            self._read()

    def __contains__(self, key: object) -> bool:
        return key in self._records

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._records[key]

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records, each with a `key`, and flush them to the disk.

        Raises:
            ResourceError: the disk is full; what was written before stays.
        """
        whole = [dict(record) for record in records]
        data = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in whole).encode("utf-8")
        with translated_errors(self.path), open(self.path, "ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        self._records |= {record["key"]: record for record in whole}

    def _read(self) -> None:
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        for line in data[:whole].splitlines():
            try:
                record = json.loads(line)
                self._records[record["key"]] = record
            except (ValueError, KeyError, TypeError, RecursionError):
                self.damaged_lines += 1
        if whole < len(data):
            os.truncate(self.path, whole)
