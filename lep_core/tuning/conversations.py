"""Conversations out of the layouts that people have: messages, prompt and response, Alpaca, ShareGPT; the keys of a record say which.

| layout | keys of a record |
|---|---|
| messages | `messages` (or `conversation`, `dialog`): list of `role` and `content` |
| ShareGPT | `conversations`: list of `from` and `value`; a `system` text beside it is taken |
| Alpaca | `instruction`, `output`, if need be `input`, `system`, `history` (list of question and answer) |
| prompt and response | `prompt` (`question`, `query`) and `response` (`completion`, `answer`, `output`): texts, or lists of messages |

What follows the last answer is left out: nothing is learned from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lep_core.config import CalibrateConfig
from lep_core.errors import CorpusError
from lep_core.progress import SILENT, Reporter
from lep_core.tuning.records import Record, read_records

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = {
    **dict.fromkeys(("system", "developer"), SYSTEM),
    **dict.fromkeys(("user", "human", "prompter", "question"), USER),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "ai", "answer"), ASSISTANT),
}
LISTS = ("messages", "conversations", "conversation", "dialog", "dialogue")
PROMPTS = ("prompt", "question", "query")
RESPONSES = ("response", "completion", "answer", "output")
COLUMNS = frozenset((*LISTS, *PROMPTS, *RESPONSES, "instruction", "input", "system", "system_prompt", "history"))
LAYOUTS = 'Give records with "messages", "prompt" and "response", "instruction" and "output" (Alpaca), or "conversations" (ShareGPT)'
MOST_TURNS = 10_000
MOST_CHARACTERS = 10_000_000
MOST_CHARACTERS_IN_ALL = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages with role (system, user, assistant) and content, the last one an answer; `source` is the place it came from, "file:line"."""

    messages: tuple[dict[str, str], ...]
    source: str


