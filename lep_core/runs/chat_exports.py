"""What leaves a chat: who won the blind votes, and the conversations as Markdown, JSON, and JSONL for instruction tuning.

While a blind round waits for its vote, letters stand in every export where the names of its models would be.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

from lep_core.runs.chats import LETTERS, Chat, ChatAnswer, Exchange, Summary, Vote


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """Votes between two models, each {model, name, fingerprint}."""

    first: Mapping[str, str]
    second: Mapping[str, str]
    first_wins: int = 0
    second_wins: int = 0
    ties: int = 0
    both_bad: int = 0

    @property
    def n(self) -> int:
        return self.first_wins + self.second_wins + self.ties + self.both_bad


def vote_summary(chats: Iterable[Chat | Summary]) -> list[PairResult]:
    """Wins and ties of each pair of models, the most often compared first.

    A vote for one of three or four answers is a win over each of the others and says nothing about those among themselves; "tie" and
    "bad" count for every pair. A model is its folder and its fingerprint: one that was trained further is another one.
    """
    table: dict[tuple[Any, Any], PairResult] = {}
    for vote in _votes(chats):
        for one, two in combinations(range(min(len(vote.contestants), len(LETTERS))), 2):
            ordered = sorted((one, two), key=lambda seat: _identity(vote.contestants[seat]))
            first, second = (vote.contestants[seat] for seat in ordered)
            column = _column(vote.choice, LETTERS[ordered[0]], LETTERS[ordered[1]])
            key = (_identity(first), _identity(second))
            if column is not None and key[0] != key[1]:
                # The newest names count: labels of models may change.
                row = replace(table.get(key) or PairResult(first=first, second=second), first=first, second=second)
                table[key] = replace(row, **{column: getattr(row, column) + 1})
    return sorted(table.values(), key=lambda row: -row.n)


def _votes(chats: Iterable[Chat | Summary]) -> list[Vote]:
    found = [vote for chat in chats for vote in (chat.votes.values() if isinstance(chat, Chat) else chat.votes)]
    return sorted(found, key=lambda vote: vote.time)


def _identity(contestant: Mapping[str, str]) -> tuple[str, str]:
    return str(contestant.get("model")), str(contestant.get("fingerprint"))


def _column(choice: str, first: str, second: str) -> str | None:
    return {first: "first_wins", second: "second_wins", "tie": "ties", "bad": "both_bad"}.get(choice)


def vote_records(chat: Chat) -> Iterator[dict[str, Any]]:
    """Every vote with its prompt, answers and models."""
    for vote in chat.votes.values():
        answers = next((item.answers for item in chat.exchanges if item.id == vote.exchange), ())
        seats = [
            {"letter": letter, **contestant, "answer": answers[seat].text if seat < len(answers) else None}
            for seat, (letter, contestant) in enumerate(zip(LETTERS, vote.contestants, strict=False))
        ]
        yield {"chat": chat.id, "round": vote.round, "time": vote.time, "prompt": vote.prompt, "choice": vote.choice, "answers": seats}


def masked(chat: Chat, exchange: Exchange) -> Exchange:
    """The exchange as it may be shown: of an open blind round nothing but letters and texts."""
    if not chat.names_hidden(exchange.round):
        return exchange
    answers = (
        ChatAnswer(model=letter, name=letter, text=answer.text, stop_reason="hidden" if answer.ended else "")
        for letter, answer in zip(LETTERS, exchange.answers, strict=False)
    )
    return replace(exchange, answers=tuple(answers))


def chat_json(chat: Chat) -> dict[str, Any]:
    """Everything that a chat holds, as JSON values."""
    return {
        "id": chat.id,
        "title": chat.title,
        "created": chat.created,
        "changed": chat.changed,
        "exchanges": [asdict(masked(chat, item)) for item in chat.exchanges],
        "votes": list(vote_records(chat)),
    }


def chat_markdown(chat: Chat) -> str:
    """The chat for people; prompts and answers stand in fences, so that no markup in them takes effect."""
    lines = [f"# {_plain(chat.title)}", "", f"{_when(chat.created)}, `{chat.id}`", ""]
    for number, exchange in enumerate((masked(chat, item) for item in chat.exchanges), start=1):
        lines += [f"## {number}", "", *_fenced(exchange.prompt)]
        if exchange.system:
            lines += ["System prompt:", "", *_fenced(exchange.system)]
        settings = ", ".join(f"{name} {value}" for name, value in exchange.settings.items())
        lines += [f"Settings: {_plain(settings)}", ""] if settings else []
        for answer in exchange.answers:
            mark = f" `{_plain(answer.fingerprint)}`" if answer.fingerprint else ""
            lines += [f"### {_plain(answer.name or answer.model)}{mark}", "", *_fenced(answer.text)]
            if answer.error:
                lines += [f"Error: {_plain(answer.error)}", ""]
            elif answer.tokens:
                speed = f"{answer.characters_per_second:.0f} characters/s"
                lines += [f"{answer.tokens} tokens, {len(answer.text)} characters, {speed}, stopped by: {answer.stop_reason}", ""]
        vote = chat.votes.get(exchange.round)
        if vote is not None and vote.exchange == exchange.id:
            lines += [f"Vote: {_plain(vote.choice)}", ""]
    return "\n".join(lines)


def conversations(chats: Iterable[Chat], *, model: str | None = None, preferred: bool = False) -> Iterator[dict[str, Any]]:
    """Conversations with the keys `messages`, `model` and `source`, one per round and pane, ready for instruction tuning.

    Answers that failed, that are empty, or that continue plain text are left out. `model` takes the answers of one model folder only,
    `preferred` only those that won a blind vote.
    """
    for chat in chats:
        for number in sorted({item.round for item in chat.exchanges}):
            items = [masked(chat, item) for item in chat.of_round(number)]
            vote = chat.votes.get(number)
            for seat in range(max(len(item.answers) for item in items)):
                if preferred and (vote is None or vote.choice != LETTERS[seat : seat + 1]):
                    continue
                yield from _conversation(chat, items, seat, model)


def _conversation(chat: Chat, items: list[Exchange], seat: int, model: str | None) -> Iterator[dict[str, Any]]:
    messages: list[dict[str, str]] = []
    names: dict[str, None] = {}
    for item in items:
        answer = item.answers[seat] if seat < len(item.answers) else None
        if answer is None or not answer.usable or answer.without_template or item.plain or (model is not None and answer.model != model):
            continue
        if not messages and item.system:
            messages.append({"role": "system", "content": item.system})
        messages += [{"role": "user", "content": item.prompt}, {"role": "assistant", "content": answer.text}]
        names[answer.name or answer.model] = None
    if messages:
        yield {"messages": messages, "model": ", ".join(names), "source": chat.id}


def _fenced(text: str) -> list[str]:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", text, fence, ""]


def _plain(text: str) -> str:
    """One line without markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", " ".join(text.split()))


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
