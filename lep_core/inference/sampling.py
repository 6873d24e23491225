"""How the next token is chosen from the model's logits.

The order is that of `transformers`: repetition penalty, temperature, top-k, top-p. Shapes: `logits_BV` (batch, vocabulary rows).
Rows that no token of the tokenizer stands for (vocabulary padding) are never chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lep_core.config import Config, option
from lep_core.errors import ModelError

NOT_FINITE = ("the model computes NaN or infinite logits", "Check its weights, or compute in float32 with --precision float32")


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(Config):
    """Settings of one answer; a temperature of 0 always takes the likeliest token and uses no random numbers."""

    max_new_tokens: int = option(256, help="longest answer", unit="tokens", minimum=1, maximum=131_072)
    temperature: float = option(0.0, help="0 = always the likeliest token", minimum=0.0, maximum=100.0)
    top_p: float = option(1.0, help="sample from the likeliest tokens that together hold this probability", minimum=0.0, maximum=1.0)
    top_k: int = option(0, help="sample from this many likeliest tokens; 0 = all", minimum=0, maximum=10_000_000)
    repetition_penalty: float = option(1.0, help="above 1 discourages repetition", minimum=0.1, maximum=10.0)
    seed: int = option(0, help="seed of the random numbers", minimum=0, maximum=2**32 - 1)


class Sampler:
    """Chooses tokens for one answer; keeps the answer's random numbers and the tokens seen so far.

    Attributes:
        is_plain: it always takes the likeliest token and looks at nothing else.
    """

    def __init__(self, settings: GenerationSettings, *, prompt_ids: Sequence[int], rows: int, device: torch.device) -> None:
        self.settings = settings
        self.is_plain = settings.temperature == 0.0 and settings.repetition_penalty == 1.0
        self._generator = torch.Generator(device=device)
        self._generator.manual_seed(settings.seed)
        self._seen_V: torch.Tensor | None = None
        if settings.repetition_penalty != 1.0:
            self._seen_V = torch.zeros(rows, dtype=torch.bool, device=device)
            self._seen_V[torch.tensor(list(prompt_ids), dtype=torch.long, device=device)] = True

    def choose(self, logits_V: torch.Tensor, banned_V: torch.Tensor | None) -> int:
        """The next token id for logits of shape (V,); `banned_V` is True for rows that must not be chosen."""
        logits_V = prepared_logits(logits_V, banned_V)
        settings = self.settings
        if self._seen_V is not None:
            penalty = settings.repetition_penalty
            punished_V = torch.where(logits_V < 0, logits_V * penalty, logits_V / penalty)
            logits_V = torch.where(self._seen_V, punished_V, logits_V)
        if settings.temperature == 0.0:
            token = int(greedy(logits_V[None])[0])
        else:
            checked_finite(logits_V.max())
            probabilities_V = filtered_probabilities(logits_V, settings)
            token = int(torch.multinomial(probabilities_V, 1, generator=self._generator))
        if self._seen_V is not None:
            self._seen_V[token] = True
        return token


def prepared_logits(logits_V: torch.Tensor, banned_V: torch.Tensor | None) -> torch.Tensor:
    """Logits in float32 with banned rows (last dimension) at minus infinity."""
    logits_V = logits_V.float()
    return logits_V if banned_V is None else logits_V.masked_fill(banned_V, float("-inf"))


def greedy(logits_BV: torch.Tensor) -> torch.Tensor:
    """The likeliest token of each row; the first of equals, as `transformers` does."""
    largest_B, tokens_B = logits_BV.max(dim=-1)
    checked_finite(largest_B)
    return tokens_B


def checked_finite(largest: torch.Tensor) -> None:
    """Raise `ModelError` when the largest logits are not finite (a NaN anywhere in a row makes its maximum NaN)."""
    if not bool(torch.isfinite(largest).all()):
        raise ModelError(*NOT_FINITE)


def filtered_probabilities(logits_V: torch.Tensor, settings: GenerationSettings) -> torch.Tensor:
    """Probabilities after temperature, top-k and top-p; at least one token is always left."""
    # Shifting by the maximum first keeps tiny temperatures finite.
    logits_V = (logits_V - logits_V.max()) / settings.temperature
    if 0 < settings.top_k < logits_V.numel():
        smallest_kept = torch.topk(logits_V, settings.top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < smallest_kept, float("-inf"))
    if settings.top_p < 1.0:
        ordered_V, order_V = torch.sort(logits_V, descending=True, stable=True)
        probabilities_V = torch.softmax(ordered_V, dim=-1)
        before_V = probabilities_V.cumsum(dim=-1) - probabilities_V
        dropped_V = before_V >= settings.top_p
        dropped_V[0] = False
        logits_V = logits_V.masked_fill(torch.zeros_like(dropped_V).scatter(0, order_V, dropped_V), float("-inf"))
    return torch.softmax(logits_V, dim=-1)
