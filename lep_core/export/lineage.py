"""How a model came to be: the `report.json` beside it, and those of the models, tokenizers and corpora that its settings name.

Only files that are found count; nothing is guessed. Paths of this machine are shortened to names, so that a published card shows none.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPORT_FILE = "report.json"
CORPUS_FILE = "corpus.json"
STAGE_LIMIT = 16
# Settings that name what a model was made of, the line that is followed first in front.
PARENT_FIELDS = ("adapted", "model", "base", "initial", "tokenizer")
# Settings that name models from elsewhere, and what these are called then.
SOURCE_FIELDS = {"base": "base", "instruct": "instruct", "model": "source", "teacher": "teacher", "donor": "donor"}
TEXT_FIELDS = ("input", "replay", "heldout", "data")
HUB_SNAPSHOT = re.compile(r"models--([^/\\]+?)--([^/\\]+)[/\\]snapshots")
# Settings that say where the result goes and whether it may, not what it is.
INCIDENTAL = frozenset({"output", "overwrite", "checkpoints", "resume", "keep_checkpoints"})


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One verb that contributed to the model."""

    verb: str
    settings: dict[str, Any]
    report: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CorpusFact:
    """A corpus that a stage read: its hash and size, as `corpus.json` states them."""

    name: str
    sha256: str
    documents: int
    characters: int


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Stages in the order in which they ran, the models that they began with, the corpora, and every folder on the way."""

    stages: list[Stage] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    corpora: list[CorpusFact] = field(default_factory=list)
    folders: frozenset[Path] = frozenset()

    @property
    def checkpoint(self) -> str | None:
        """Which state of the last training the weights are."""
        for stage in reversed(self.stages):
            steps, planned = stage.report.get("steps"), stage.settings.get("steps")
            if isinstance(steps, int):
                of = f" of {planned:,}" if isinstance(planned, int) and planned != steps else ""
                stopped = ", stopped there" if stage.report.get("stopped") else ""
                return f"{stage.verb}: the weights after step {steps:,}{of}{stopped}"
        return None


def read_lineage(model: Path) -> Lineage:
    """Follow report.json files from `model` back to the models that were not made here."""
    stages: list[Stage] = []
    sources: dict[str, str] = {}
    corpora: dict[Path, CorpusFact] = {}
    waiting, seen = [model], {model.resolve()}
    visited: set[Path] = set()
    while waiting and len(stages) < STAGE_LIMIT:
        folder = waiting.pop(0)
        record = read_record(folder / REPORT_FILE)
        if record is None or folder.resolve() in visited:
            continue
        visited.add(folder.resolve())
        config = record["config"]
        stages.append(Stage(verb=str(record.get("verb", "")), settings=public_settings(config), report=record["report"]))
        parents = {name: Path(config[name]) for name in PARENT_FIELDS if isinstance(config.get(name), str)}
        waiting += parents.values()
        seen |= {path.resolve() for path in parents.values()}
        for name, role in SOURCE_FIELDS.items():
            if isinstance(config.get(name), str) and not (Path(config[name]) / REPORT_FILE).is_file():
                sources.setdefault(role, public_name(config[name]))
        for path in (Path(text) for name in TEXT_FIELDS for text in _listed(config.get(name))):
            if path not in corpora and (fact := _corpus(path)) is not None:
                corpora[path] = fact
    stages.reverse()
    if sources.get("source") in {name for role, name in sources.items() if role != "source"}:
        del sources["source"]
    return Lineage(stages=stages, sources=sources, corpora=list(corpora.values()), folders=frozenset(seen))


def read_record(path: Path) -> dict[str, Any] | None:
    """A report file with config and report, or None when there is none or it is something else."""
    record = read_object(path)
    sound = record is not None and isinstance(record.get("config"), dict) and isinstance(record.get("report"), dict)
    return record if sound else None


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file, or None."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def public_name(source: str) -> str:
    """A model's hub id or the last part of its path."""
    if match := HUB_SNAPSHOT.search(source):
        return f"{match[1]}/{match[2]}"
    path = Path(source)
    if not (path.is_absolute() or path.exists()):
        return source
    # The result of a run is always called "output": the run's own name says more.
    return path.parent.name if path.name == "output" and path.parent.name else path.name


def public_settings(config: dict[str, Any]) -> dict[str, Any]:
    """All settings that say what was done, without paths of this machine."""

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(item) for item in value]
        return public_name(value) if isinstance(value, str) and ("/" in value or "\\" in value) else value

    return {key: short(value) for key, value in config.items() if key not in INCIDENTAL and value is not None and value != []}


def _corpus(path: Path) -> CorpusFact | None:
    """What a corpus folder says of itself; files that are no corpus have no hash."""
    summary = read_object(path / CORPUS_FILE)
    if summary is None or not isinstance(summary.get("sha256"), str):
        return None
    whole = {name: int(summary.get(name) or 0) for name in ("documents", "characters")}
    return CorpusFact(name=public_name(str(path)), sha256=summary["sha256"], **whole)


def _listed(value: Any) -> list[str]:
    return [item for item in ([value] if isinstance(value, str) else value or []) if isinstance(item, str)]