@dataclass(frozen=True, slots=True)
class BadConversation:
    """A record that is no conversation to learn from: its place and the reason."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


@dataclass(frozen=True)
class GivenConversations:
    """What `--data` holds, and how many of its records could not be used."""

    conversations: list[Conversation]
    unusable: int


class _Unusable(Exception):
    """This record cannot be used; the text says why."""


def given_conversations(config: CalibrateConfig, reporter: Reporter = SILENT) -> GivenConversations:
    """The conversations of `config.data`; bad ones are refused, or counted and named, as `config.bad_conversations` says."""
    reporter.stage("reading the conversations")
    bad: list[BadConversation] = []
    skips = config.bad_conversations == "skip"
    conversations = read_conversations(config.data, encoding=config.encoding, on_bad=bad.append if skips else None, reporter=reporter)
    if bad:
        reporter.message(f"{len(bad):,} of {len(bad) + len(conversations):,} records cannot be used and were skipped, the first: {bad[0]}")
    return GivenConversations(conversations, unusable=len(bad))


def read_conversations(
    paths: Sequence[str],
    *,
    encoding: str | None = None,
    on_bad: Callable[[BadConversation], None] | None = None,
    reporter: Reporter = SILENT,
) -> list[Conversation]:
    """All conversations of files (jsonl, json, csv, tsv, parquet, also compressed or zipped) and of such files in folders.

    With `on_bad`, records that cannot be used are handed over and passed by; without it the first one raises.

    Raises:
        CorpusError: a file cannot be read, a record cannot be used, or there is no conversation; names file, line and key.
    """
    conversations: list[Conversation] = []
    first_bad: BadConversation | None = None
    characters = 0
    for record in read_records(paths, columns=COLUMNS, encoding=encoding, skip_bad=on_bad is not None, reporter=reporter):
        try:
            conversation = Conversation(messages=tuple(messages_of(record)), source=record.place)
        except _Unusable as error:
            bad = BadConversation(record.place, str(error))
            if on_bad is None:
                raise CorpusError(str(bad), f"{_remedy(bad)}, or add --bad-conversations skip") from error
            first_bad = first_bad or bad
            on_bad(bad)
            continue
        conversations.append(conversation)
        characters += sum(len(message["content"]) for message in conversation.messages)
        if characters > MOST_CHARACTERS_IN_ALL:
            raise CorpusError(
                f"the conversations have more than {MOST_CHARACTERS_IN_ALL // 10**9} billion characters", "Give a part of them at a time"
            )
    if not conversations:
        raise _nothing(paths, first_bad)
    return conversations


def _nothing(paths: Sequence[str], first_bad: BadConversation | None) -> CorpusError:
    shown = ", ".join(map(str, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    if first_bad is None:
        return CorpusError(f"there is no conversation in {shown}", LAYOUTS)
    return CorpusError(f"no record of {shown} can be used, the first bad one is {first_bad}", _remedy(first_bad))


def _remedy(bad: BadConversation) -> str:
    return LAYOUTS if "its keys are" in bad.reason else "Mend or remove that record"


def messages_of(record: Record) -> list[dict[str, str]]:
    """The messages of a record, up to its last answer; raises `_Unusable`."""
    if record.problem is not None:
        raise _Unusable(record.problem)
    messages = list(_messages(record.values))
    if len(messages) > MOST_TURNS:
        raise _Unusable(f"the conversation has {len(messages):,} turns, more than {MOST_TURNS:,}")
    while messages and messages[-1]["role"] != ASSISTANT:
        messages.pop()
    if not messages:
        raise _Unusable("the conversation has no assistant turn, so there is nothing to learn")
    if messages[0]["role"] == ASSISTANT or (messages[0]["role"] == SYSTEM and messages[1]["role"] == ASSISTANT):
        raise _Unusable("the conversation begins with an answer, there is no question before it")
    for number, message in enumerate(messages, start=1):
        if message["role"] == ASSISTANT and not message["content"].strip():
            raise _Unusable(f"the answer in turn {number} is empty")
    characters = sum(len(message["content"]) for message in messages)
    if characters > MOST_CHARACTERS:
        raise _Unusable(f"the conversation has {characters:,} characters, more than {MOST_CHARACTERS:,}")
    return messages


def _messages(values: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    keys = {str(key).strip().lower(): key for key in values}
    present = [name for name in keys if values[keys[name]] is not None]

    def first(names: Sequence[str]) -> str | None:
        return next((keys[name] for name in names if name in present), None)

    turns, prompt, response = first(LISTS), first(PROMPTS), first(RESPONSES)
    if turns is not None:
        yield from _system(values, keys)
        yield from _turns(values[turns], turns)
    elif "instruction" in present and response is not None:
        yield from _system(values, keys)
        yield from _history(values.get(keys.get("history", "")))
        question = _text(values[keys["instruction"]], keys["instruction"])
        further = values.get(keys.get("input", ""))
        further = "" if further is None else _text(further, keys["input"])
        yield {"role": USER, "content": f"{question}\n\n{further}" if further.strip() else question}
        yield {"role": ASSISTANT, "content": _text(values[response], response)}
    elif prompt is not None and response is not None:
        yield from _system(values, keys)
        yield from _side(values[prompt], prompt, USER)
        yield from _side(values[response], response, ASSISTANT)
    else:
        raise _Unusable(f"the record is no conversation: its keys are {_shown(values)}")


def _side(value: Any, key: str, role: str) -> Iterator[dict[str, str]]:
    """A prompt or a response: a text, or a list of messages. A text may itself look like a list: "[-4, 2, 5]" is an answer."""
    unpacked = _unpacked(value)
    written_messages = isinstance(unpacked, list) and unpacked and all(isinstance(turn, Mapping) for turn in unpacked)
    if isinstance(value, list) or written_messages:
        yield from _turns(unpacked, key)
    else:
        yield {"role": role, "content": _text(value, key)}


def _turns(value: Any, key: str) -> Iterator[dict[str, str]]:
    value = _unpacked(value)
    if not isinstance(value, list):
        raise _Unusable(f"{key} is {_kind(value)}, not a list of messages")
    if not value:
        raise _Unusable(f"{key} is an empty list")
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, Mapping):
            raise _Unusable(f"{key}[{number}] is {_kind(turn)}, not an object with role and content")
        role_key, text_key = ("from", "value") if "from" in turn or "value" in turn else ("role", "content")
        for needed in (role_key, text_key):
            if needed not in turn:
                raise _Unusable(f"{key}[{number}] has no {needed}; its keys are {_shown(turn)}")
        role = turn[role_key]
        if not isinstance(role, str) or role.strip().lower() not in ROLES:
            raise _Unusable(f"{key}[{number}] has the role {str(role)[:40]!r}, not system, user or assistant")
        if turn.get("tool_calls"):
            raise _Unusable(f"{key}[{number}] calls tools, which is not learned here")
        yield {"role": ROLES[role.strip().lower()], "content": _content(turn[text_key], f"{key}[{number}].{text_key}")}


def _content(value: Any, name: str) -> str:
    """A text, or a list of parts with texts."""
    if not isinstance(value, list):
        return _text(value, name)
    texts = []
    for part in value:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else _kind(part)
            raise _Unusable(f"{name} holds a part that is no text ({str(kind)[:40]})")
        texts.append(_text(part["text"], name))
    return "".join(texts)


def _system(values: Mapping[str, Any], keys: Mapping[str, str]) -> Iterator[dict[str, str]]:
    key = next((keys[name] for name in ("system", "system_prompt") if name in keys), None)
    if key is not None and values[key] is not None and (text := _text(values[key], key)).strip():
        yield {"role": SYSTEM, "content": text}


def _history(value: Any) -> Iterator[dict[str, str]]:
    value = _unpacked(value) or []
    if not isinstance(value, list):
        raise _Unusable(f"history is {_kind(value)}, not a list of pairs of question and answer")
    for number, pair in enumerate(value, start=1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise _Unusable(f"history[{number}] is no pair of question and answer")
        yield {"role": USER, "content": _text(pair[0], f"history[{number}]")}
        yield {"role": ASSISTANT, "content": _text(pair[1], f"history[{number}]")}


def _unpacked(value: Any) -> Any:
    """Lists in csv files come as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _Unusable(f"{name} is {_kind(value)}, not text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _Unusable(f"{name} holds half of a surrogate pair, which is no character") from error
    return value


def _shown(values: Mapping[Any, Any]) -> str:
    names = [str(name)[:40] for name in values]
    return (", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")) or "none"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number", type(None): "empty (null)"}
    return names.get(type(value), "a text" if isinstance(value, str) else type(value).__name__)
