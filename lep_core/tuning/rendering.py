"""Conversations as token ids, with a mark on every token that the model shall learn to say: the answers and the token that ends them.

An answer is what the model's own chat template writes behind the prompt of a chat: the text of the messages up to the answer, less
the text of the messages before it with the generation prompt. The ids of that prompt are those that `inference.prompt.PromptEncoder`
gives to a chat, so training and chat see the same ids, and control strings that somebody typed stay text here too. Spans that a
template marks itself (`{% generation %}`) are not needed for that; they hold the same text.

Turns share one row as long as the template writes the earlier turns of a longer chat as it wrote them before. Templates that leave
out old thoughts, say, do not: such a conversation gives one row for each answer.

Shapes: L tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lep_core.errors import ModelError
from lep_core.inference.prompt import PromptEncoder, unused_characters
from lep_core.tuning.conversations import ASSISTANT, Conversation

# Texts before an answer that is encoded alone, so that no tokenizer takes its beginning for the beginning of a text.
_ANCHORS = ("\n", ":", "a")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `ids_L`, and `learned_L`, True for the tokens of answers. `answer_bytes` is the UTF-8 length of the answers' own text."""

    ids_L: np.ndarray
    learned_L: np.ndarray
    answer_bytes: int

    @property
    def answer_tokens(self) -> int:
        return int(self.learned_L.sum())


@dataclass(frozen=True, slots=True)
class RenderedConversation:
    """Rows of one conversation, none when its first answer is too long; `cut` when later turns were left out."""

    rows: tuple[Row, ...]
    cut: bool


@dataclass(frozen=True, slots=True)
class _Turn:
    prompt: list[int]
    answer: list[int]
    answer_bytes: int


class UnrenderableError(Exception):
    """The chat template cannot take this conversation; the text says why."""


class ChatRenderer:
    """Renders conversations for one tokenizer.

    Args:
        tokenizer: with a chat template.
        end_ids: ids at which generation stops; an answer whose template writes none of them gets the first one.
        max_length: longest row in tokens.
        cut: leave out the last turns of a longer conversation instead of all of it.
    """

    def __init__(self, tokenizer: Any, *, end_ids: Sequence[int], max_length: int, cut: bool = True) -> None:
        self._encoder = PromptEncoder(tokenizer)
        self._end_ids = tuple(end_ids)
        self._max_length = max_length
        self._cut = cut
        self.appended_ends = 0

    def render(self, conversation: Conversation) -> RenderedConversation:
        """The rows of a conversation.

        Raises:
            UnrenderableError: the template fails, or writes the answer otherwise than a chat begins it.
        """
        messages = conversation.messages
        try:
            marks = unused_characters("".join(message["content"] for message in messages))
        except StopIteration as error:
            raise UnrenderableError("it uses every private character there is") from error
        rows: list[Row] = []
        ids: list[int] = []
        learned: list[bool] = []
        answer_bytes = 0
        for number, message in enumerate(messages):
            if message["role"] != ASSISTANT:
                continue
            turn = self._turn(messages[: number + 1], marks)
            if len(turn.prompt) + len(turn.answer) > self._max_length:
                kept = (*rows, *_row(ids, learned, answer_bytes)) if self._cut else ()
                return RenderedConversation(kept, cut=bool(kept))
            if turn.prompt[: len(ids)] != ids:
                rows += _row(ids, learned, answer_bytes)
                ids, learned, answer_bytes = [], [], 0
            learned += [False] * (len(turn.prompt) - len(ids)) + [True] * len(turn.answer)
            ids = turn.prompt + turn.answer
            answer_bytes += turn.answer_bytes
        return RenderedConversation((*rows, *_row(ids, learned, answer_bytes)), cut=False)

    def _turn(self, messages: Sequence[dict[str, str]], marks: tuple[str, str]) -> _Turn:
        encoder = self._encoder
        try:
            before = encoder.render(messages[:-1], marks)
            whole = encoder.render(messages, marks, add_generation_prompt=False)
        except ModelError as error:
            raise UnrenderableError(error.message) from error
        if not whole.startswith(before):
            raise UnrenderableError(
                "the chat template writes an answer otherwise than a chat begins it: "
                f"it begins with {_end_of(before)!r}, written is {_end_of(whole[: len(before)])!r}"
            )
        prompt = encoder.encode_rendered(before, marks) or encoder.opening()
        answer = self._ended(self._answer_ids(prompt, before, whole, marks))
        return _Turn(prompt, answer, len(messages[-1]["content"].encode()))

    def _answer_ids(self, prompt: list[int], before: str, whole: str, marks: tuple[str, str]) -> list[int]:
        """Ids behind the prompt. A chat encodes its prompt alone, so the answer begins at a token border even where tokens would merge."""
        encode = self._encoder.encode_rendered
        ids = encode(whole, marks)
        if ids[: len(prompt)] == prompt:
            return ids[len(prompt) :]
        answer = whole[len(before) :]
        for anchor in _ANCHORS:
            lead, both = encode(anchor, marks), encode(anchor + answer, marks)
            if both[: len(lead)] == lead:
                return both[len(lead) :]
        return encode(answer, marks)

    def _ended(self, ids: list[int]) -> list[int]:
        """The answer up to its end token; what the template writes behind it is never generated."""
        for place, one in enumerate(ids):
            if one in self._end_ids:
                return ids[: place + 1]
        self.appended_ends += 1
        return [*ids, self._end_ids[0]]


def _row(ids: list[int], learned: list[bool], answer_bytes: int) -> tuple[Row, ...]:
    return (Row(np.array(ids, dtype=np.int32), np.array(learned, dtype=bool), answer_bytes),) if ids else ()


def _end_of(text: str) -> str:
    return text[-40:]
