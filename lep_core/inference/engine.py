"""Answers to several prompts at once over one body: prompts are read in pieces, all running answers move on together.

    engine = Engine(body)
    engine.add(Request(variant, prompt_ids, GenerationSettings(), chat=True))
    while engine.busy:
        for request, part in engine.step():
            ...  # a Delta, or at the end an Answer or the exception that ended this request

A step reads one piece of one waiting prompt and then adds one token to every running answer. A request joins the running ones as soon as
its prompt is read and leaves when it ends. Each has its own settings and random numbers, so in float32 it gives the tokens that it
gives alone. With temperature 0 these are the tokens of `model.generate(do_sample=False)`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lep_core.errors import LepError, ModelError
from lep_core.inference.detokenize import StreamDecoder
from lep_core.inference.sampling import NOT_FINITE, GenerationSettings, Sampler, prepared_logits
from lep_core.inference.shared import Body, id_of
from lep_core.inference.variant import Variant

# A piece of a prompt is about this much arithmetic, so that a stop takes effect soon and others are not kept waiting.
PIECE_FLOPS = {"cpu": 6e10, "cuda": 6e13}
PIECE_TOKENS = (64, 2048)
MOST_REQUESTS = 16
_MEMORY_WORDS = ("not enough memory", "can't allocate memory", "out of memory", "cannot allocate memory")


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


Part = Delta | Answer | BaseException


class Request:
    """One prompt and the answer so far.

    Args:
        chat: the prompt ends where an answer begins, so its first space is the tokenizer's (SentencePiece), not the text's.
        text_only: never end by itself and choose no control tokens (to time a given length).
        start: when the request was made (`time.monotonic()`).

    Raises:
        ConfigError: the prompt leaves no room in the context.
    """

    def __init__(
        self,
        variant: Variant,
        prompt_ids: Sequence[int],
        settings: GenerationSettings,
        *,
        chat: bool,
        text_only: bool = False,
        start: float | None = None,
    ) -> None:
        self.variant, self.prompt_ids = variant, list(prompt_ids)
        self.start = time.monotonic() if start is None else start
        room = variant.checked_room(len(self.prompt_ids))
        self.budget = settings.max_new_tokens if room is None else min(settings.max_new_tokens, room)
        self.reason = "length" if self.budget == settings.max_new_tokens else "context"
        self.eos_ids = frozenset() if text_only else variant.eos_ids
        self.banned_V = variant.banned_rows(variant.eos_ids, variant.control_ids()) if text_only else variant.banned_V
        self.sampler = Sampler(settings, prompt_ids=self.prompt_ids, rows=variant.rows, device=variant.device)
        self.cache: Any = None
        self.read_tokens = 0
        self.token_ids: list[int] = []
        self.stopped = False
        self._decoder = StreamDecoder(variant.pieces, strip_first_space=variant.strips_space and chat)
        self._texts: list[str] = []
        self._first = 0.0

    def stop(self) -> None:
        """End before the next token; may be called from any thread."""
        self.stopped = True

    def take(self, token: int) -> list[Part]:
        """The parts that one more token makes: a delta and, if it is the last one, the end."""
        self.token_ids.append(token)
        self._first = self._first or time.monotonic() - self.start
        if token in self.eos_ids:
            self.reason = "eos"
            return [Delta(text="", token_id=token), *self.end()]
        self._texts.append(self._decoder.push(token))
        delta = Delta(text=self._texts[-1], token_id=token)
        return [delta, *self.end()] if len(self.token_ids) >= self.budget else [delta]

    def end(self) -> list[Part]:
        """The text of an unfinished character, if there is one, and the answer."""
        self.cache = None
        rest = self._decoder.flush()
        self._texts.append(rest)
        answer = Answer(
            text="".join(self._texts),
            token_ids=tuple(self.token_ids),
            prompt_tokens=len(self.prompt_ids),
            seconds=time.monotonic() - self.start,
            time_to_first_token_seconds=self._first,
            stop_reason=self.reason,
        )
        return [Delta(text=rest, token_id=None), answer] if rest else [answer]


class Engine:
    """Moves all requests of one body on; used from one thread."""

    def __init__(self, body: Body, *, parameters: int, device: torch.device, most_requests: int = MOST_REQUESTS) -> None:
        self.body = body
        self._most = most_requests
        self._waiting: deque[Request] = deque()
        self._reading: deque[Request] = deque()
        self._running: list[Request] = []
        smallest, largest = PIECE_TOKENS
        tokens = PIECE_FLOPS.get(device.type, PIECE_FLOPS["cuda"]) / (2 * max(parameters, 1))
        self._piece = max(smallest, min(largest, int(tokens)))

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._reading or self._running)

    @property
    def requests(self) -> list[Request]:
        """All that have not ended."""
        return [*self._waiting, *self._reading, *self._running]

    def add(self, request: Request) -> None:
        """Answer a request; its parts come from the following steps."""
        self._waiting.append(request)

    def remove(self, request: Request) -> None:
        """Forget a request, whatever its state."""
        for queue in (self._waiting, self._reading, self._running):
            if request in queue:
                queue.remove(request)
        request.cache = None

    def step(self) -> list[tuple[Request, Part]]:
        """One piece of one prompt, one token of every running answer."""
        parts: list[tuple[Request, Part]] = []
        for request in [one for one in self.requests if one.stopped]:
            self.remove(request)
            request.reason = "stopped"
            parts += [(request, part) for part in request.end()]
        while self._waiting and len(self._reading) + len(self._running) < self._most:
            self._reading.append(self._waiting.popleft())
        if self._reading:
            parts += self._read_piece(self._reading.popleft())
        size = self.body.batch_sequences
        running = list(self._running)
        for start in range(0, len(running), size):
            parts += self._next_tokens(running[start : start + size])
        return parts

    def _read_piece(self, request: Request) -> list[tuple[Request, Part]]:
        """A piece of a prompt; several prompts take turns, so that a short one need not wait for a long one."""
        ids = request.prompt_ids[request.read_tokens : request.read_tokens + self._piece]
        last = request.read_tokens + len(ids) == len(request.prompt_ids)
        try:
            if request.cache is None:
                request.cache = self.body.new_cache(len(request.prompt_ids), len(request.prompt_ids) + request.budget)
            logits_V = self.body.read(request.variant, ids, request.cache, last=last)
        except (LepError, RuntimeError, MemoryError) as error:
            request.cache = None
            return [(request, error)]
        request.read_tokens += len(ids)
        if logits_V is None or not last:
            self._reading.append(request)
            return []
        self._running.append(request)
        # Neighbours of one variant share one product with its head.
        self._running.sort(key=lambda one: id_of(one.variant))
        return self._choose([request], [logits_V[None]])

    def _next_tokens(self, requests: list[Request]) -> list[tuple[Request, Part]]:
        try:
            logits = self.body.step(
                [one.variant for one in requests], [one.token_ids[-1] for one in requests], [one.cache for one in requests]
            )
        except (LepError, RuntimeError, MemoryError) as error:
            if len(requests) > 1 and is_out_of_memory(error):
                # Nothing has moved on: fewer at a time may fit, and only who does not fit alone has to go.
                half = len(requests) // 2
                return self._next_tokens(requests[:half]) + self._next_tokens(requests[half:])
            for request in requests:
                self.remove(request)
            return [(request, error) for request in requests]
        return self._choose(requests, logits)

    def _choose(self, requests: Sequence[Request], logits: Sequence[torch.Tensor]) -> list[tuple[Request, Part]]:
        """The next token of each request from its row of the logits (G, V), which follow one another."""
        parts: list[tuple[Request, Part]] = []
        begin = 0
        for logits_GV in logits:
            group = requests[begin : begin + len(logits_GV)]
            begin += len(logits_GV)
            for request, token in zip(group, _tokens(group, logits_GV), strict=True):
                found: list[Part] = [token] if isinstance(token, LepError) else request.take(token)
                if not isinstance(found[-1], Delta):
                    self.remove(request)
                parts += [(request, part) for part in found]
        return parts


@torch.inference_mode()
def _tokens(requests: Sequence[Request], logits_GV: torch.Tensor) -> list[int | LepError]:
    """A token for each request of one variant, or why there is none."""
    plain = all(one.sampler.is_plain and one.banned_V is requests[0].banned_V for one in requests)
    if plain:
        # One look at the device for all of them.
        largest_G, tokens_G = prepared_logits(logits_GV, requests[0].banned_V).max(dim=-1)
        finite, tokens = torch.stack([torch.isfinite(largest_G).long(), tokens_G]).tolist()
        return [token if is_finite else ModelError(*NOT_FINITE) for token, is_finite in zip(tokens, finite, strict=True)]
    found: list[int | LepError] = []
    for request, logits_V in zip(requests, logits_GV, strict=True):
        try:
            found.append(request.sampler.choose(logits_V, request.banned_V))
        except ModelError as error:
            found.append(error)
    return found


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory was not enough."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)
