"""Characters per token against vocabulary size, from one training (method, section 1).

BPE is nested: the first k new tokens of a long training are those of a short one. Each time a token is made of its parts, the text
becomes shorter by one. So how often each token was made tells how many tokens the text has with only the first k of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

POINTS = 8
_STEP = 2.0


def sizes(wanted: int) -> list[int]:
    """Up to `POINTS` - 1 sizes, each twice the one before, up to `wanted`."""
    return sorted({round(wanted / _STEP**power) for power in range(POINTS - 1)} - {0})


def growing_curve(
    parts: Mapping[str, Sequence[str]], counts: Mapping[str, int], *, characters: int, vocab_size: int, before: tuple[int, float]
) -> list[dict[str, Any]]:
    """Points for the first k new tokens.

    Args:
        parts: the new tokens in the order in which they were found, with what each is made of; empty for a character that was spelled in bytes.
        counts: how often each token of the new vocabulary stands in the encoded sample.
        characters: length of the sample.
        vocab_size: size with all new tokens.
        before: vocabulary size and characters per token of the old tokenizer, the first point.
    """
    made = dict(counts)
    for token in reversed(list(parts)):
        for part in parts[token]:
            made[part] = made.get(part, 0) + made.get(token, 0)
    saved = [made.get(token, 0) * (len(pieces) - 1 if pieces else len(token.encode()) - 1) for token, pieces in parts.items()]
    tokens, total = sum(counts.values()), len(parts)
    points = [{"new_tokens": 0, "vocab_size": before[0], "characters_per_token": before[1]}]
    for size in sizes(total):
        spent = tokens + sum(saved[size:])
        rate = characters / spent if spent else 0.0
        points.append({"new_tokens": size, "vocab_size": vocab_size - (total - size), "characters_per_token": rate})
    return points


def shrinking_curve(steps: Sequence[tuple[int, int]], *, before: float) -> list[dict[str, Any]]:
    """Points for vocabularies that only lose tokens; `before` is the rate at the first step."""
    if not steps:
        return []
    last = len(steps) - 1
    chosen = sorted({round(last * point / (POINTS - 1)) for point in range(POINTS)})
    start = steps[0][1]
    return [
        {"new_tokens": 0, "vocab_size": steps[index][0], "characters_per_token": before * start / max(1, steps[index][1])}
        for index in chosen
    ]
