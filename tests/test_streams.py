"""Large files written past the page cache hold what was given, whatever the disk does."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

from lep_core.errors import ModelError
from lep_core.models import streams
from lep_core.models.streams import BLOCK, FileWriter


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BUFFER_BYTES", 4 * BLOCK)
    monkeypatch.setattr(streams, "DIRECT_FROM_BYTES", 1)


DATA = np.random.default_rng(0).integers(0, 256, 100_001, dtype=np.uint8)


def write(path: Path, source: Path) -> bytes:
    """A file of pieces that end anywhere; returns what should stand in it."""
    source.write_bytes(DATA.tobytes())
    with FileWriter(path, DATA.nbytes) as file:
        file.write(b"abc")
        file.write(DATA)
        file.copy(source, 17, 80_003)
        file.write(DATA[:5].data)
    expected = b"abc" + DATA.tobytes() + DATA[17:80_003].tobytes() + DATA[:5].tobytes()
    assert file.bytes == len(expected)
    return expected


@pytest.mark.parametrize("size", [0, 1, BLOCK, 4 * BLOCK, 4 * BLOCK + 1])
def test_a_file_ends_where_its_data_end(tmp_path: Path, size: int) -> None:
    with FileWriter(tmp_path / "file", size) as file:
        file.write(DATA[:size].tobytes())
    assert (tmp_path / "file").read_bytes() == DATA[:size].tobytes()


def test_pieces_follow_each_other(tmp_path: Path) -> None:
    expected = write(tmp_path / "file", tmp_path / "source")
    assert (tmp_path / "file").read_bytes() == expected


def test_disks_that_refuse_direct_writes_get_ordinary_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = fcntl.fcntl

    def refusing(handle: int, command: int, value: int = 0) -> int:
        if command == fcntl.F_SETFL and value & streams.DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return inner(handle, command, value)

    monkeypatch.setattr(fcntl, "fcntl", refusing)
    assert write(tmp_path / "file", tmp_path / "source") == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("fault", ["larger blocks wanted", "short writes"])
def test_disks_with_other_blocks_are_written_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    inner, calls = os.write, []

    def odd(handle: int, data: memoryview) -> int:
        calls.append(len(data))
        if fault == "larger blocks wanted" and len(calls) == 1:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return inner(handle, data[:1000]) if fault == "short writes" and len(calls) == 2 and len(data) > 1000 else inner(handle, data)

    # A short write that ends inside a block can only be made on an ordinary file.
    monkeypatch.setattr(streams, "DIRECT", streams.DIRECT if fault == "larger blocks wanted" else 0)
    monkeypatch.setattr(os, "write", odd)
    assert write(tmp_path / "file", tmp_path / "source") == (tmp_path / "file").read_bytes()


def test_other_errors_are_told_and_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "linked").write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        FileWriter(tmp_path / "linked", 5)
    assert (tmp_path / "linked").read_bytes() == b"somebody's"

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"), FileWriter(tmp_path / "file", 5) as file:
        file.write(b"12345")


def test_a_source_that_ends_early_is_told(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"123")
    with pytest.raises(ModelError, match="ends before byte 9"), FileWriter(tmp_path / "file", 9) as file:
        file.copy(tmp_path / "short", 0, 9)
