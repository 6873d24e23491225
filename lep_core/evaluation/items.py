"""What the benchmark tasks are made of: one kind of item for each task. `reading.py` makes them of the user's files.

Every item may have a `language` and a `group`, which get rows of their own in the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One prompt with its accepted answers (task `instruct`)."""

    prompt: str
    answers: tuple[str, ...]
    language: str | None = None
    kind: str | None = None

    @property
    def group(self) -> None:
        """Questions are told apart by their language alone; `kind` is only kept in the answers."""
        return None


@dataclass(frozen=True, kw_only=True)
class MinimalPair:
    """Two sentences that differ in little, of which one is grammatical."""

    good: str
    bad: str
    language: str | None = None
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A question with options of which `answer` (an index) is right.

    `cloze`: the options continue the question, instead of being listed under letters.
    """

    question: str
    options: tuple[str, ...]
    answer: int
    cloze: bool = False
    language: str | None = None
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A prompt with the answers that a good one resembles (task `generation`)."""

    prompt: str
    references: tuple[str, ...]
    language: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Constraint:
    """A demand on an answer that a program can check: its type and its values (see `constraints.py`)."""

    type: str
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """A prompt that puts demands on its answer (task `instructions`)."""

    prompt: str
    constraints: tuple[Constraint, ...]
    language: str | None = None
    group: str | None = None


AnyItem = Item | MinimalPair | Choice | Reference | Instruction
ItemType = TypeVar("ItemType", Item, MinimalPair, Choice, Reference, Instruction)


def limited(items: Sequence[ItemType], limit: int) -> list[ItemType]:
    """At most `limit` items, shared evenly between languages and groups (the first ones of each), in the given order."""
    turns: dict[Any, int] = {}
    ranked = []
    for position, item in enumerate(items):
        key = (item.language, item.group)
        turns[key] = turn = turns.get(key, 0) + 1
        ranked.append((turn, position))
    return [items[position] for position in sorted(position for _, position in sorted(ranked)[:limit])]


def labels_of(items: Sequence[AnyItem]) -> list[list[str | None]]:
    """Language and, where there is more than one, group of each item: what gets a row of its own in the results."""
    several = len({item.group for item in items}) > 1
    return [[item.language, item.group if several else None] for item in items]
