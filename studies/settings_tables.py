"""Tables, sentences and the plot of `studies.settings` for docs/study.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from studies import svg
from studies.report import table

LARGE_RATE, HELD = "learning_rate 0.016", "anchor 1.0, anchor_rows shared"


def sections(result: Mapping[str, Any]) -> dict[str, str]:
    """Tables of docs/study.md."""
    rows = result["rows"]
    first = result["config"]["seeds"][0]
    return {
        "findings": _findings([row for row in rows if row["seed"] == first]),
        "axes": _axes_table([row for row in rows if row["seed"] == first and row["method"] == "swap"]),
        "methods": _methods_table([row for row in rows if row["seed"] == first]),
        "seeds": _seeds_table([row for row in rows if row["method"] == "swap"]),
        "sizes": _sizes(result),
    }


def _findings(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the table says, in sentences; a sentence whose runs are missing is left out."""
    found = {(row["changes"], row["method"]): row for row in rows}
    sentences = {
        (
            LARGE_RATE,
        ): "**The size of the move.** At four times the learning rate Russian text is predicted best ({large.ru_bits:.3f} bits per byte,"
        " {default.ru_bits:.3f} by default, {default.ru_bits_original:.3f} by the original) and tasks are answered worst: {large.ru:.1%} right in Russian and"
        " {large.en:.1%} in English, where the default has {default.ru:.1%} and {default.en:.1%} and the original {default.ru_original:.1%} and {default.en_original:.1%}.",
        (
            LARGE_RATE,
            f"{LARGE_RATE}, {HELD}",
        ): "**The anchor.** At the same rate, with shared rows held by an anchor of 1, {both.ru:.1%} and {both.en:.1%} are right at"
        " {both.ru_bits:.3f} bits per byte: not the rate costs the skills, but how far shared rows move (head {large.move_output_shared:.2f} times their length without"
        " the anchor, {both.move_output_shared:.2f} with it).",
        (
            LARGE_RATE,
            f"{LARGE_RATE}, anchor 1.0",
        ): "Held are shared rows only: an anchor on all rows keeps the skills as well ({all.ru:.1%} and {all.en:.1%}), but new rows"
        " have to move, and Russian stays at {all.ru_bits:.3f} bits per byte.",
        (
            "question_share 0.0",
        ): "**The text.** Without lines of questions and answers in the training text Russian falls to {plain.ru:.1%} although bits per byte"
        " ({plain.ru_bits:.3f}) beat the original's {plain.ru_bits_original:.3f}; English keeps {plain.en:.1%}. Rows move as far as by default, and nothing but measured tasks shows it.",
        ("question_share 0.05",): "One line in twenty brings {few.ru:.1%}; the default text has eleven in twenty.",
        (
            "text_bytes 60000",
        ): "**Repetition.** The same steps over a text of 60 KB ({small.passes:.0f} passes) leave {small.ru:.1%} in Russian and {small.en:.1%} in English; 2 MB"
        " ({default.passes:.1f} passes) are as good as text that never repeats.",
        (
            "question_share 0.0, calibrated True",
        ): "**Calibration** on the original's own answers to other questions brings the model of the text without questions from {plain.ru:.1%} to"
        " {cured.ru:.1%} in Russian (English {cured.en:.1%}).",
        (
            f"{LARGE_RATE}, calibrated True",
        ): "After the large move it brings Russian from {large.ru:.1%} to {mended.ru:.1%} and English from {large.en:.1%} to {mended.en:.1%}.",
        ("new_rows_only True",): "**New rows only**: {new.ru:.1%} in Russian, {new.en:.1%} in English: shared rows have to learn too.",
        (
            "new_tokens 125",
            "new_tokens 1000",
        ): "**Shared tokens.** 125 new tokens: {fewer.ru:.1%}; 500: {default.ru:.1%}; 1,000: {more.ru:.1%} in Russian.",
        (
            "pair tied",
        ): "**Tied** embedding and head, a pair of its own: {tied.ru:.1%} in Russian ({tied.ru_original:.1%} by its original) and {tied.en:.1%} in English"
        " ({tied.en_original:.1%}).",
    }
    named = {
        "default": "default",
        "large": LARGE_RATE,
        "both": f"{LARGE_RATE}, {HELD}",
        "all": f"{LARGE_RATE}, anchor 1.0",
        "plain": "question_share 0.0",
        "few": "question_share 0.05",
        "small": "text_bytes 60000",
        "cured": "question_share 0.0, calibrated True",
        "mended": f"{LARGE_RATE}, calibrated True",
        "new": "new_rows_only True",
        "fewer": "new_tokens 125",
        "more": "new_tokens 1000",
        "tied": "pair tied",
    }
    values = {name: SimpleNamespace(**found[changes, "swap"]) for name, changes in named.items() if (changes, "swap") in found}
    said = [f"- {text.format(**values)}" for needed, text in sentences.items() if all((changes, "swap") in found for changes in needed)]
    carried = found.get((LARGE_RATE, "residual-carry"))
    if carried is not None:
        swapped = found[LARGE_RATE, "swap"]
        said.append(
            f"- **Methods.** After the large move residual carry keeps {carried['ru']:.1%} and {carried['en']:.1%} where swap keeps {swapped['ru']:.1%} and"
            f" {swapped['en']:.1%}. Where little was lost, the methods lie together."
        )
    return "\n".join(said)


