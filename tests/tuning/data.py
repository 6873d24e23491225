"""Conversations for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lep_core.tuning.conversations import Conversation
from tests.factories import SENTENCES


def conversation(*contents: str, system: str | None = None, source: str = "test:1") -> Conversation:
    """Turns of user and assistant one after the other, behind a system prompt if there is one."""
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": text} for number, text in enumerate(contents)]
    return Conversation(tuple([{"role": "system", "content": system}] if system else []) + tuple(messages), source)


def conversations(count: int = 24) -> list[Conversation]:
    """Questions and answers of different lengths; every fourth has two turns."""
    result = []
    for number in range(count):
        texts = [SENTENCES[(number + step) % 12] for step in range(4)]
        turns = texts if number % 4 == 0 else [f"{texts[0]} {number}", " ".join(texts[1 : 2 + number % 3])]
        result.append(conversation(*turns, source=f"test:{number + 1}"))
    return result


def write_jsonl(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def as_records(given: Sequence[Conversation]) -> list[dict[str, Any]]:
    return [{"messages": list(one.messages)} for one in given]
