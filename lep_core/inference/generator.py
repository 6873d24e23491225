"""Answers of one model: streamed for people, in batches for measurements.

The token loop is our own (`engine.py`), over the model's layers and its key-value cache, so that an answer can stop at any token, padded
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from lep_core import models
from lep_core.inference.detokenize import StreamDecoder
from lep_core.inference.engine import Answer, Delta, Engine, Request
from lep_core.inference.prompt import Message
from lep_core.inference.sampling import GenerationSettings, greedy, prepared_logits
from lep_core.inference.shared import Body, body_of
from lep_core.inference.variant import Variant, eos_ids

__all__ = ["Answer", "BatchAnswer", "Delta", "Generator"]


class BatchAnswer(NamedTuple):
    """An answer of a batch; `token_ids` as in `Answer`."""

    text: str
    token_ids: tuple[int, ...]
    stop_reason: str


class Generator(Variant):
    """One loaded model with its tokenizer."""

    def __init__(self, model: torch.nn.Module, tokenizer: Any, *, path: Path, parameters: int) -> None:
        self.model: Any = model
        self.config: Any = self.model.config
        super().__init__(
            tokenizer,
            path=path,
            input_VD=self.model.get_input_embeddings().weight,
            head_VD=self.model.get_output_embeddings().weight,
            eos_ids=eos_ids(getattr(model, "generation_config", None), self.config, tokenizer),
            context=getattr(self.config, "max_position_embeddings", None),
            parameters=parameters,
        )
        self.body: Body = body_of(self.model)

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

    def engine(self) -> Engine:
        """A fresh engine over this model's body."""
        return Engine(self.body, parameters=self.parameters, device=self.device)

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
        start = time.monotonic()
        prompt_ids = self.prompts.encode(prompt=prompt, messages=messages)
        chat = messages is not None
        request = Request(self, prompt_ids, settings or GenerationSettings(), chat=chat, text_only=text_only, start=start)
        engine = self.engine()
        engine.add(request)
        while engine.busy:
            if should_stop():
                request.stop()
            for _, part in engine.step():
                if isinstance(part, BaseException):
                    raise part
                yield part

    def answer(self, **options: Any) -> Answer:
        """The whole answer at once; options as of `stream`."""
        *_, answer = self.stream(**options)
        assert isinstance(answer, Answer)
        return answer

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
        decoder = StreamDecoder(self.pieces, strip_first_space=self.strips_space and chat)
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
        banned_V = self.banned_V
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
