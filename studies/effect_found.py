"""The effect study's result by cell, and how one of its entries is written.

An entry such as `71.2 ±4.1 (68.3 to 74.0) ▲` holds the mean over seeds, half of the width of its 95 % interval over the units, the least and the
greatest seed, and a mark: ▲ better and ▼ worse than the reference of the table, where the paired interval leaves out zero and every seed
agrees; no mark, no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from studies.effect_measure import METRICS
from studies.effect_plan import DEFAULT, Cell
from studies.report import table

Row = Mapping[str, Any]
COLUMNS = {
    ("bits_per_byte", "ru"): "bits per byte, Russian",
    ("bits_per_byte", "en"): "English",
    ("tasks", "ru"): "tasks right, % Russian",
    ("tasks", "en"): "English",
    ("copy", "ru"): "lists repeated, % Russian",
    ("copy", "en"): "English",
    ("minimal_pairs", "ru"): "RuBLiMP, %",
    ("minimal_pairs", "en"): "BLiMP, %",
}
TEXT_COLUMNS = tuple(column for column in COLUMNS if column[0] in ("bits_per_byte", "minimal_pairs"))
NAMES = {
    "bpe": "BPE from nothing",
    "unigram": "Unigram from nothing",
    "continued-bpe": "continued BPE",
    "leaf-pruning": "leaf pruning",
    "swap": "direct swap",
    "residual-carry": "residual carry",
    "chat-vector": "chat vector",
    "low-rank": "low rank",
    "weighted-mean": "weighted mean",
    "focus": "FOCUS",
}
ORIGINAL = Cell("original")
CONTROL = Cell("untrained", *DEFAULT[:2])
ADAPTED = Cell("adapted", *DEFAULT)
CALIBRATED = Cell("calibrated", *DEFAULT)
MAIN = {
    ORIGINAL: "original instruct model",
    CONTROL: "control: new vocabulary, no training",
    ADAPTED: "LEP (continued BPE, mean, direct swap)",
    CALIBRATED: "LEP, self-calibrated",
    Cell("traditional", *DEFAULT[:2]): "traditional: adapted base, instruction-tuned",
    Cell("tuned-alike", *DEFAULT[:2]): "adapted base, tuned as the original was",
}


def cell_of(row: Row) -> Cell:
    """The cell that a row belongs to."""
    return Cell(row["made"], row["variant"], row["initialization"], row["method"])


def name_of(key: str) -> str:
    """What the page calls a vocabulary, an initialisation, a method."""
    return NAMES.get(key, key)


class Found:
    """The result's rows by cell."""

    def __init__(self, result: Mapping[str, Any]) -> None:
        self.values = {(cell_of(row), row["metric"], row["language"]): row for row in result["rows"]}
        self.differences = {(cell_of(row), row["reference"], row["metric"], row["language"]): row for row in result["differences"]}

    def cells(self, made: str) -> list[Cell]:
        """Measured cells of a kind, in the order of measuring."""
        return list(dict.fromkeys(cell for cell, _, _ in self.values if cell.made == made))

    def text(self, cell: Cell, column: tuple[str, str], reference: str | None) -> str:
        """One entry of a table."""
        row = self.values.get((cell, *column))
        if row is None:
            return ""
        scale, digits = (100, 1) if METRICS[column[0]] else (1, 3)
        text = f"{scale * row['value']:.{digits}f} ±{scale * (row['high'] - row['low']) / 2:.{digits}f}"
        if len(row["seeds"]) > 1:
            text += f" ({scale * min(row['seeds']):.{digits}f} to {scale * max(row['seeds']):.{digits}f})"
        return text + self.mark(cell, column, reference)

    def mark(self, cell: Cell, column: tuple[str, str], reference: str | None) -> str:
        """▲ better, ▼ worse, nothing where no order can be claimed."""
        row = self.differences.get((cell, reference, *column)) if reference else None
        if row is None or not row["sure"]:
            return ""
        return " ▲" if (row["difference"] > 0) == METRICS[column[0]] else " ▼"

    def difference(self, cell: Cell, column: tuple[str, str], reference: str) -> str:
        """A paired difference in points or bits with its interval; "" where none was measured."""
        row = self.differences.get((cell, reference, *column))
        if row is None:
            return ""
        scale, digits = (100, 1) if METRICS[column[0]] else (1, 3)
        value, low, high = (f"{scale * row[key]:+.{digits}f}" for key in ("difference", "low", "high"))
        return f"{value} [{low}, {high}]{self.mark(cell, column, reference)}"

    def table(
        self,
        heads: Sequence[str],
        rows: Iterable[tuple[Sequence[str], Cell, str | None]],
        columns: Iterable[tuple[str, str]] = COLUMNS,
    ) -> str:
        """Rows are (first entries, cell, reference of the marks)."""
        chosen = list(columns)
        lines = [[*first, *(self.text(cell, column, reference) for column in chosen)] for first, cell, reference in rows]
        return table([*heads, *(COLUMNS[column] for column in chosen)], lines)
