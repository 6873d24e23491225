"""The rows that training begins with: a pull back toward them, and how far training has moved from them (method section 3).

The pull is that of L2-SP (Li et al., arXiv 1802.01483), decoupled from the gradient as AdamW decouples weight decay:

    row <- row - learning rate x strength x (row - its start)

So an entry that Adam drives with all its might comes to rest 1 / strength from its start, whatever the learning rate: larger entries
bear a smaller strength. A row that never had a gradient is its own start and stays bit-equal. The start is read from the files of the model that training began
with, in their number format and mapped rather than loaded, so a resumed training is pulled to exactly the same rows: on a CPU the anchor
takes no memory of its own, on a GPU a copy of both matrices in the file's format (2 bytes a parameter for bfloat16).

Shapes: V vocabulary rows, C rows of a chunk, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lep_core.models import ModelFolder, load_embeddings

SHARED, NEW, ALL = "shared", "new", "all"
_CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Move:
    """How far some rows of a matrix have moved.

    Attributes:
        matrix: "input" or "output" (the head).
        rows: "shared" or "new" tokens, ordinary ones only; "all" where it is not known which are new.
        count: how many rows these are.
        relative: ||E - E_start|| / ||E_start||, Frobenius norms over these rows; None where all began as zeros.
        median_row: median over rows of ||e - e_start|| / ||e_start||, rows that began as zeros left out.
        start_rms: root of the mean square of their entries at the start.
        untouched: how many rows have not moved at all; of the embedding, tokens that the text did not hold.
    """

    matrix: str
    rows: str
    count: int
    relative: float | None
    median_row: float | None
    start_rms: float
    untouched: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Start:
    """The rows that training begins with, by matrix; `groups` names rows by their ids."""

    def __init__(self, matrices: Mapping[str, Tensor], groups: Mapping[str, Tensor] | None = None) -> None:
        self.matrices = dict(matrices)
        self.groups = dict(groups or {})

    @classmethod
    def of(cls, folder: ModelFolder, groups: Mapping[str, Tensor] | None = None) -> Start:
        """The rows in a model's files, memory-mapped."""
        pair = load_embeddings(folder)
        return cls({"input": pair.input_VD} | ({} if pair.output_VD is None else {"output": pair.output_VD}), groups)

    def chunks(self, name: str, matrix_VD: Tensor) -> Iterator[tuple[Tensor, Tensor, slice]]:
        """Rows of a matrix beside float32 copies of their start, C x D each, on the matrix's device, and which rows they are."""
        start_VD = self.matrices[name]
        size = max(1, _CHUNK_ELEMENTS // start_VD.shape[1])
        for first in range(0, len(start_VD), size):
            rows = slice(first, first + size)
            yield matrix_VD[rows], start_VD[rows].to(matrix_VD.device, torch.float32), rows

    @torch.no_grad()
    def moves(self, matrices: Mapping[str, Tensor]) -> list[Move]:
        """How far each group of rows has moved, in each matrix."""
        found = []
        for name in self.matrices:
            moved, lengths = [], []
            for now_CD, start_CD, _ in self.chunks(name, matrices[name]):
                moved.append(torch.linalg.vector_norm(now_CD - start_CD, dim=1).cpu())
                lengths.append(torch.linalg.vector_norm(start_CD, dim=1).cpu())
            moved_V, length_V = torch.cat(moved).double(), torch.cat(lengths).double()
            groups = self.groups or {ALL: torch.arange(len(moved_V))}
            width = self.matrices[name].shape[1]
            found += [_move(name, group, moved_V[ids], length_V[ids], width) for group, ids in groups.items() if len(ids)]
        return found


class Anchor:
    """The pull toward the start, of all rows or of those that `rows_V` marks."""

    def __init__(self, start: Start, strength: float, *, rows_V: Tensor | None = None) -> None:
        self._start, self._strength, self._rows_V = start, strength, rows_V

    @torch.no_grad()
    def pull(self, name: str, matrix_VD: Tensor, learning_rate: float) -> None:
        """Move the rows of a matrix, in place, at most onto their start."""
        share = min(1.0, learning_rate * self._strength)
        for now_CD, start_CD, rows in self._start.chunks(name, matrix_VD):
            # Not as an interpolation: where a row is its start, the difference is a plain zero and the row keeps every bit.
            difference_CD = now_CD - start_CD
            if self._rows_V is not None:
                difference_CD *= self._rows_V[rows, None]
            now_CD.sub_(difference_CD, alpha=share)


def on_device(start: Start, device: torch.device) -> Start:
    """The start where the matrices are: what is pulled at every step must not be copied there at every step."""
    return Start({name: matrix_VD.to(device) for name, matrix_VD in start.matrices.items()}, start.groups)


def _move(matrix: str, group: str, moved_N: Tensor, length_N: Tensor, width: int) -> Move:
    present_N = length_N > 0
    ratios_N = moved_N[present_N] / length_N[present_N]
    length = float(torch.linalg.vector_norm(length_N))
    return Move(
        matrix=matrix,
        rows=group,
        count=len(moved_N),
        relative=float(torch.linalg.vector_norm(moved_N)) / length if length else None,
        median_row=float(ratios_N.median()) if len(ratios_N) else None,
        start_rms=length / math.sqrt(len(length_N) * width),
        untouched=int((moved_N == 0).sum()),
    )
