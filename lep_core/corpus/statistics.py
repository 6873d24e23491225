"""What a corpus holds: documents, characters, words, bytes, shares of scripts, and how long documents are.

Word = maximal run of characters that are not Unicode white space. Script shares are shares of all letters and digits
(combining marks of a script count as its letters).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

SCRIPTS = (
    ("Latin", ((0x41, 0x24F), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xFF21, 0xFF5A))),
    ("Cyrillic", ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F))),
    ("Greek", ((0x370, 0x3FF), (0x1F00, 0x1FFF))),
    ("Arabic", ((0x600, 0x6FF), (0x750, 0x77F), (0x870, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFE))),
    ("Devanagari", ((0x900, 0x97F), (0xA8E0, 0xA8FF))),
    ("Han", ((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))),
    ("Hangul", ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF))),
    ("Kana", ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F))),
    ("Georgian", ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F))),
    ("Armenian", ((0x530, 0x58F), (0xFB13, 0xFB17))),
    ("Hebrew", ((0x590, 0x5FF), (0xFB1D, 0xFB4F))),
    ("Thai", ((0xE00, 0xE7F),)),
)
CLASSES = (*(name for name, _ in SCRIPTS), "digits", "other")
_DIGITS, _OTHER, _NOTHING = len(SCRIPTS), len(SCRIPTS) + 1, len(SCRIPTS) + 2
_PIECE_CHARACTERS = 1 << 18  # fits the processor's caches
_TABLE_SIZE = 0x32400  # letters above are too rare to tell apart; they count as "other"


class Statistics:
    """Running totals over batches of documents."""

    def __init__(self) -> None:
        self.documents = self.characters = self.words = self.bytes = 0
        self._classes = [0] * (_NOTHING + 1)
        self._lengths: dict[int, int] = {}

    def add(self, texts: Sequence[str]) -> None:
        """Count a batch."""
        import numpy as np

        self.documents += len(texts)
        for text in texts:
            self.words += len(text.split())
            bucket = len(text).bit_length()
            self._lengths[bucket] = self._lengths.get(bucket, 0) + 1
        joined = "".join(texts)
        self.characters += len(joined)
        for start in range(0, len(joined), _PIECE_CHARACTERS):
            piece = joined[start : start + _PIECE_CHARACTERS]
            self.bytes += len(piece.encode("utf-8"))
            points = np.frombuffer(piece.encode("utf-32-le"), dtype="<u4")
            classes = _class_table()[np.minimum(points, _TABLE_SIZE - 1)]
            for place, count in enumerate(np.bincount(classes, minlength=_NOTHING + 1)):
                self._classes[place] += int(count)

    def scripts(self) -> dict[str, float]:
        """Share of each script that occurs, largest first; the shares sum to 1."""
        counted = {name: count for name, count in zip(CLASSES, self._classes, strict=False) if count}
        total = sum(counted.values())
        return {name: count / total for name, count in sorted(counted.items(), key=lambda item: -item[1])}

    def length_histogram(self) -> list[dict[str, int]]:
        """Documents by length: `from_characters` to `to_characters`, both inclusive, in powers of two without gaps."""
        if not self._lengths:
            return []
        buckets = range(min(self._lengths), max(self._lengths) + 1)
        return [
            {
                "from_characters": 1 << bucket - 1 if bucket else 0,
                "to_characters": (1 << bucket) - 1,
                "documents": self._lengths.get(bucket, 0),
            }
            for bucket in buckets
        ]

    def to_json(self) -> dict[str, Any]:
        """All totals."""
        return {
            "documents": self.documents,
            "characters": self.characters,
            "words": self.words,
            "bytes": self.bytes,
            "scripts": self.scripts(),
            "length_histogram": self.length_histogram(),
        }


@cache
def _class_table() -> Any:
    """uint8 [0x32400]: the class of each code point."""
    import numpy as np

    table = np.full(_TABLE_SIZE, _NOTHING, dtype=np.uint8)
    for point in range(_TABLE_SIZE - 1):
        category = unicodedata.category(chr(point))
        if category[0] == "L":
            table[point] = _OTHER
        elif category == "Nd":
            table[point] = _DIGITS
    for place, (_, ranges) in enumerate(SCRIPTS):
        for low, high in ranges:
            for point in range(low, high + 1):
                if table[point] == _OTHER or unicodedata.category(chr(point))[0] == "M":
                    table[point] = place
    table[_TABLE_SIZE - 1] = _NOTHING  # emoji and everything else that is clamped to the last entry
    return table
