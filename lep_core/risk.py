"""Signs that an adapted instruct model has lost skills, and what to do: what the measurements on the demo's pair have taught.

Bits per byte do not show the loss: at the largest learning rate text was predicted best of all and tasks were answered worst. How far
training moved the rows of tokens that both vocabularies share does show it, and an anchor that holds them keeps the skills at the same
rate. A text that is repeated a hundred times costs skills without a large move. The limits lie between what kept all skills and what
lost many, on one pair of tiny models (docs/study.md); for other models they are a reason to measure tasks, not a forecast. One more cause
leaves no sign at all: skills that the training text never practises are lost, and only measured tasks tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

LARGE_MOVE = {"input": 0.35, "output": 1.5}
"""Relative move of the shared rows of embedding ("input") and head ("output") beyond which skills were lost."""
MANY_READINGS = 20
"""Passes over the text beyond which skills were lost: 4 kept them, 122 did not."""
ANCHOR_TIMES_RMS = 0.2
"""Anchor strength times the root mean square of the head's entries that held the rows where skills were kept."""
PLACES = {"input": "embedding", "output": "head"}
AFTER_A_LARGE_MOVE = "Measure tasks in both languages; compare with residual-carry, and calibrate if they fell"


@dataclass(frozen=True, kw_only=True)
class LargeMove:
    """Shared rows of a matrix ("embedding" or "head") that moved farther than `limit`, both relative to their length."""

    place: str
    relative: float
    limit: float


def large_moves(moves: Iterable[Mapping[str, Any]]) -> list[LargeMove]:
    """Those of the moves of a training (`training.move.Move`, as JSON) that were too large for comfort."""
    found = []
    for move in moves:
        limit = LARGE_MOVE.get(move["matrix"])
        if move["rows"] == "shared" and limit is not None and (move["relative"] or 0.0) > limit:
            found.append(LargeMove(place=PLACES[move["matrix"]], relative=move["relative"], limit=limit))
    return found


def move_warning(move: LargeMove) -> str:
    """A large move in words."""
    return (
        f"the {move.place}'s rows of shared tokens moved by {move.relative:.0%} of their length, more than {move.limit:.0%}: such moves cost"
        " the demo's models instruct skills, although bits per byte fell"
    )


def reading_warning(passes: float) -> str | None:
    """A text that was read too often, in words; None for others."""
    if passes <= MANY_READINGS:
        return None
    return (
        f"the text was read {passes:.0f} times, more than {MANY_READINGS}: so much repetition cost the demo's models instruct skills in both"
        " languages, although their rows moved little. Give more text, or fewer --steps"
    )


def suggested_anchor(moves: Iterable[Mapping[str, Any]]) -> float | None:
    """An anchor strength for a training whose moves are known, with one significant digit; None without a move.

    An anchor bounds how far an entry can be driven, whatever the learning rate, so entries that are twice as large bear half of it.
    """
    sizes = {move["matrix"]: move["start_rms"] for move in moves if move["start_rms"]}
    size = sizes.get("output", sizes.get("input"))
    return float(f"{ANCHOR_TIMES_RMS / size:.1g}") if size else None


def after_training(anchor: float) -> str:
    """What to do after rows have moved far."""
    return f"{AFTER_A_LARGE_MOVE}. To hold the rows, train again with --anchor {anchor:g} or a lower --learning-rate"
