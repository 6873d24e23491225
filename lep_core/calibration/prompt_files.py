"""Prompts out of files: the records that instruction tuning reads too, and plain text with one prompt a line.

| keys of a record (or columns) | the prompt |
|---|---|
| `prompt`, `question`, `query` | the text |
| `instruction`, `input` (Alpaca) | the instruction, and the input below it |
| `messages` with `role` and `content`, `conversations` with `from` and `value` (ShareGPT) | the last turn of the user |

Answers that a file holds are not looked at: the teacher gives its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lep_core.calibration.prompts import Prompt
from lep_core.errors import CorpusError
from lep_core.progress import SILENT, Reporter
from lep_core.tuning.conversations import LISTS, PROMPTS, ROLES, USER
from lep_core.tuning.records import read_records

PLAIN_SUFFIXES = (".txt", ".md")
COLUMNS = frozenset((*LISTS, *PROMPTS, "instruction", "input"))
LONGEST_LINE = 4_000_000
_HINT = 'Give records with "prompt", "messages" or "instruction", or a text file with a prompt a line'


class _Unusable(Exception):
    """This record holds no prompt; the text says why."""


def read_prompts(
    paths: Sequence[str], *, encoding: str | None = None, on_bad: Callable[[str], None] | None = None, reporter: Reporter = SILENT
) -> Iterator[Prompt]:
    """The prompts of files (txt and md in UTF-8, jsonl, json, csv, tsv, parquet, also compressed) in order.

    With `on_bad`, records without a prompt are reported there and passed by.

    Raises:
        CorpusError: a file cannot be read, or a record holds no prompt; names file and line.
    """
    for path in paths:
        if Path(path).suffix.lower() in PLAIN_SUFFIXES and Path(path).is_file():
            yield from _lines(Path(path))
            continue
        for record in read_records((path,), columns=COLUMNS, encoding=encoding, skip_bad=on_bad is not None, reporter=reporter):
            try:
                if record.problem is not None:
                    raise _Unusable(record.problem)
                text = _text_of({str(key).strip().lower(): value for key, value in record.values.items()})
            except _Unusable as error:
                if on_bad is None:
                    raise CorpusError(f"{record.place}: {error}", f"{_HINT}, or add --bad-conversations skip") from error
                on_bad(f"{record.place}: {error}")
                continue
            yield Prompt(text.strip(), record.place)


def _lines(path: Path) -> Iterator[Prompt]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as stream:
            number = 0
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise CorpusError(
                        f"{path.name}:{number}: the line has more than {LONGEST_LINE:,} characters", "Put each prompt on a line of its own"
                    )
                if text := line.strip():
                    yield Prompt(text, f"{path.name}:{number}")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8", "Convert the file to UTF-8") from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror})", "Give a file with prompts") from error


def _text_of(values: Mapping[str, Any]) -> str:
    for key in LISTS:
        if values.get(key) is not None:
            return _last_user_turn(values[key], key)
    for key in (*PROMPTS, "instruction"):
        value = values.get(key)
        if value is None:
            continue
        if isinstance(value, list):
            return _last_user_turn(value, key)
        further = values.get("input") if key == "instruction" else None
        text = _checked(value, key)
        return f"{text}\n\n{_checked(further, 'input')}" if further else text
    raise _Unusable(f"the record has no prompt; its keys are {', '.join(list(values)[:10]) or 'none'}")


def _last_user_turn(turns: Any, key: str) -> str:
    if isinstance(turns, str) and turns.lstrip().startswith("["):
        # Lists in csv files come as JSON text.
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError) as error:
            raise _Unusable(f"{key} is no list of messages") from error
    if not isinstance(turns, list):
        raise _Unusable(f"{key} is no list of messages")
    for turn in reversed(turns):
        role = (turn.get("role") or turn.get("from")) if isinstance(turn, Mapping) else None
        if isinstance(role, str) and ROLES.get(role.strip().lower()) == USER:
            return _checked(turn.get("content", turn.get("value")), key)
    raise _Unusable(f"{key} has no turn of the user")


def _checked(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise _Unusable(f"{key} is no text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Unusable(f"{key} holds half of a surrogate pair, which is no character") from error
    return value
