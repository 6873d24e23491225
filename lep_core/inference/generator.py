"""Answers of one model: streamed for people, in batches for measurements.

The token loop is our own, over the model's forward pass and its key-value cache, so that an answer can stop at any token, padded
rows of the vocabulary are never chosen and text never holds half a character. With temperature 0 it gives the tokens of
`model.generate(do_sample=False)`.

    generator = Generator.load("models/instruct")
    for part in generator.stream(messages=[{"role": "user", "content": "Hello"}]):
        ...  # Delta objects, then one Answer

An answer ends at any id of `eos_token_id` in generation_config.json or config.json (a number or a list), after
`max_new_tokens`, or when the context is full.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from lep_core import models
from lep_core.errors import ConfigError
from lep_core.inference.detokenize import StreamDecoder, text_bytes
from lep_core.inference.fingerprint import fingerprint
from lep_core.inference.prompt import Message, PromptEncoder
from lep_core.inference.sampling import GenerationSettings, Sampler, greedy, prepared_logits

# Prompts are read in pieces of this many tokens, which bounds memory and lets a stop take effect in between.
PREFILL_TOKENS = 2048


@dataclass(frozen=True, kw_only=True)
class Delta:
    """One more token, with the text that it completes (empty for half a character); the last one may hold text only."""

    text: str
    token_id: int | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole answer; `token_ids` ends with the end token if one was chosen, and `seconds` includes reading the prompt."""

    text: str
    token_ids: tuple[int, ...]
    prompt_tokens: int
    seconds: float
    time_to_first_token_seconds: float
    stop_reason: str  # "eos", "length" (max_new_tokens), "context" (no room left) or "stopped"

    @property
    def new_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def characters(self) -> int:
        return len(self.text)

    @property
    def characters_per_second(self) -> float:
        return self.characters / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "prompt_tokens": self.prompt_tokens,
            "new_tokens": self.new_tokens,
            "characters": self.characters,
            "seconds": self.seconds,
            "characters_per_second": self.characters_per_second,
            "time_to_first_token_seconds": self.time_to_first_token_seconds,
            "stop_reason": self.stop_reason,
        }


class BatchAnswer(NamedTuple):
    """An answer of a batch; `token_ids` as in `Answer`."""

    text: str
    token_ids: tuple[int, ...]
    stop_reason: str


