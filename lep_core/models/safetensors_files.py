"""Safetensors files without a model: headers, tensor bytes, streamed rewriting and hashing.

A file is an 8-byte little-endian header length, a JSON header (tensor name -> dtype, shape, byte range) and the raw tensors. Headers are
parsed here, with bounds, so that a damaged or hostile file ends in one sentence; tensor data is copied in pieces and never held whole.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lep_core.errors import ModelError
from lep_core.models.streams import FileWriter

HEADER_LIMIT_BYTES = 100_000_000
COPY_BYTES = 1 << 24
MOST_DIMENSIONS = 16
DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
FORMAT = {"format": "pt"}
DAMAGED = "Copy or download the file again"


@dataclass(frozen=True, kw_only=True)
class TensorSlot:
    """Where one tensor lies: bytes `begin` to `end` of `path`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    begin: int
    end: int

    @property
    def bytes(self) -> int:
        return self.end - self.begin


def read_header(path: Path) -> dict[str, TensorSlot]:
    """Tensor slots of one file, by name.

    Raises:
        ModelError: the file is truncated or no safetensors file.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 10 or length > min(HEADER_LIMIT_BYTES, size - 8):
            raise ModelError(f"{path} is no safetensors file: its header does not fit into its {size} bytes", DAMAGED)
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        start = 8 + length
        _check_metadata(header)
        slots = {name: _slot(path, name, entry, start) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} has a damaged safetensors header ({error})", DAMAGED) from error
    _check_extents(path, slots, data_begin=start, size=size)
    return slots


def _slot(path: Path, name: str, entry: Mapping[str, Any], start: int) -> TensorSlot:
    shape, offsets, dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
    # Python's int would take texts, fractions and truth values; the library that reads the tensors later does not.
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not isinstance(offsets, list) or len(offsets) != 2:
        raise ValueError(f"the tensor {name[:80]} has no shape of at most {MOST_DIMENSIONS} dimensions, or not two offsets")
    if not all(type(value) is int and 0 <= value < 2**63 for value in (*shape, *offsets)):
        raise ValueError(f"the tensor {name[:80]} has a shape or an offset that is no whole number from 0")
    if dtype not in DTYPE_BYTES:
        raise ValueError(f"the tensor {name[:80]} is stored as {str(dtype)[:20]}, which is no known type of numbers")
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPE_BYTES[dtype]:
        raise ValueError(f"the tensor {name[:80]} has shape {shape} but {end - begin} bytes")
    return TensorSlot(name=name, dtype=dtype, shape=tuple(shape), path=path, begin=start + begin, end=start + end)


def _check_metadata(header: Mapping[str, Any]) -> None:
    metadata = header.get("__metadata__") or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ is no table of texts")


def _check_extents(path: Path, slots: Mapping[str, TensorSlot], *, data_begin: int, size: int) -> None:
    expected = data_begin
    for slot in sorted(slots.values(), key=lambda item: (item.begin, item.end)):
        if slot.begin != expected:
            raise ModelError(f"{path} has overlapping or missing tensor data at {slot.name}", DAMAGED)
        expected = slot.end
    if expected != size:
        raise ModelError(f"{path} should have {expected} bytes and has {size}: it is truncated or damaged", DAMAGED)


def tensor_pieces(slot: TensorSlot) -> Iterator[bytes]:
    """The tensor's bytes in order, at most `COPY_BYTES` at a time."""
    with open(slot.path, "rb") as stream:
        stream.seek(slot.begin)
        left = slot.bytes
        while left:
            piece = stream.read(min(COPY_BYTES, left))
            if not piece:
                raise ModelError(f"{slot.path} ends inside the tensor {slot.name}", DAMAGED)
            left -= len(piece)
            yield piece


def copy_tensors(
    slots: Iterable[TensorSlot],
    output: Path,
    *,
    changed: Mapping[str, Callable[[TensorSlot], memoryview]] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Write the given tensors to a new file, streamed; returns the file's size in bytes.

    Args:
        changed: gives the new bytes, equally many, of tensors that do not stay as they are.
        stopped: asked before each tensor; once true, the file is left unfinished.
    """
    ordered = sorted(slots, key=lambda slot: (str(slot.path), slot.begin))
    with FileWriter(output, sum(slot.bytes for slot in ordered)) as file:
        file.write(header_bytes((slot.name, slot.dtype, slot.shape, slot.bytes) for slot in ordered))
        for slot in ordered:
            if stopped():
                break
            if changed is None or slot.name not in changed:
                file.copy(slot.path, slot.begin, slot.end)
                continue
            data = changed[slot.name](slot)
            if data.nbytes != slot.bytes:
                raise ValueError(f"{slot.name} has {slot.bytes} bytes and would get {data.nbytes}")
            file.write(data)
    return file.bytes


def header_bytes(entries: Iterable[tuple[str, str, Iterable[int], int]]) -> bytes:
    """Length and header of a file that holds (name, dtype, shape, size in bytes) one after the other."""
    header: dict[str, Any] = {"__metadata__": FORMAT}
    offset = 0
    for name, dtype, shape, size in entries:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


def copy_file(source: Path, target: Path) -> None:
    """Copy a whole file; file systems that can share blocks between files do so."""
    size = source.stat().st_size
    if not _share_or_copy_in_kernel(source, target, size):
        target.unlink(missing_ok=True)
        with FileWriter(target, size) as file:
            file.copy(source, 0, size)


def _share_or_copy_in_kernel(source: Path, target: Path, size: int) -> bool:
    """False where the kernel cannot copy between these two places."""
    with open(source, "rb") as given, open(target, "xb") as taken:
        copied = 0
        while copied < size:
            try:
                step = os.copy_file_range(given.fileno(), taken.fileno(), min(size - copied, 1 << 30), copied)
            except (AttributeError, OSError):
                return False
            if step == 0:
                return False
            copied += step
    return True


def begin_tensor_hash(digest: Any, name: str, dtype: str, shape: Iterable[int]) -> None:
    """What goes into the hash of a set of tensors before each tensor's bytes."""
    digest.update(json.dumps([name, dtype, list(shape)]).encode())


def tensors_sha256(slots: Iterable[TensorSlot]) -> str:
    """One SHA-256 over name, dtype, shape and bytes of the tensors, sorted by name: independent of how they are spread over files."""
    digest = hashlib.sha256()
    for slot in sorted(slots, key=lambda item: item.name):
        begin_tensor_hash(digest, slot.name, slot.dtype, slot.shape)
        for piece in tensor_pieces(slot):
            digest.update(piece)
    return digest.hexdigest()


def equal_bytes(first: TensorSlot, second: TensorSlot) -> bool:
    """Whether two tensors have the same dtype, shape and bytes."""
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    return all(a == b for a, b in zip(tensor_pieces(first), tensor_pieces(second), strict=True))
