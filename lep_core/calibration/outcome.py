"""What calibration has done, in numbers and sentences: before against after on the same items and the same text.

Gains and losses are called so only when the interval of the paired difference leaves zero out; everything else is "not shown".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BEFORE, AFTER, TEACHER = "before", "after", "teacher"
INSTRUCT, BITS_PER_BYTE = "instruct", "bits-per-byte"
# What calibration may cost in bits per byte, as a share.
TOLERATED_BITS = 0.02

ENGLISH = {
    "accuracy_up": "Right answers{language}: {before:.1%} before, {after:.1%} after: {difference:+.1%} [{low:+.1%}, {high:+.1%}], n = {n}. Calibration helped.",
    "accuracy_down": "Right answers{language}: {before:.1%} before, {after:.1%} after: {difference:+.1%} [{low:+.1%}, {high:+.1%}], n = {n}. Calibration has cost"
    " skill: try a smaller learning rate, fewer steps or more varied prompts.",
    "accuracy_open": "Right answers{language}: {before:.1%} before, {after:.1%} after: {difference:+.1%} [{low:+.1%}, {high:+.1%}], n = {n}. No difference is shown.",
    "bits_kept": "Bits per byte: {before:.4f} before, {after:.4f} after ({change:+.1%}), within the 2 % that calibration may cost.",
    "bits_worse": "Bits per byte: {before:.4f} before, {after:.4f} after ({change:+.1%}): more than the 2 % that calibration may cost. Fewer steps, a smaller"
    " learning rate or more copy tasks help.",
    "not_measured": "Nothing was measured: give --items and --input (or --heldout) to see before and after.",
}


@dataclass(frozen=True)
class Statement:
    """`code` is a key of `ENGLISH`; `values` fill its text; `good` is None where nothing is shown either way."""

    code: str
    values: Mapping[str, Any]
    good: bool | None

    def in_english(self) -> str:
        language = self.values.get("language")
        return ENGLISH[self.code].format(**{**self.values, "language": f", {language}" if language else ""})

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "values": dict(self.values), "good": self.good, "text": self.in_english()}


def outcome(results: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]) -> list[Statement]:
    """Sentences about rows of `evaluate` whose models are called before, after and (if measured) teacher; differences are after - before."""
    statements = []
    for row in differences:
        if row["model"] != AFTER or row["task"].partition("/")[0] != INSTRUCT:
            continue
        values = {
            "language": row["task"].partition("/")[2],
            "before": _value(results, BEFORE, row["task"]),
            "after": _value(results, AFTER, row["task"]),
            **{name: row[name] for name in ("difference", "low", "high", "n")},
        }
        low, high = row["low"], row["high"]
        if low is None or high is None:
            # One item alone tells nothing about chance.
            values |= {"low": row["difference"], "high": row["difference"]}
            statements.append(Statement("accuracy_open", values, None))
        elif low > 0:
            statements.append(Statement("accuracy_up", values, True))
        elif high < 0:
            statements.append(Statement("accuracy_down", values, False))
        else:
            statements.append(Statement("accuracy_open", values, None))
    before, after = (_value(results, model, BITS_PER_BYTE) for model in (BEFORE, AFTER))
    if before is not None and after is not None:
        change = after / before - 1 if before else 0.0
        kept = change <= TOLERATED_BITS
        statements.append(Statement("bits_kept" if kept else "bits_worse", {"before": before, "after": after, "change": change}, kept))
    return statements or [Statement("not_measured", {}, None)]


def _value(results: Sequence[Mapping[str, Any]], model: str, task: str) -> float | None:
    return next((row["value"] for row in results if row["model"] == model and row["task"] == task), None)
