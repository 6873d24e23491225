"""Chats of a project: what was asked, what each model answered, and which answer people preferred.

A chat is one file `chats/<id>.jsonl` of the project. Lines are only ever appended, one JSON object each; `kind` says what it is:

    chat       the first line: version, title, time
    exchange   a prompt and one answer per pane. It is written when the prompt is sent and again whenever a pane has ended, so that a
               killed app loses no finished answer; the newest line of an id counts. `replaces` names the exchange whose place it takes
    vote       which answer of a blind round was the best, with the models of the panes: A, B ..., tie, bad (all bad) or none (only revealed)
    title      a new title

Exchanges with the same `round` continue one conversation. Before its vote, a blind round must not tell which model sits behind which
letter: exports use `Chat.names_hidden` for that. Readers skip a torn or damaged line and count it; the next writer begins on a new line.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from lep_core.errors import ConfigError, InputError, LepError
from lep_core.files import translated_errors

FOLDER = "chats"
VERSION = 1
LETTERS = "ABCD"
UNDECIDED = ("tie", "bad")
REVEALED = "none"
LONGEST_PROMPT = 200_000
LONGEST_TITLE = 120
TITLE_FROM_PROMPT = 60
MOST_BYTES = 64 * 2**20
MOST_LISTED = 500
_ID = re.compile(r"chat-[0-9]{8}-[0-9]{6}-[0-9a-f]{7,12}")


@dataclass(frozen=True, kw_only=True)
class ChatAnswer:
    """What one model answered.

    `path` and `fingerprint` are what the model's own process read; `body` is equal for models that share one in memory. `pieces` are the
    newest tokens as text. An answer without `stop_reason` and without `error` has not ended.
    """

    model: str = ""
    name: str = ""
    path: str = ""
    fingerprint: str = ""
    body: str = ""
    text: str = ""
    pieces: tuple[str, ...] = ()
    tokens: int = 0
    seconds: float = 0.0
    characters_per_second: float = 0.0
    time_to_first_token_seconds: float = 0.0
    stop_reason: str = ""
    error: str = ""
    without_template: bool = False
    without_adapter: bool = False

    @property
    def ended(self) -> bool:
        return bool(self.stop_reason or self.error)

    @property
    def usable(self) -> bool:
        """True when the answer can stand in a conversation."""
        return bool(self.stop_reason and not self.error and self.text)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One prompt and the answers of all panes, in the panes' order."""

    id: str = ""
    round: int = 0
    time: float = 0.0
    prompt: str = ""
    system: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    plain: bool = False
    blind: bool = False
    replaces: str = ""
    answers: tuple[ChatAnswer, ...] = ()

    @property
    def ended(self) -> bool:
        return all(answer.ended for answer in self.answers)

    @property
    def failed(self) -> bool:
        return any(answer.error for answer in self.answers)


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What was preferred in a blind round; `contestants` are the models (model, name, fingerprint) in the order of the letters."""

    round: int = 0
    time: float = 0.0
    choice: str = REVEALED
    exchange: str = ""
    prompt: str = ""
    contestants: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A chat as it reads now; `votes` by round, `skipped` counts damaged lines."""

    id: str
    title: str
    created: float
    changed: float
    exchanges: tuple[Exchange, ...] = ()
    votes: Mapping[int, Vote]
    skipped: int = 0

    @property
    def round(self) -> int:
        """The round of the newest exchange."""
        return self.exchanges[-1].round if self.exchanges else 0

    def of_round(self, number: int) -> list[Exchange]:
        return [item for item in self.exchanges if item.round == number]

    def names_hidden(self, number: int) -> bool:
        """True while nobody may know which model gave which answer: a blind round without a vote.

        A round in which a model failed is over: there is nothing left to compare.
        """
        items = self.of_round(number)
        return bool(items) and items[-1].blind and number not in self.votes and not any(item.failed for item in items)

    def next_round(self, *, blind: bool) -> int:
        """The round of the next prompt: a vote, a failure in a blind round or a change of mode begins a new one."""
        if not self.exchanges:
            return 0
        goes_on = self.names_hidden(self.round) if blind else not self.exchanges[-1].blind
        return self.round if goes_on else self.round + 1

    def messages(self, number: int, seat: int) -> list[dict[str, str]]:
        """The conversation of one pane in a round: prompts that it answered, with its answers."""
        found: list[dict[str, str]] = []
        for item in self.of_round(number):
            if seat < len(item.answers) and item.answers[seat].usable:
                found += [{"role": "user", "content": item.prompt}, {"role": "assistant", "content": item.answers[seat].text}]
        return found

    def with_exchange(self, exchange: Exchange) -> Chat:
        """The chat with one more exchange, or with a newer state of the one that has its id."""
        if any(item.id == exchange.id for item in self.exchanges):
            return replace(self, exchanges=tuple(exchange if item.id == exchange.id else item for item in self.exchanges))
        kept = self.exchanges
        places = [index for index, item in enumerate(kept) if item.id == exchange.replaces]
        if places:
            kept = kept[: places[0]]
        return replace(self, exchanges=(*kept, exchange))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A chat in a list."""

    id: str
    title: str
    created: float
    changed: float
    exchanges: int
    models: tuple[str, ...]
    votes: tuple[Vote, ...]


class ChatStore:
    """The chats of one project. May be used from many threads and processes at once."""

    def __init__(self, project_path: Path) -> None:
        self.folder = Path(project_path) / FOLDER

    def create(self, prompt: str) -> Chat:
        """A new chat whose title is the beginning of its first prompt."""
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        chat_id = f"chat-{stamp}-{int(now * 1000) % 1000:03d}{secrets.token_hex(3)}"
        record = {"kind": "chat", "version": VERSION, "title": title_of(prompt), "time": now}
        with translated_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            with open(self._path(chat_id), "x", encoding="utf-8", newline="\n") as stream:
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        return self.read(chat_id)

    def save(self, chat_id: str, record: Exchange | Vote) -> None:
        """Append an exchange or a vote.

        Raises:
            InputError: the chat is gone, or as large as a chat may be.
        """
        self._append(chat_id, {"kind": type(record).__name__.lower(), **asdict(record)})

    def vote(self, chat_id: str, choice: str) -> Chat:
        """Decide the present blind round and reveal its names; the first vote counts.

        Raises:
            ConfigError: the choice is none of the round's, or there is nothing to vote on.
        """
        chat = self.read(chat_id)
        last = chat.exchanges[-1] if chat.exchanges else None
        if last is None or not chat.names_hidden(chat.round):
            raise ConfigError("vote", "there is no open blind round in this chat", "Send a message in blind mode first")
        possible = [*LETTERS[: len(last.answers)], *UNDECIDED, REVEALED]
        if choice not in possible:
            raise ConfigError("vote", f"there is no choice {choice!r}", f"Choose one of: {', '.join(possible)}")
        if not last.ended and choice != REVEALED:
            raise ConfigError("vote", "not all models have finished their answers", "Wait, or press Stop")
        contestants = tuple({"model": one.model, "name": one.name, "fingerprint": one.fingerprint} for one in last.answers)
        vote = Vote(round=chat.round, choice=choice, exchange=last.id, prompt=last.prompt, time=time.time(), contestants=contestants)
        self.save(chat_id, vote)
        return self.read(chat_id)

    def rename(self, chat_id: str, title: str) -> None:
        """Give a chat another title."""
        title = " ".join(title.split())
        if not title or len(title) > LONGEST_TITLE:
            raise ConfigError("title", f"the title has {len(title)} characters", f"Give 1 to {LONGEST_TITLE} characters")
        self._append(chat_id, {"kind": "title", "title": title, "time": time.time()})

    def delete(self, chat_id: str) -> None:
        """Delete a chat with its votes for good."""
        path = self._path(chat_id)
        with translated_errors(path):
            path.unlink(missing_ok=True)

    def read(self, chat_id: str) -> Chat:
        """A chat; InputError names the file when it is gone or cannot be read."""
        return _read(self._path(chat_id))

    def has(self, chat_id: str | None) -> bool:
        return isinstance(chat_id, str) and _ID.fullmatch(chat_id) is not None and self._path(chat_id).is_file()

    def listing(self) -> tuple[list[Summary], list[str]]:
        """All chats, the last changed first, and a sentence for each file that cannot be read."""
        found: list[Summary] = []
        problems: list[str] = []
        names = sorted((name for name in os.listdir(self.folder) if name.endswith(".jsonl")), reverse=True) if self.folder.is_dir() else []
        if len(names) > MOST_LISTED:
            problems.append(f"{self.folder} holds {len(names)} chats; the newest {MOST_LISTED} are listed")
        for name in names[:MOST_LISTED]:
            path = self.folder / name
            try:
                facts = path.stat()
                found.append(_summary(path, facts.st_ino, facts.st_mtime_ns, facts.st_size))
            except FileNotFoundError:
                continue  # Deleted since the folder was listed.
            except LepError as error:
                problems.append(error.message)
        return sorted(found, key=lambda item: item.changed, reverse=True), problems

    def _path(self, chat_id: str) -> Path:
        if not isinstance(chat_id, str) or not _ID.fullmatch(chat_id):
            raise InputError(f"{chat_id!r} is no chat id", "Choose a chat of the list")
        return self.folder / f"{chat_id}.jsonl"

    def _append(self, chat_id: str, record: Mapping[str, Any]) -> None:
        path = self._path(chat_id)
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8", errors="replace") + b"\n"
        with translated_errors(path):
            try:
                # Not created here: what is written to a deleted chat must not bring it back.
                handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            except FileNotFoundError:
                raise InputError(f"the chat {chat_id} was deleted", "Begin a new chat") from None
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                size = os.fstat(handle).st_size
                if size + len(line) > MOST_BYTES:
                    raise InputError(f"the chat holds {size} bytes, at most {MOST_BYTES} are possible", "Begin a new chat")
                if size and os.pread(handle, 1, size - 1) != b"\n":
                    line = b"\n" + line
                while line:
                    line = line[os.write(handle, line) :]
                os.fsync(handle)
            finally:
                os.close(handle)


def title_of(prompt: str) -> str:
    """A title for a chat: the beginning of its first prompt, cut between words where possible."""
    text = " ".join(prompt.split())
    if len(text) <= TITLE_FROM_PROMPT:
        return text or "…"
    cut = text[:TITLE_FROM_PROMPT]
    return (cut.rpartition(" ")[0] if " " in cut[TITLE_FROM_PROMPT // 2 :] else cut) + " …"


def _read(path: Path) -> Chat:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"the chat {path} has {size} bytes, at most {MOST_BYTES} can be read", "Move it away")
        with translated_errors(path):
            lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        raise InputError(f"there is no chat {path.stem}", "Choose a chat of the list") from None
    head = _object(lines[0])
    if head is None or head.get("kind") != "chat":
        raise InputError(f"{path} is no chat: its first line does not say so", "Move it away, or restore it")
    started = head.get("time")
    created = float(started) if isinstance(started, (int, float)) else path.stat().st_mtime
    chat = Chat(id=path.stem, title=str(head.get("title") or "…")[:LONGEST_TITLE], created=created, changed=created, votes={})
    for line in lines[1:]:
        if line.strip():
            chat = _with_line(chat, _object(line))
    return chat


def _with_line(chat: Chat, record: dict[str, Any] | None) -> Chat:
    try:
        if record is None:
            raise TypeError("no JSON object")
        kind, changed = record.get("kind"), max(chat.changed, float(record.get("time") or 0.0))
        if kind == "title":
            return replace(chat, title=str(record["title"])[:LONGEST_TITLE], changed=changed)
        if kind == "vote":
            vote = _record(Vote, record)
            if not all(isinstance(one, dict) for one in vote.contestants):
                raise TypeError("a contestant is no object")
            return replace(chat, votes={vote.round: vote, **chat.votes}, changed=changed)
        if kind != "exchange":
            raise TypeError(f"a line of kind {kind}")
        answers = tuple(_record(ChatAnswer, item) for item in record["answers"])
        return replace(chat.with_exchange(_record(Exchange, record | {"answers": answers})), changed=changed)
    except (TypeError, ValueError, KeyError, AttributeError):
        return replace(chat, skipped=chat.skipped + 1)


_Kind = TypeVar("_Kind", ChatAnswer, Exchange, Vote)


def _record(kind: type[_Kind], values: Mapping[str, Any]) -> _Kind:
    """A record from its JSON object; keys that are not its own are left out, a value of another type than the default's is a TypeError."""
    model, given = kind(), {}
    for item in fields(kind):
        if item.name not in values:
            continue
        value, usual = values[item.name], getattr(model, item.name)
        allowed = {float: (int, float), tuple: (list, tuple)}.get(type(usual), type(usual))
        if not isinstance(value, allowed) or (isinstance(value, bool) and not isinstance(usual, bool)):
            raise TypeError(f"{item.name} is of type {type(value).__name__}")
        given[item.name] = tuple(value) if isinstance(usual, tuple) else value
    return kind(**given)


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@lru_cache(maxsize=4 * MOST_LISTED)
def _summary(path: Path, *_: int) -> Summary:
    """Kept until the file changes: its inode, time and size are part of the call."""
    chat = _read(path)
    names = {answer.name or answer.model for item in chat.exchanges for answer in item.answers}
    return Summary(
        id=chat.id,
        title=chat.title,
        created=chat.created,
        changed=chat.changed,
        exchanges=len(chat.exchanges),
        models=tuple(sorted(names)),
        votes=tuple(chat.votes.values()),
    )
