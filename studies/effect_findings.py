"""What came out of the effect study, in sentences made from its result file, the unwelcome included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from studies.effect_found import ADAPTED, CALIBRATED, CONTROL, ORIGINAL, Found, name_of
from studies.effect_plan import DEFAULT, Cell

RUSSIAN_TASKS, ENGLISH_TASKS = ("tasks", "ru"), ("tasks", "en")
RUSSIAN_TEXT, ENGLISH_TEXT = ("bits_per_byte", "ru"), ("bits_per_byte", "en")
WORDS = {
    RUSSIAN_TASKS: "Russian tasks",
    ENGLISH_TASKS: "English tasks",
    RUSSIAN_TEXT: "Russian text",
    ENGLISH_TEXT: "English text",
}


def findings(found: Found, result: Mapping[str, Any]) -> str:
    """A list; the sentences follow the numbers whichever way they go."""
    variant, initialization, method = DEFAULT
    adapted = found.cells("adapted")
    variants = {name_of(cell.variant): cell for cell in adapted if (cell.initialization, cell.method) == (initialization, method)}
    initials = {name_of(cell.initialization): cell for cell in adapted if (cell.variant, cell.method) == (variant, method)}
    methods = {name_of(cell.method): cell for cell in adapted if (cell.variant, cell.initialization) == (variant, initialization)}
    lines = (
        ("Tokens", _tokens(result)),
        ("Text", _values(found, RUSSIAN_TEXT, ENGLISH_TEXT)),
        ("Tasks", _values(found, RUSSIAN_TASKS, ENGLISH_TASKS)),
        ("Grammar", _grammar(found)),
        ("Vocabularies, against the original", _orders(found, variants, "original")),
        ("Initialisations, against the mean", _orders(found, initials, "default")),
        ("Propagation, against direct swap", _orders(found, methods, "default")),
        ("Text that deceives", _deceived(found, adapted)),
        ("Self-calibration", _calibration(found)),
        ("The traditional way, against LEP", _traditional(found)),
    )
    return "\n".join(f"- **{head}.** {text}" for head, text in lines)


def _value(found: Found, cell: Cell, column: tuple[str, str]) -> str:
    value = found.values[(cell, *column)]["value"]
    return f"{value:.3f}" if column[0] == "bits_per_byte" else f"{100 * value:.1f} %"


def _tokens(result: Mapping[str, Any]) -> str:
    rows = {row["variant"]: row for row in result["vocabularies"]}
    parts = []
    for language, name in (("ru", "Russian"), ("en", "English")):
        before, after = (rows[variant][f"characters_per_token_{language}"] for variant in ("original", DEFAULT[0]))
        parts.append(
            f"{name} {before:.2f} characters per token before, {after:.2f} with {name_of(DEFAULT[0])} ({_change(before / after - 1)} tokens)"
        )
    return "; ".join(parts) + "."


def _change(share: float) -> str:
    return "as many" if abs(share) < 0.005 else f"{share:+.0%}"


def _values(found: Found, *columns: tuple[str, str]) -> str:
    """Original, control and default cell, and the paired difference."""
    parts = []
    for column in columns:
        values = [_value(found, cell, column) for cell in (ORIGINAL, CONTROL, ADAPTED)]
        parts.append(
            f"{WORDS[column]}: original {values[0]}, new vocabulary without training {values[1]}, with LEP {values[2]}:"
            f" {found.difference(ADAPTED, column, 'original')}"
        )
    unit = "bits per byte" if columns[0][0] == "bits_per_byte" else "points"
    return "; ".join(parts) + f" {unit} to the original."


def _grammar(found: Found) -> str:
    parts = []
    for language, name in (("ru", "RuBLiMP"), ("en", "BLiMP")):
        row = found.values[ORIGINAL, "minimal_pairs", language]
        if row["low"] <= 0.5 <= row["high"]:
            parts.append(f"{name}: even the original is at chance ({100 * row['value']:.1f} %, n = {row['n']:,}), so nothing can be seen")
        else:
            change = found.difference(ADAPTED, ("minimal_pairs", language), "original")
            parts.append(f"{name}: original {100 * row['value']:.1f} % (n = {row['n']:,}), with LEP {change} points")
    return "; ".join(parts) + "."


def _orders(found: Found, cells: Mapping[str, Cell], reference: str) -> str:
    return " ".join(
        f"{WORDS[column]}: {_order(found, cells, reference, column)}."
        for column in (RUSSIAN_TASKS, ENGLISH_TASKS, RUSSIAN_TEXT, ENGLISH_TEXT)
    )


def _order(found: Found, cells: Mapping[str, Cell], reference: str, column: tuple[str, str]) -> str:
    """Who is better, who is worse, about whom nothing can be said."""
    groups: dict[str, list[str]] = {" ▲": [], " ▼": [], "": []}
    for name, cell in cells.items():
        if (cell, reference, *column) in found.differences:
            mark = found.mark(cell, column, reference)
            change = found.difference(cell, column, reference).removesuffix(mark)
            groups[mark].append(f"{name} {change}" if mark else name)
    words = {" ▲": "better", " ▼": "worse", "": "no order"}
    return "; ".join(f"{words[mark]}: {_listed(names)}" for mark, names in groups.items() if names)


def _deceived(found: Found, cells: Iterable[Cell]) -> str:
    """Results that predict Russian better than the original and answer worse."""
    names = [
        " with ".join(dict.fromkeys((name_of(cell.variant), name_of(cell.initialization)))) + f", {name_of(cell.method)}"
        for cell in cells
        if found.mark(cell, RUSSIAN_TEXT, "original") == " ▲" and found.mark(cell, RUSSIAN_TASKS, "original") == " ▼"
    ]
    return f"Better at Russian text than the original, worse at Russian tasks: {'; '.join(names) or 'none'}."


def _calibration(found: Found) -> str:
    columns = (RUSSIAN_TASKS, ENGLISH_TASKS, RUSSIAN_TEXT)
    parts = []
    for cell, name in ((CALIBRATED, "LEP"), (Cell("calibrated", *DEFAULT[:2]), "the control without training")):
        if (cell, *RUSSIAN_TASKS) in found.values:
            changes = ", ".join(f"{WORDS[column]} {found.difference(cell, column, 'before')}" for column in columns)
            parts.append(f"{name}: {changes}")
    return "After minus before: " + "; ".join(parts) + "."


def _traditional(found: Found) -> str:
    parts = []
    for made, name in (("traditional", "the adapted base tuned with the product's preset"), ("tuned-alike", "tuned as the original was")):
        cell = Cell(made, *DEFAULT[:2])
        changes = ", ".join(f"{WORDS[column]} {found.difference(cell, column, 'default')}" for column in WORDS)
        parts.append(f"{name}: {changes}")
    return "; ".join(parts) + "."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