class Generator:
    """One loaded model with its tokenizer."""

    def __init__(self, model: torch.nn.Module, tokenizer: Any, *, path: Path, parameters: int) -> None:
        self.model: Any = model
        self.tokenizer = tokenizer
        self.path = path
        self.parameters = parameters
        self.prompts = PromptEncoder(tokenizer)
        self.pieces = text_bytes(tokenizer)
        self.config: Any = self.model.config
        self.device = next(model.parameters()).device
        self.rows: int = self.model.get_input_embeddings().weight.shape[0]
        self.context: int | None = getattr(self.config, "max_position_embeddings", None)
        self.eos_ids = frozenset(_eos_ids(model, tokenizer))
        ids = torch.tensor(sorted(set(tokenizer.get_vocab().values())), dtype=torch.long)
        self._real_ids = ids[ids < self.rows]
        self._strips_space = _strips_first_space(tokenizer, self.pieces)

    @classmethod
    def load(cls, source: str | Path, *, device: str = "auto", precision: str = "auto", threads: int | None = None) -> Self:
        """Load a model folder (or hub id); sets the number of CPU threads of this process."""
        path = models.resolve(str(source))
        folder = models.inspect_model(path)
        where = models.choose_device(device)
        torch.set_num_threads(models.choose_threads(threads, folder.parameters))
        tokenizer = models.load_tokenizer(path)
        dtype = models.choose_precision(precision, where, parameters=folder.parameters)
        model = models.load_model(path, device=str(where), dtype=dtype)
        return cls(model, tokenizer, path=path, parameters=folder.parameters)

    @property
    def is_chat(self) -> bool:
        """Whether the model has a chat template."""
        return self.prompts.is_chat

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.path)

    def banned_rows(self, *extra: Iterable[int]) -> torch.Tensor | None:
        """True for vocabulary rows that must not be chosen: padding, and the ids in `extra`; None when there are none."""
        banned_V = torch.ones(self.rows, dtype=torch.bool)
        banned_V[self._real_ids] = False
        for ids in extra:
            banned_V[[token_id for token_id in ids if token_id < self.rows]] = True
        return banned_V.to(self.device) if bool(banned_V.any()) else None

    def control_ids(self) -> set[int]:
        """Ids that stand for no text."""
        return {token_id for token_id, piece in enumerate(self.pieces) if not piece}

    def stream(
        self,
        *,
        prompt: str | None = None,
        messages: Sequence[Message] | None = None,
        settings: GenerationSettings | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        text_only: bool = False,
    ) -> Iterator[Delta | Answer]:
        """Answer one prompt: a `Delta` for each token, then one `Answer`.

        Args:
            prompt: a text to continue.
            messages: a chat for the model's chat template.
            should_stop: asked before each token.
            text_only: never end by itself and choose no control tokens (to time a given length).

        Raises:
            ConfigError: the prompt leaves no room in the context.
            ModelError: the chat template fails or the model computes NaN.
        """
        settings = settings or GenerationSettings()
        start = time.monotonic()
        prompt_ids = self.prompts.encode(prompt=prompt, messages=messages)
        room = self.checked_room(len(prompt_ids))
        budget = settings.max_new_tokens if room is None else min(settings.max_new_tokens, room)
        banned_V = self.banned_rows(self.eos_ids, self.control_ids()) if text_only else self.banned_rows()
        sampler = Sampler(settings, prompt_ids=prompt_ids, rows=self.rows, device=self.device)
        decoder = StreamDecoder(self.pieces, strip_first_space=self._strips_space and messages is not None)
        texts: list[str] = []
        token_ids: list[int] = []
        first = 0.0
        reason = "length" if budget == settings.max_new_tokens else "context"
        logits_V, cache = self._read_prompt(prompt_ids, should_stop)
        while len(token_ids) < budget:
            if logits_V is None or should_stop():
                reason = "stopped"
                break
            token = sampler.choose(logits_V, banned_V)
            token_ids.append(token)
            first = first or time.monotonic() - start
            if token in self.eos_ids and not text_only:
                reason = "eos"
                yield Delta(text="", token_id=token)
                break
            texts.append(decoder.push(token))
            yield Delta(text=texts[-1], token_id=token)
            if len(token_ids) < budget:
                logits_V, cache = self._next_logits(token, cache)
        if rest := decoder.flush():
            texts.append(rest)
            yield Delta(text=rest, token_id=None)
        yield Answer(
            text="".join(texts),
            token_ids=tuple(token_ids),
            prompt_tokens=len(prompt_ids),
            seconds=time.monotonic() - start,
            time_to_first_token_seconds=first,
            stop_reason=reason,
        )

    def answer(self, **options: Any) -> Answer:
        """The whole answer at once; options as of `stream`."""
        *_, answer = self.stream(**options)
        assert isinstance(answer, Answer)
        return answer

    def checked_room(self, prompt_tokens: int) -> int | None:
        """How many tokens the context has left after the prompt (None = no limit).

        Raises:
            ConfigError: nothing is left.
        """
        if self.context is None:
            return None
        if prompt_tokens >= self.context:
            raise ConfigError(
                "prompt",
                f"the prompt has {prompt_tokens} tokens, the context of {self.path.name} holds {self.context} including the answer",
                "Shorten the prompt or the chat",
            )
        return self.context - prompt_tokens

    @torch.inference_mode()
    def _read_prompt(self, prompt_ids: Sequence[int], should_stop: Callable[[], bool]) -> tuple[torch.Tensor | None, Any]:
        ids_1L = torch.tensor([list(prompt_ids)], dtype=torch.long, device=self.device)
        logits_V, cache = None, None
        for start in range(0, len(prompt_ids), PREFILL_TOKENS):
            if start and should_stop():
                return None, cache
            result = self.model(
                input_ids=ids_1L[:, start : start + PREFILL_TOKENS], past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            logits_V, cache = result.logits[0, -1], result.past_key_values
        return logits_V, cache

    @torch.inference_mode()
    def _next_logits(self, token: int, cache: Any) -> tuple[torch.Tensor, Any]:
        ids_11 = torch.tensor([[token]], dtype=torch.long, device=self.device)
        result = self.model(input_ids=ids_11, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return result.logits[0, -1], result.past_key_values

    def batch(
        self,
        prompts_ids: Sequence[Sequence[int]],
        *,
        max_new_tokens: int | Sequence[int],
        batch_size: int = 32,
        chat: bool = True,
        should_stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[BatchAnswer]:
        """Greedy answers to many encoded prompts, the same as one by one (in float32); prompts of similar length share a batch.

        Args:
            max_new_tokens: one limit, or one for each prompt.
            chat: the prompts end where an answer begins, so its first space is the tokenizer's (SentencePiece), not the text's.
            progress: called with the number of finished prompts.

        Returns:
            Answers in the order of the prompts; fewer have text when `should_stop` became true (`stop_reason` "stopped").
        """
        limits = [max_new_tokens] * len(prompts_ids) if isinstance(max_new_tokens, int) else list(max_new_tokens)
        rooms = [self.checked_room(len(ids)) for ids in prompts_ids]
        budgets = [limit if room is None else min(limit, room) for limit, room in zip(limits, rooms, strict=True)]
        found: list[list[int]] = [[] for _ in prompts_ids]
        order = sorted(range(len(prompts_ids)), key=lambda index: (len(prompts_ids[index]), budgets[index]))
        for start in range(0, len(order), batch_size):
            if should_stop():
                break
            part = order[start : start + batch_size]
            self._answer_batch(
                [prompts_ids[index] for index in part], [budgets[index] for index in part], [found[index] for index in part], should_stop
            )
            progress(start + len(part))
        return [self._batch_answer(ids, budget, limit, chat) for ids, budget, limit in zip(found, budgets, limits, strict=True)]

    def _batch_answer(self, token_ids: list[int], budget: int, limit: int, chat: bool) -> BatchAnswer:
        ended = bool(token_ids) and token_ids[-1] in self.eos_ids
        decoder = StreamDecoder(self.pieces, strip_first_space=self._strips_space and chat)
        text = "".join([decoder.push(token) for token in (token_ids[:-1] if ended else token_ids)]) + decoder.flush()
        if ended:
            reason = "eos"
        elif len(token_ids) < budget:
            reason = "stopped"
        else:
            reason = "length" if budget == limit else "context"
        return BatchAnswer(text, tuple(token_ids), reason)

    @torch.inference_mode()
    def _answer_batch(
        self, prompts: Sequence[Sequence[int]], budgets: Sequence[int], found: Sequence[list[int]], should_stop: Callable[[], bool]
    ) -> None:
        """Fill `found` with the answers of one batch; rows leave the batch when they end."""
        longest = max(map(len, prompts))
        ids_BL = torch.zeros((len(prompts), longest), dtype=torch.long)
        mask_BL = torch.zeros((len(prompts), longest), dtype=torch.long)
        for row, ids in enumerate(prompts):
            ids_BL[row, longest - len(ids) :] = torch.tensor(list(ids), dtype=torch.long)
            mask_BL[row, longest - len(ids) :] = 1
        ids_BL, mask_BL = ids_BL.to(self.device), mask_BL.to(self.device)
        positions_BL = (mask_BL.cumsum(dim=1) - 1).clamp(min=0)
        banned_V = self.banned_rows()
        active = list(range(len(prompts)))
        cache: Any = None
        while not should_stop():
            padded = bool((mask_BL == 0).any())
            result = self.model(
                input_ids=ids_BL,
                attention_mask=mask_BL if padded else None,
                position_ids=positions_BL,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = result.past_key_values
            tokens = greedy(prepared_logits(result.logits[:, -1], banned_V)).tolist()
            kept = []
            for position, (row, token) in enumerate(zip(active, tokens, strict=True)):
                found[row].append(token)
                if token not in self.eos_ids and len(found[row]) < budgets[row]:
                    kept.append(position)
            if not kept:
                return
            next_B1 = torch.tensor(tokens, dtype=torch.long, device=self.device)[:, None]
            last_B1 = positions_BL[:, -1:] + 1
            if len(kept) < len(active):
                index = torch.tensor(kept, dtype=torch.long, device=self.device)
                cache.batch_select_indices(index)
                next_B1, last_B1, mask_BL = next_B1[index], last_B1[index], mask_BL[index]
                active = [active[position] for position in kept]
            ids_BL, positions_BL = next_B1, last_B1
            mask_BL = torch.cat([mask_BL, torch.ones_like(next_B1)], dim=1)


def _eos_ids(model: torch.nn.Module, tokenizer: Any) -> set[int]:
    found: set[int] = set()
    for config in (getattr(model, "generation_config", None), model.config):
        value: Any = getattr(config, "eos_token_id", None)
        found.update([value] if isinstance(value, int) else value or ())
    if not found and tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    return found


def _strips_first_space(tokenizer: Any, pieces: Sequence[bytes]) -> bool:
    """Whether the tokenizer marks the beginning of a text with a space of its own, which decoding removes (SentencePiece)."""
    ids = tokenizer("a", add_special_tokens=False)["input_ids"]
    return bool(ids) and b"".join(pieces[token_id] for token_id in ids).startswith(b" ")
