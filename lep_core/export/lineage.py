"""How a model came to be: the `report.json` beside it, and those of the models that its settings name.

Only files that are found count; nothing is guessed. Paths of this machine are shortened to names, so that a published card shows none.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPORT_FILE = "report.json"
STAGE_LIMIT = 8
PARENT_FIELDS = ("adapted", "model", "base", "tokenizer")
HUB_SNAPSHOT = re.compile(r"models--([^/\\]+?)--([^/\\]+)[/\\]snapshots")
# Settings that say where or how fast, not what.
INCIDENTAL = frozenset({"output", "overwrite", "checkpoints", "resume", "device", "threads", "keep_checkpoints", "text_field", "encoding"})


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One verb that contributed to the model."""

    verb: str
    settings: dict[str, Any]
    report: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Stages in the order in which they ran, the models that they began with, and measurements found beside the model."""

    stages: list[Stage] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)
    fertility: list[dict[str, Any]] = field(default_factory=list)


def read_lineage(model: Path) -> Lineage:
    """Follow report.json files from `model` back to the models that were not made here."""
    stages: list[Stage] = []
    sources: dict[str, str] = {}
    waiting, seen = [model], set()
    while waiting and len(stages) < STAGE_LIMIT:
        folder = waiting.pop(0)
        record = read_record(folder / REPORT_FILE)
        if record is None or folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        config = record["config"]
        stages.append(Stage(verb=str(record.get("verb", "")), settings=_public(config), report=record["report"]))
        for name in ("base", "instruct"):
            if isinstance(config.get(name), str) and not (Path(config[name]) / REPORT_FILE).is_file():
                sources.setdefault(name, public_name(config[name]))
        waiting += [Path(config[name]) for name in PARENT_FIELDS if isinstance(config.get(name), str)]
    stages.reverse()
    found = {name: read_record(model.parent / name / REPORT_FILE) for name in ("evaluation", "fertility")}
    whole = read_record(model.parent / REPORT_FILE)
    results = _rows(found["evaluation"], "results") or _rows(whole, "results")
    fertility = _rows(found["fertility"], "tokenizers") or _rows(whole, "fertility")
    return Lineage(stages=stages, sources=sources, results=results, fertility=fertility)


def read_record(path: Path) -> dict[str, Any] | None:
    """A report file with config and report, or None when there is none or it is something else."""
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    sound = isinstance(record, dict) and isinstance(record.get("config"), dict) and isinstance(record.get("report"), dict)
    return record if sound else None


def public_name(source: str) -> str:
    """A model's hub id or the last part of its path."""
    if match := HUB_SNAPSHOT.search(source):
        return f"{match[1]}/{match[2]}"
    return Path(source).name if Path(source).is_absolute() or Path(source).exists() else source


def _public(config: dict[str, Any]) -> dict[str, Any]:
    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(item) for item in value]
        return public_name(value) if isinstance(value, str) and ("/" in value or "\\" in value) else value

    return {key: short(value) for key, value in config.items() if key not in INCIDENTAL and value is not None and value != []}


def _rows(record: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    rows = (record or {}).get("report", {}).get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
