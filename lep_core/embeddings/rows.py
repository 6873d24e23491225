"""Rows of a matrix read straight from a safetensors file, some or block by block: memory stays small whatever the matrix's size.

Not memory-mapped: pages of a mapped file count as memory of the process until somebody else needs them.

Shapes: V vocabulary, R rows asked for, B rows of a block, D hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lep_core.errors import ModelError
from lep_core.models.folder import DTYPES
from lep_core.models.safetensors_files import TensorSlot

BLOCK_BYTES = 1 << 25


def row_blocks(slot: TensorSlot, *, rows: int | None = None) -> Iterator[Tensor]:
    """The first `rows` rows (all by default) in order, as float32 blocks B x D."""
    size = slot.shape[0] if rows is None else min(rows, slot.shape[0])
    count = max(1, BLOCK_BYTES // _row_bytes(slot))
    with open(slot.path, "rb") as stream:
        stream.seek(slot.begin)
        for begin in range(0, size, count):
            yield _read(stream, slot, min(count, size - begin))


def read_rows(slot: TensorSlot, ids: NDArray[np.int64]) -> Tensor:
    """The rows `ids` in float32, R x D."""
    result_RD = torch.empty((len(ids), slot.shape[1]))
    with open(slot.path, "rb") as stream:
        for number in np.argsort(ids, kind="stable"):
            stream.seek(slot.begin + int(ids[number]) * _row_bytes(slot))
            result_RD[number] = _read(stream, slot, 1)[0]
    return result_RD


def _row_bytes(slot: TensorSlot) -> int:
    return slot.bytes // slot.shape[0]


def _read(stream: BufferedReader, slot: TensorSlot, rows: int) -> Tensor:
    data = bytearray(rows * _row_bytes(slot))
    if stream.readinto(data) != len(data):
        raise ModelError(f"{Path(slot.path)} ends inside the tensor {slot.name}", "Copy or download the file again")
    return torch.frombuffer(data, dtype=getattr(torch, DTYPES[slot.dtype])).view(rows, -1).float()
