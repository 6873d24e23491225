"""Prompts to token ids: plain text or the model's own chat template, with control tokens only where the template writes them.

`<s>` or `<|im_end|>` typed by a person must stay text, or the person could end a turn and speak as the model. For plain text the
tokenizer splits such strings into ordinary tokens. For chats, every control string inside a message is enclosed in two private
characters before the template is rendered; the rendered text is then cut at these marks: what lies between them is encoded without
any added token, all the rest exactly as `tokenizer.apply_chat_template` would. A chat without control strings therefore gets
the very ids of `apply_chat_template`.

Templates are programs that come with a model: they run in a process that can be killed (`template_process.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lep_core.errors import ConfigError, ModelError
from lep_core.inference.template_process import Limits, TemplateFailure, TemplateProcess

ROLES = ("system", "user", "assistant")
TEMPLATE_SECONDS = 2.0
TEMPLATE_BYTES = 512 * 2**20
TEMPLATE_CHARACTERS = 2**20
_PRIVATE_USE = range(0xE000, 0xF8FF)

Message = Mapping[str, str]


class PromptEncoder:
    """Encodes prompts for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self._control_ids = {token_id for token_id, token in added.items() if token.special} - {tokenizer.unk_token_id}
        literals = sorted({token.content for token in added.values() if token.special and token.content}, key=len, reverse=True)
        self._control_pattern = re.compile("|".join(map(re.escape, literals))) if literals else None
        self.is_chat = bool(tokenizer.chat_template)
        self._templates = TemplateProcess(_applied(tokenizer))

    def encode(self, *, prompt: str | None = None, messages: Sequence[Message] | None = None) -> list[int]:
        """Token ids of a plain prompt or of a chat; never empty.

        Raises:
            ConfigError: neither or both are given, a role is unknown, or there is nothing to begin with.
            ModelError: the chat template fails.
        """
        if (prompt is None) == (messages is None):
            raise ConfigError("prompt", "a prompt or messages are needed, not both", "Give one of them")
        ids = self.encode_text(prompt) if prompt is not None else self._encode_chat(messages or ())
        if not ids:
            ids = self.opening()
        if not ids:
            raise ConfigError("prompt", "the prompt is empty and the model has no token to begin with", "Give a prompt")
        return ids

    def opening(self) -> list[int]:
        """A token that may stand before a text: bos, else eos (the separator of documents in training), else none."""
        first = self.tokenizer.bos_token_id
        first = self.tokenizer.eos_token_id if first is None else first
        return [] if first is None else [first]

    def encode_text(self, text: str) -> list[int]:
        """Plain text with the tokenizer's own opening token, if it adds one; control strings stay text."""
        own = self.tokenizer("", add_special_tokens=True)["input_ids"]
        ids = self.tokenizer(text, add_special_tokens=True, split_special_tokens=True, verbose=False)["input_ids"]
        pattern = self._control_pattern
        if pattern is not None and pattern.search(text) and sum(one in self._control_ids for one in ids) > len(own):
            # A vocabulary that holds control strings as ordinary pieces (Unigram) still finds them: encode around them.
            ids = own + self._encode_marked(text, pattern)
        return ids

    def _encode_marked(self, text: str, pattern: re.Pattern[str]) -> list[int]:
        ids: list[int] = []
        position = 0
        for match in pattern.finditer(text):
            ids += self._plain(text[position : match.start()]) + self._literal(match.group())
            position = match.end()
        return ids + self._plain(text[position:])

    def _encode_chat(self, messages: Sequence[Message]) -> list[int]:
        _check_messages(messages)
        marks = unused_characters("".join(message["content"] for message in messages))
        return self.encode_rendered(self.render(messages, marks), marks)

    def render(self, messages: Sequence[Message], marks: tuple[str, str], *, add_generation_prompt: bool = True) -> str:
        """The chat as the template writes it, with control strings of the messages between the two `marks`.

        Raises:
            ModelError: the chat template fails.
        """
        marked = [{**message, "content": self._mark(message["content"], *marks)} for message in messages]
        return self._render(marked, add_generation_prompt=add_generation_prompt)

    def encode_rendered(self, rendered: str, marks: tuple[str, str]) -> list[int]:
        """Token ids of what `render` gave with the same marks, or of a part of it."""
        opening, closing = marks
        ids: list[int] = []
        position = 0
        for match in re.finditer(f"{opening}([^{opening}{closing}]*){closing}", rendered):
            ids += self._template_part(rendered[position : match.start()], opening, closing) + self._literal(match.group(1))
            position = match.end()
        return ids + self._template_part(rendered[position:], opening, closing)

    def _mark(self, text: str, opening: str, closing: str) -> str:
        if self._control_pattern is None:
            return text
        return self._control_pattern.sub(lambda match: f"{opening}{match.group()}{closing}", text)

    def _template_part(self, text: str, opening: str, closing: str) -> list[int]:
        # A template that cuts inside a message may leave a single mark behind; what it marked is no whole control string any more.
        text = text.replace(opening, "").replace(closing, "")
        if not text:
            return []
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=False, verbose=False)["input_ids"]

    def _plain(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"] if text else []

    def _literal(self, text: str) -> list[int]:
        """A control string as ordinary text: the tokenizer's pipeline without its added tokens."""
        ids = self._pieces(text)
        if any(one in self._control_ids for one in ids):
            ids = [one for character in text for one in self._pieces(character) if one not in self._control_ids]
        return ids

    def _pieces(self, text: str) -> list[int]:
        backend = self.tokenizer.backend_tokenizer
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        parts = [text] if backend.pre_tokenizer is None else [part for part, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        return [token.id for part in parts for token in backend.model.tokenize(part)]

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        if not self.is_chat:
            raise ModelError("the model has no chat template", "Give a plain prompt, or choose an instruct model")
        limits = Limits(seconds=TEMPLATE_SECONDS, extra_bytes=TEMPLATE_BYTES, characters=TEMPLATE_CHARACTERS)
        try:
            return self._templates.render({"messages": messages, "add_generation_prompt": add_generation_prompt}, limits)
        except TemplateFailure as failure:
            raise ModelError(
                f"the model's chat template fails: {failure}",
                "Mend chat_template in the model folder, shorten the chat, or send the prompt as plain text",
            ) from failure


def _applied(tokenizer: Any) -> Callable[[dict[str, Any]], str]:
    """The template of a tokenizer as a function of messages; runs in the process for templates."""
    # Imported now, so that the forked process finds it there.
    from transformers.utils import chat_template_utils  # noqa: F401

    return lambda request: tokenizer.apply_chat_template(
        request["messages"], tokenize=False, add_generation_prompt=request["add_generation_prompt"]
    )


def _check_messages(messages: Sequence[Message]) -> None:
    if not messages:
        raise ConfigError("messages", "the chat has no message", "Give at least one message")
    for message in messages:
        if message.get("role") not in ROLES or not isinstance(message.get("content"), str):
            raise ConfigError(
                "messages",
                f"a message has the role {message.get('role')!r}",
                f"Give a text as content and one of these roles: {', '.join(ROLES)}",
            )


def unused_characters(text: str) -> tuple[str, str]:
    """Two private characters that the text does not hold."""
    used = set(text)
    free: Iterator[str] = (chr(code) for code in _PRIVATE_USE if chr(code) not in used)
    return next(free), next(free)
