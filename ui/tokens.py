"""Coloured tokens: a text cut where a tokenizer cuts it, ready for `gr.HighlightedText`, which shows text as text.

Neighbouring tokens alternate between four colours; tokens that another tokenizer cuts elsewhere get a fifth. Where several tokens
share one character (parts of its bytes) they are one piece with a small count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from lep_core.errors import TokenizerError
from ui.apart import CHILD, LONG_SECONDS, token_spans

COLOUR_MAP = {"1": "#7aa2f7", "2": "#9ece6a", "3": "#e0af68", "4": "#bb9af7"}
DIFFERENT = "5"
COLOUR_MAP_WITH_DIFFERENCES = {**COLOUR_MAP, DIFFERENT: "#f7768e"}
# HighlightedText takes a second per thousand tokens: longer texts are cut.
SHOWN_TOKENS = 400
SHOWN_CHARACTERS = 1_200
BROWSER_ROWS = 50
BROWSER_ORDERS = ("count", "length", "id")

Piece = tuple[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A text as a tokenizer cuts it: coloured pieces, and the tokens and characters of what was cut."""

    pieces: list[Piece]
    tokens: int
    characters: int


def _stamp(folder: str) -> float:
    file = Path(folder) / "tokenizer.json"
    return file.stat().st_mtime if file.is_file() else 0.0


def coloured(pieces: Sequence[str]) -> list[Piece]:
    """The newest pieces with alternating colours."""
    start = max(0, len(pieces) - SHOWN_TOKENS)
    return [(piece, str((start + index) % 4 + 1)) for index, piece in enumerate(pieces[start:])]


def compared(folder: str, other: str, text: str, *, with_ids: bool = False, visible_spaces: bool = False) -> Cut:
    """Coloured tokens of the beginning of a text; pieces that the other tokenizer cuts elsewhere stand out."""
    text = text[:SHOWN_CHARACTERS]
    own = token_spans(folder, text)
    there = _borders([piece for piece, _ in token_spans(other, text)])
    pieces: list[Piece] = []
    position = 0
    for index, (piece, ids) in enumerate(own):
        end = position + len(piece)
        same = (position, end) in there
        position = end
        shown = _visible(piece).replace("⏎", "⏎\n") if visible_spaces else piece
        if with_ids:
            shown += f"⟨{' '.join(map(str, ids))}⟩"
        elif len(ids) > 1:
            shown += f"×{len(ids)}"
        pieces.append((shown, str(index % 4 + 1) if same else DIFFERENT))
    return Cut(pieces=pieces[:SHOWN_TOKENS], tokens=sum(len(ids) for _, ids in own), characters=len(text))


def _borders(pieces: Sequence[str]) -> set[tuple[int, int]]:
    ends = [0, *accumulate(map(len, pieces))]
    return set(pairwise(ends))


def new_tokens(
    folder: str, base: str, text: str | None, search: str | None, *, order: str = "count", page: int = 1
) -> tuple[list[list[str]], int]:
    """One page of rows (id, token, occurrences, characters, old pieces) of tokens that the base lacks, and how many there are.

    `search` finds parts of tokens, upper or lower case alike; a typed space finds the sign that stands for it too. `order`: the
    most frequent in the text first, the longest first, or by number. A page beyond the last shows the last.
    """
    wanted = (search or "").replace("␣", " ").casefold()
    found = [row for row in _new_tokens(folder, base, text, _stamp(folder), _stamp(base)) if wanted in row["token"].casefold()]
    if order == "length":
        found.sort(key=lambda row: -len(row["token"]))
    elif order == "id":
        found.sort(key=lambda row: row["id"])
    last = max(0, -(-len(found) // BROWSER_ROWS) - 1)
    start = min(page - 1, last) * BROWSER_ROWS
    rows = [
        [str(row["id"]), _visible(row["token"]), str(row["count"]), str(len(row["token"])), " | ".join(map(_visible, row["old_pieces"]))]
        for row in found[start : start + BROWSER_ROWS]
    ]
    return rows, len(found)


@lru_cache(maxsize=4)
def _new_tokens(folder: str, base: str, text: str | None, *_: float) -> list[dict[str, Any]]:
    return CHILD.ask("new_tokens", base, folder, text, about=folder, seconds=LONG_SECONDS, kind=TokenizerError)


def _visible(text: str) -> str:
    return text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
