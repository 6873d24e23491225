"""The learning rate of each step: linear warm-up, then cosine, linear or constant (method section 3: cosine, 100 warm-up steps)."""

from __future__ import annotations

import math

# Beyond what any published recipe uses.
LARGE_LEARNING_RATE = 1e-2


def large_rate_warning(rate: float) -> str | None:
    """What to say about a peak rate that most models do not bear; None for others."""
    if rate <= LARGE_LEARNING_RATE:
        return None
    return f"the learning rate {rate:g} is far above what models of some size bear: they take 1e-4 to 1e-3"


def warmup_length(*, warmup_steps: int, steps: int) -> int:
    """Steps of warm-up: as configured, but at most a tenth of the training."""
    return min(warmup_steps, steps // 10)


def learning_rate_at(step: int, *, peak: float, steps: int, warmup_steps: int, schedule: str) -> float:
    """Learning rate of the update that makes `step` (1 = the first of `steps`)."""
    warmup = warmup_length(warmup_steps=warmup_steps, steps=steps)
    if step <= warmup:
        return peak * step / warmup
    if schedule == "constant":
        return peak
    # The last step still moves: the rate would reach 0 one step after it.
    done = (step - warmup - 1) / max(1, steps - warmup)
    return peak * (1 - done) if schedule == "linear" else peak * 0.5 * (1 + math.cos(math.pi * done))