def _axes_table(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = ["changed", "Russian right, change", "English right, change", "Russian bits/byte", "English bits/byte", "passes"]
    heads += ["embedding moved: shared", "new", "head moved: shared", "new"]
    lines = []
    for row in rows:
        skills = [_points(row, language) for language in ("ru", "en")]
        bits = [f"{row['ru_bits']:.3f}", f"{row['en_bits']:.3f}", f"{row['passes']:.1f}"]
        moves = [_percent(row.get(f"move_{matrix}_{group}")) for matrix in ("input", "output") for group in ("shared", "new")]
        lines.append([row["changes"], *skills, *bits, *moves])
    return table(heads, lines)


def _methods_table(rows: Sequence[Mapping[str, Any]]) -> str:
    settings = list(dict.fromkeys(row["changes"] for row in rows))
    found = {(row["changes"], row["method"]): row for row in rows}
    methods = list(dict.fromkeys(row["method"] for row in rows))
    heads = ["changed", *(f"{language}: {method}" for language in ("Russian", "English") for method in methods)]
    lines = [
        [changes, *(f"{100 * found[changes, method][language]:.1f}" for language in ("ru", "en") for method in methods)]
        for changes in settings
        if (changes, methods[-1]) in found
    ]
    return table(heads, lines)


def _seeds_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for changes in dict.fromkeys(row["changes"] for row in rows):
        own = [row for row in rows if row["changes"] == changes]
        if len(own) > 1:
            cells = [", ".join(f"{100 * row[language]:.1f}" for row in own) for language in ("ru", "en")]
            lines.append([changes, str(len(own)), *cells, ", ".join(f"{row['ru_bits']:.3f}" for row in own)])
    return table(["changed", "seeds", "Russian right, %", "English right, %", "Russian bits/byte"], lines)


def _sizes(result: Mapping[str, Any]) -> str:
    row, runs = result["rows"][0], len(result["rows"]) // len(result["config"]["methods"])
    return (
        f"{runs} runs, {result['cpu_seconds'] / 60:.0f} CPU minutes; n = {row['n_ru']} Russian and {row['n_en']} English questions, of which the"
        f" original answers {100 * row['ru_original']:.1f} and {100 * row['en_original']:.1f} % right at {row['ru_bits_original']:.3f} and"
        f" {row['en_bits_original']:.3f} bits per byte."
    )


def plots(result: Mapping[str, Any]) -> dict[str, str]:
    """Skills kept against the size of the move."""
    first = result["config"]["seeds"][0]
    rows = [row for row in result["rows"] if row["seed"] == first and row["method"] == "swap" and row["pair"] == "untied"]
    default = next(row for row in rows if row["axis"] == "default")
    series = {}
    for axis in ("learning rate", "anchor", "anchor at a large rate", "repetition", "text", "steps", "new tokens"):
        own = sorted([default, *(row for row in rows if row["axis"].split(",")[0] == axis)], key=lambda row: row["move_output_shared"])
        if len(own) > 1:
            series[axis] = [
                svg.Point(row["move_output_shared"], *(100 * row[f"ru_{end}"] for end in ("difference", "low", "high"))) for row in own
            ]
    return {
        "move": svg.lines(
            "Russian tasks after adaptation against the move of the head's shared rows",
            series,
            x_label="move of the head's shared rows, relative to their length",
            y_label="points against the original",
            level=("as the original", 0.0),
        )
    }


def _points(row: Mapping[str, Any], language: str) -> str:
    """ "97.0 %, +5.3 [+2.0, +9.0]" """
    change = ", ".join(f"{100 * row[f'{language}_{end}']:+.1f}" for end in ("low", "high"))
    return f"{100 * row[language]:.1f} %, {100 * row[f'{language}_difference']:+.1f} [{change}]"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
