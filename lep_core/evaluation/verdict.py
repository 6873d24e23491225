"""What the measurements say, in sentences: computed from the numbers, the unwelcome ones included.

Statements are codes with values, so that every language of the user interface has its own words for them; `in_english` is for the
command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lep_core.risk import large_moves

BITS_PER_BYTE = "bits-per-byte"
INSTRUCT = "instruct/"
# Without a paired interval: a task score that fell by no more than this share of all items is called kept.
TOLERANCE = 0.03

ENGLISH = {
    "fewer_tokens": "{saved:.0%} fewer tokens for the same text: {before:.3f} tokens per character before, {after:.3f} after.",
    "more_tokens": "The new vocabulary needs {more:.0%} more tokens for the same text. It does not fit this text: build it on text like this.",
    "text_better": "{model}: text is predicted better than by the original: {value:.3f} bits per byte against {original:.3f}.",
    "text_worse": "{model}: text is predicted worse than by the original: {value:.3f} bits per byte against {original:.3f}. Train longer or on more text.",
    "training_helped": "{model}: training was worth {gain:.3f} bits per byte: {control:.3f} with averaged rows only, {value:.3f} after it.",
    "training_did_not_help": "{model}: training did not help: {control:.3f} bits per byte with averaged rows only, {value:.3f} after it. Try another learning rate.",
    "skill_kept": "{model}: tasks in {language} are kept: {value:.1%} right, {original:.1%} by the original (n = {n}).",
    "skill_better": "{model}: tasks in {language} are answered better: {value:.1%} right, {original:.1%} by the original (n = {n}).",
    "skill_suffers": "{model}: tasks in {language} suffer: {value:.1%} right, {original:.1%} by the original, {control:.1%} without training (n = {n}).",
    "skill_fell": "{model}: instruct skills in {language} suffered: {value:.1%} right, {original:.1%} by the original, {points:+.1f} points [{low:+.1f}, {high:+.1f}] (n = {n}).",
    "skill_unclear": "{model}: tasks in {language}: {value:.1%} right, {original:.1%} by the original; {points:+.1f} points [{low:+.1f}, {high:+.1f}] may be chance (n = {n}). More items would tell.",
    "text_hid_it": "{model}: bits per byte say nothing of that: {value:.3f} against {original:.3f}, better than the original.",
    "large_move": "Training moved the {place}'s rows of shared tokens by {relative:.0%} of their length. Beyond {limit:.0%} the demo's models lost skills; how it is with other models only tasks tell.",
    "what_helps": "Recommended: self-calibration on the original's own answers. For the next training: text that holds questions and answers of the kind that is "
    "asked, and an anchor or a lower learning rate. residual-carry lost least where rows had moved far.",
    "faster": "{model}: writes {ratio:.2f} times as many characters per second as the original.",
    "not_faster": "{model}: writes {ratio:.2f} times as many characters per second as the original: the larger vocabulary costs more than it saves on this model.",
}


@dataclass(frozen=True)
class Statement:
    """`code` is a key of `ENGLISH`; `values` fill its text; `good` is None for neutral advice."""

    code: str
    values: Mapping[str, Any]
    good: bool | None

    def in_english(self) -> str:
        return ENGLISH[self.code].format(**self.values)


def verdict(
    *,
    fertility: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    speed: Sequence[Mapping[str, Any]],
    original: str,
    control: str | None,
    adapted: Sequence[str],
    differences: Sequence[Mapping[str, Any]] = (),
    moves: Iterable[Mapping[str, Any]] = (),
) -> list[Statement]:
    """Judge adapted models against the original and the "no training" control.

    Args:
        fertility: rows of `measure-fertility`, old tokenizer first, new one second; may be empty.
        results: rows of `evaluate` (`model, task, metric, value, low, high, n`).
        speed: rows of `benchmark-speed`; may be empty.
        original, control, adapted: values of `model` in these rows.
        differences: rows of `evaluate` that compare models on the same items (`model, reference, task, difference, low, high`): a skill is
            then called lost or better only when the interval leaves zero out.
        moves: how far training moved the rows (`TrainReport.moves`).
    """
    statements = []
    if len(fertility) >= 2:
        statements.append(_tokens(fertility[0], fertility[1]))
    for model in adapted:
        statements += _text(results, model, original, control)
    suffered = False
    for model in adapted:
        skills = [_skill(task, results, differences, model, original, control) for task in _tasks(results)]
        statements += [skill for skill in skills if skill is not None]
        if any(skill is not None and skill.good is False for skill in skills):
            suffered = True
            statements += _hidden(results, model, original)
    statements += [Statement("large_move", asdict(move), None) for move in large_moves(moves)]
    if suffered:
        statements.append(Statement("what_helps", {}, None))
    for model in adapted:
        statements += _speed(speed, model, original)
    return statements


def _tokens(before: Mapping[str, Any], after: Mapping[str, Any]) -> Statement:
    old, new = (1 / row["characters_per_token"] for row in (before, after))
    if new < old:
        return Statement("fewer_tokens", {"saved": 1 - new / old, "before": old, "after": new}, True)
    return Statement("more_tokens", {"more": new / old - 1, "before": old, "after": new}, False)


def _text(results: Sequence[Mapping[str, Any]], model: str, original: str, control: str | None) -> list[Statement]:
    value, reference, untrained = (_value(results, name, BITS_PER_BYTE) for name in (model, original, control))
    statements = []
    if value is not None and reference is not None:
        better = value < reference
        statements.append(
            Statement("text_better" if better else "text_worse", {"model": model, "value": value, "original": reference}, better)
        )
    if value is not None and untrained is not None:
        helped = value < untrained
        values = {"model": model, "value": value, "control": untrained, "gain": untrained - value}
        statements.append(Statement("training_helped" if helped else "training_did_not_help", values, helped))
    return statements


def _hidden(results: Sequence[Mapping[str, Any]], model: str, original: str) -> list[Statement]:
    """Bits per byte that recovered while skills did not."""
    value, reference = (_value(results, name, BITS_PER_BYTE) for name in (model, original))
    if value is None or reference is None or value >= reference:
        return []
    return [Statement("text_hid_it", {"model": model, "value": value, "original": reference}, None)]


def _skill(
    task: str,
    results: Sequence[Mapping[str, Any]],
    differences: Sequence[Mapping[str, Any]],
    model: str,
    original: str,
    control: str | None,
) -> Statement | None:
    row, reference = _row(results, model, task), _row(results, original, task)
    if row is None or reference is None:
        return None
    language = task.removeprefix(INSTRUCT)
    values = {"model": model, "language": language, "value": row["value"], "original": reference["value"], "n": row["n"]}
    paired = next((one for one in differences if (one["model"], one["reference"], one["task"]) == (model, original, task)), None)
    if paired is not None and paired["low"] is not None:
        points = {"points": 100 * paired["difference"], "low": 100 * paired["low"], "high": 100 * paired["high"]}
        if paired["high"] < 0:
            return Statement("skill_fell", {**values, **points}, False)
        if paired["difference"] < -TOLERANCE:
            return Statement("skill_unclear", {**values, **points}, None)
        return Statement("skill_better" if paired["low"] > 0 else "skill_kept", values, True)
    # Without pairs losses are called early, gains only when the intervals are apart.
    if row["value"] < reference["value"] - TOLERANCE:
        untrained = _value(results, control, task)
        return Statement("skill_suffers", {**values, "control": float("nan") if untrained is None else untrained}, False)
    return Statement("skill_better" if row["low"] > reference["high"] else "skill_kept", values, True)


def _speed(speed: Sequence[Mapping[str, Any]], model: str, original: str) -> list[Statement]:
    # Ratios are medians of pairs measured in turn, so that other work on the machine hits both alike; all relate to the first model.
    ratios = {row["model"]: row["characters_per_second_ratio"] for row in speed}
    if not ratios.get(original) or not ratios.get(model):
        return []
    ratio = ratios[model] / ratios[original]
    return [Statement("faster" if ratio > 1 else "not_faster", {"model": model, "ratio": ratio}, ratio > 1)]


def _tasks(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["task"] for row in results if row["task"].startswith(INSTRUCT)))


def _value(results: Sequence[Mapping[str, Any]], model: str | None, task: str) -> float | None:
    row = _row(results, model, task)
    return None if row is None else row["value"]


def _row(results: Sequence[Mapping[str, Any]], model: str | None, task: str) -> Mapping[str, Any] | None:
    return next((row for row in results if row["model"] == model and row["task"] == task), None)
