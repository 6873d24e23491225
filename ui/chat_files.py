"""What is counted from the chats of a project, and the files that a page offers for download."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from lep_core.files import write_text
from lep_core.runs.chat_exports import PairResult, chat_json, chat_markdown, conversations, vote_records, vote_summary
from lep_core.runs.chats import Chat, ChatStore
from lep_core.runs.workspace import Project

DOWNLOADS = ("md", "json", "jsonl")
VOTE_DOWNLOADS = ("csv", "json", "jsonl")


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """A pair of models in the summary of votes: names, counts, and the first one's share of decided votes with its 95 % interval."""

    first: str
    second: str
    result: PairResult
    share: float | None
    low: float
    high: float


def pair_rows(store: ChatStore) -> list[PairRow]:
    """The summary of all votes of a project, the most often compared pair first."""
    from lep_core.evaluation.intervals import wilson

    results = vote_summary(store.listing()[0])
    named: dict[str, set[str]] = {}
    for row in results:
        for one in (row.first, row.second):
            named.setdefault(one["name"], set()).add(f"{one['model']} {one['fingerprint']}")

    def label(one: Mapping[str, str]) -> str:
        # Two models of one name (trained further, or folders of the same name) are told apart by their fingerprints.
        return one["name"] if len(named[one["name"]]) == 1 else f"{one['name']} ({one['fingerprint'][:6]})"

    rows = []
    for row in results:
        decided = row.first_wins + row.second_wins
        value, low, high = wilson(row.first_wins, decided)
        share = value if decided else None
        rows.append(PairRow(first=label(row.first), second=label(row.second), result=row, share=share, low=low or 0.0, high=high or 1.0))
    return rows


def write_chat_downloads(chat: Chat) -> list[Path]:
    """Markdown, JSON and conversations of a chat in the folder that Gradio may serve from (never the workspace itself)."""
    folder = _download_folder(chat.id)
    texts = (
        chat_markdown(chat),
        json.dumps(chat_json(chat), ensure_ascii=False, indent=2) + "\n",
        _lines(conversations([chat])),
    )
    return _write(folder, "chat", DOWNLOADS, texts)


def write_vote_downloads(project: Project) -> list[Path]:
    """The summary of the votes as CSV, every vote as JSON, and the preferred answers as conversations."""
    store = ChatStore(project.path)
    voted = [store.read(item.id) for item in store.listing()[0] if item.votes]
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["first", "second", "first_wins", "second_wins", "ties", "both_bad", "n", "first_share", "low", "high"])
    for row in pair_rows(store):
        counts = [row.result.first_wins, row.result.second_wins, row.result.ties, row.result.both_bad, row.result.n]
        writer.writerow([_cell(row.first), _cell(row.second), *counts, "" if row.share is None else row.share, row.low, row.high])
    records = [record for chat in voted for record in vote_records(chat)]
    texts = (stream.getvalue(), json.dumps(records, ensure_ascii=False, indent=2) + "\n", _lines(conversations(voted, preferred=True)))
    return _write(_download_folder(f"votes-{project.id}"), "votes", VOTE_DOWNLOADS, texts)


def remove_downloads(chat_id: str) -> None:
    """Delete the copies that were made for downloading a chat."""
    for kind in DOWNLOADS:
        (_download_folder(chat_id) / f"chat.{kind}").unlink(missing_ok=True)


def _download_folder(name: str) -> Path:
    return Path(os.environ["GRADIO_TEMP_DIR"]) / name


def _write(folder: Path, name: str, kinds: Sequence[str], texts: Sequence[str]) -> list[Path]:
    files = [folder / f"{name}.{kind}" for kind in kinds]
    for path, text in zip(files, texts, strict=True):
        write_text(path, text.encode("utf-8", errors="replace").decode())
    return files


def _lines(records: Iterator[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _cell(text: str) -> str:
    """A text that spreadsheets do not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
