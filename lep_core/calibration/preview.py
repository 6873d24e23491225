"""The pairs of a calibration, page by page: what the teacher answered, and why an answer is or is not learned. Needs no torch."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from lep_core.errors import CorpusError

# Answers that are learned, as conversations; what --data reads.
PAIRS_FILE = "pairs.jsonl"
# Every answer and copy task with what became of it.
REVIEW_FILE = "review.jsonl"
KEPT, LEFT_OUT, COPIES = "kept", "left-out", "copies"
SHOWN = ("all", KEPT, LEFT_OUT, COPIES)


def preview_pairs(folder: Path, start: int, count: int, *, shown: str = "all", maximum_characters: int = 2000) -> list[dict[str, Any]]:
    """Rows `start` to `start + count` of those that are shown: prompt, answer, reason (None = learned), score, source.

    Raises:
        CorpusError: the folder has no pairs, or they cannot be read.
    """
    path = Path(folder) / REVIEW_FILE
    rows = []
    try:
        with open(path, encoding="utf-8") as stream:
            wanted = (row for line in stream if _is_shown(row := json.loads(line), shown))
            for row in islice(wanted, start, start + count):
                texts = {name: _shortened(str(row[name]), maximum_characters) for name in ("prompt", "answer")}
                rows.append({**row, **texts})
    except FileNotFoundError as error:
        raise CorpusError(f"there are no pairs in {folder}", "Make the pairs first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path} is damaged", "Make the pairs again") from error
    return rows


def _is_shown(row: dict[str, Any], shown: str) -> bool:
    if shown == "all":
        return True
    is_copy = row["source"] == "copy"
    return is_copy if shown == COPIES else not is_copy and (row["reason"] is None) == (shown == KEPT)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
