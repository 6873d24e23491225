r"""Cleaning that loses no text: byte order mark away, "\r\n" to "\n", NUL characters away. Nothing else is touched.

Spaces, quotation marks and Unicode forms stay as they are: a vocabulary must spell the text that people really write.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class CleaningCounts:
    """How often each rule applied."""

    byte_order_marks: int = 0
    windows_line_ends: int = 0
    nul_characters: int = 0

    def to_json(self) -> dict[str, int]:
        """The three counts."""
        return dict(vars(self))


def clean(text: str, counts: CleaningCounts | None = None) -> str:
    """The cleaned text; `counts` is added to."""
    counts = counts if counts is not None else CleaningCounts()
    if text.startswith("\ufeff"):
        text = text[1:]
        counts.byte_order_marks += 1
    if "\r\n" in text:
        counts.windows_line_ends += text.count("\r\n")
        text = text.replace("\r\n", "\n")
    if "\0" in text:
        counts.nul_characters += text.count("\0")
        text = text.replace("\0", "")
    return text
