"""What stands behind the chat page: prompts on their way to the models, answers into the project's chats.

A prompt lives in threads of the app, not in the page: a reload, a second browser or a closed one changes nothing, and each answer is on
the disk as soon as it is complete. A pane takes only what the process of its own model says of itself.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lep_core.errors import ConfigError, JobError, LepError
from lep_core.inference.pool import WorkerPool
from lep_core.models.adapters import ADAPTER_FOLDER, CONFIG_NAME
from lep_core.runs.chats import LETTERS, LONGEST_PROMPT, Chat, ChatAnswer, ChatStore, Exchange
from lep_core.runs.workspace import Project
from ui.messages import logger
from ui.studio import Backend
from ui.tokens import SHOWN_TOKENS

FRAME_SECONDS = 0.08
STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a page sends: `models` are (folder, name) in the order of the panes; `replaces` is an exchange to take the place of."""

    prompt: str
    models: Sequence[tuple[str, str]]
    settings: Mapping[str, Any]
    system: str = ""
    plain: bool = False
    blind: bool = False
    replaces: str = ""


class _Seat:
    """What one pane is receiving."""

    def __init__(self, answer: ChatAnswer) -> None:
        self.answer = answer
        self._pieces: list[str] = []
        self._texts: list[str] = []
        self._tokens = 0
        self._start = time.monotonic()
        self._first: float | None = None

    def meet(self, loaded: Mapping[str, Any], *, plain: bool) -> None:
        """Note what the model's process says of itself."""
        path = str(loaded.get("path") or self.answer.model)
        self._start = time.monotonic()
        self.answer = replace(
            self.answer,
            path=path,
            fingerprint=str(loaded.get("fingerprint") or ""),
            body=str(loaded.get("body_fingerprint") or ""),
            without_template=plain or not loaded.get("is_chat"),
            without_adapter=(Path(path) / ADAPTER_FOLDER / CONFIG_NAME).is_file(),
        )

    def take(self, event: Mapping[str, Any]) -> None:
        """One event of the model's process; nothing changes an answer that has ended."""
        if self.answer.ended:
            return
        if event["event"] == "error":
            self.fail(f"{event['message']}. {event['hint']}.")
        elif event.get("fingerprint") not in (None, "", self.answer.fingerprint):
            self.fail(f"an answer of the model {event['fingerprint']} came to this pane and was not shown. Send again.")
        elif event["event"] == "delta":
            self._first = self._first or time.monotonic()
            self._texts.append(event.get("text") or "")
            self._pieces += event.get("pieces") or []
            self._tokens += len(event.get("token_ids") or [])
            self.answer = replace(self.answer, text="".join(self._texts), pieces=tuple(self._pieces[-SHOWN_TOKENS:]), tokens=self._tokens)
        elif event["event"] == "done":
            measured = {name: float(event.get(name) or 0.0) for name in ("seconds", "characters_per_second", "time_to_first_token_seconds")}
            self.answer = replace(
                self.answer,
                tokens=int(event.get("new_tokens") or self._tokens),
                stop_reason=str(event.get("stop_reason") or "eos"),
                **measured,
            )

    def stop(self) -> None:
        """End the answer here, with what has come so far."""
        if not self.answer.ended:
            now = time.monotonic()
            seconds = max(now - self._start, 1e-6)
            self.answer = replace(
                self.answer,
                stop_reason=STOPPED,
                seconds=seconds,
                characters_per_second=len(self.answer.text) / seconds,
                time_to_first_token_seconds=(self._first or now) - self._start,
            )

    def fail(self, sentence: str) -> None:
        """End the answer with an error."""
        if not self.answer.ended:
            self.answer = replace(self.answer, error=sentence)


class Sending:
    """One prompt on its way through all panes, each in a thread of its own; it ends even if nobody looks.

    Attributes:
        problem: why an answer could not be written to the disk, None while all is well.
    """

    def __init__(self, store: ChatStore, chat: Chat, exchange: Exchange, question: Question, pool: WorkerPool) -> None:
        self.problem: LepError | None = None
        self.chat_id = chat.id
        self._store, self._pool, self._question = store, pool, question
        self._exchange = exchange
        self._seats = [_Seat(answer) for answer in exchange.answers]
        self._before = chat.with_exchange(exchange)
        self._news = threading.Condition()
        self._version = 0
        self._saving = threading.Lock()
        self._kept = False

    def start(self) -> None:
        """Write the prompt to the disk and ask all models."""
        self._store.save(self.chat_id, self._exchange)
        self._pool.prepare([seat.answer.model for seat in self._seats])
        for number in range(len(self._seats)):
            threading.Thread(target=self._run, args=(number,), daemon=True, name=f"{self.chat_id} {number}").start()

    def stop(self) -> None:
        """End all answers now; the models stop at their next token."""
        with self._news:
            running = [seat for seat in self._seats if not seat.answer.ended]
            for seat in running:
                seat.stop()
        if running:
            self._save()
            self._tell()

    @property
    def ended(self) -> bool:
        """True when all answers have ended and are on the disk (or cannot be written there)."""
        return self._kept

    def chat(self) -> Chat:
        """The chat with the answers as far as they have come."""
        return self._before.with_exchange(self._snapshot())

    def changes(self, *, seconds: float = FRAME_SECONDS) -> Iterator[Chat]:
        """The chat whenever there is news, at most once in `seconds`, at last when all has ended."""
        seen = -1
        while True:
            ended = self.ended
            with self._news:
                version = self._version
            if version != seen or ended:
                yield self.chat()
            if ended:
                return
            seen = version
            with self._news:
                self._news.wait_for(lambda known=seen: self._version != known, timeout=10 * seconds)
            time.sleep(seconds)

    def _snapshot(self) -> Exchange:
        with self._news:
            return replace(self._exchange, answers=tuple(seat.answer for seat in self._seats))

    def _run(self, number: int) -> None:
        """Body of one pane's thread."""
        seat = self._seats[number]
        try:
            with closing(self._events(number)) as events:
                for event in events:
                    with self._news:
                        seat.take(event)
                    if seat.answer.ended:
                        break
                    self._tell()
        except LepError as error:
            self._end(seat, f"{error.message}. {error.hint}.")
        except BaseException as error:  # noqa: BLE001 - the boundary of a thread: the pane must hear of it
            logger.error("a chat pane failed", exc_info=error)
            self._end(seat, f"an unexpected fault ({type(error).__name__}); the app's log tells more.")
        self._end(seat, "the model's process ended its answer without a word. Send again.")
        if seat.answer.stop_reason != STOPPED:
            self._save()
        self._tell()

    def _events(self, number: int) -> Generator[Mapping[str, Any], None, None]:
        seat, question = self._seats[number], self._question
        loaded = self._pool.loaded(seat.answer.model)
        if loaded["event"] == "error":
            yield loaded
            return
        plain = question.plain or not loaded.get("is_chat")
        with self._news:
            seat.meet(loaded, plain=question.plain)
        asked: dict[str, Any] = {"prompt": question.prompt}
        if not plain:
            system = [{"role": "system", "content": question.system}] if question.system else []
            turns = self._before.messages(self._exchange.round, number)
            asked = {"messages": [*system, *turns, {"role": "user", "content": question.prompt}]}
        yield from self._pool.generate(seat.answer.model, settings=dict(question.settings), **asked)

    def _end(self, seat: _Seat, sentence: str) -> None:
        with self._news:
            seat.fail(sentence)

    def _save(self) -> None:
        # The snapshot is taken inside, so that the newest line is also the last.
        with self._saving:
            exchange = self._snapshot()
            try:
                self._store.save(self.chat_id, exchange)
            except LepError as error:
                self.problem = error
            self._kept = exchange.ended

    def _tell(self) -> None:
        with self._news:
            self._version += 1
            self._news.notify_all()


@dataclass
class Chats:
    """The prompts that are on their way, for all pages, and the models' processes behind them."""

    pool: WorkerPool = field(default_factory=WorkerPool)
    _running: dict[tuple[str, str], Sending] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, project: Project, chat_id: str | None, question: Question) -> Sending:
        """Ask all models; a chat is made with its first prompt.

        Raises:
            ConfigError: nothing to ask or nobody to ask.
            JobError: the chat's last prompt is still being answered.
        """
        _check(question)
        store = ChatStore(project.path)
        with self._lock:
            self._running = {key: one for key, one in self._running.items() if not one.ended}
            if chat_id is not None and (str(project.path), chat_id) in self._running:
                raise JobError("the last message of this chat is still being answered", "Wait for the answers, or press Stop first")
            chat = store.read(chat_id) if chat_id is not None else store.create(question.prompt)
            sending = Sending(store, chat, _exchange(chat, question), question, self.pool)
            self._running[str(project.path), chat.id] = sending
        try:
            sending.start()
        except BaseException:
            with self._lock:
                self._running.pop((str(project.path), chat.id), None)
            raise
        return sending

    def running(self, project: Project, chat_id: str | None) -> Sending | None:
        """The prompt of a chat that is being answered."""
        with self._lock:
            sending = self._running.get((str(project.path), chat_id or ""))
        return None if sending is None or sending.ended else sending

    def close(self) -> None:
        """Keep what has come so far, and end the models' processes."""
        for sending in list(self._running.values()):
            sending.stop()
        self.pool.close()


_SHARED: dict[int, tuple[Backend, Chats]] = {}


def shared_chats(backend: Backend) -> Chats:
    """The one `Chats` behind all languages of an app."""
    # The backend is kept beside it, so that its id cannot be given to another one.
    if id(backend) not in _SHARED:
        chats = Chats()
        _SHARED[id(backend)] = (backend, chats)
        backend.closers.append(chats.close)
        backend.closers.append(lambda: _SHARED.pop(id(backend), None) and None)
    return _SHARED[id(backend)][1]


def _check(question: Question) -> None:
    if not question.prompt.strip():
        raise ConfigError("prompt", "there is no message", "Type one first")
    if len(question.prompt) > LONGEST_PROMPT:
        raise ConfigError("prompt", f"the message has {len(question.prompt)} characters", f"Send at most {LONGEST_PROMPT}")
    if not question.models:
        raise ConfigError("model", "no model is chosen", "Choose one in a pane")
    names = {model for model, _ in question.models}
    if question.blind and not 2 <= len(names) <= len(LETTERS):
        raise ConfigError("model", f"{len(names)} different models are chosen for a blind vote", f"Choose 2 to {len(LETTERS)}")


def _exchange(chat: Chat, question: Question) -> Exchange:
    """The prompt with empty answers; in a new blind round the panes are shuffled, and the order is known to nobody until the vote."""
    number = chat.next_round(blind=question.blind)
    goes_on = chat.exchanges and number == chat.round
    seats = [ChatAnswer(model=model, name=name) for model, name in question.models]
    if question.blind and goes_on:
        seats = [ChatAnswer(model=answer.model, name=answer.name) for answer in chat.exchanges[-1].answers]
    elif question.blind:
        secrets.SystemRandom().shuffle(seats)
    return Exchange(
        id=secrets.token_hex(8),
        round=number,
        time=time.time(),
        prompt=question.prompt,
        system=question.system,
        settings=dict(question.settings),
        plain=question.plain,
        blind=question.blind,
        replaces=question.replaces if goes_on else "",
        answers=tuple(seats),
    )
