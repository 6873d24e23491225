"""Large files written from beginning to end, past the page cache where the file system allows it.

A checkpoint that has just been written is rarely read at once; kept out of the page cache its bytes are copied once instead of twice,
other programs keep their cached files, and closing the file leaves nothing to flush. Small files take the ordinary way: they are about
to be read again.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from pathlib import Path
from typing import Any, Self

from lep_core.errors import ModelError

BUFFER_BYTES = 1 << 23
DIRECT_FROM_BYTES = 1 << 26
BLOCK = 4096  # what direct writes must be a multiple of, on all usual disks
DIRECT = getattr(os, "O_DIRECT", 0)


class FileWriter:
    """A new file of about `size` bytes, which is on the disk when the block ends."""

    def __init__(self, path: Path, size: int) -> None:
        self.bytes = 0
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._direct = size >= DIRECT_FROM_BYTES and self._go(direct=True)
        self._view = memoryview(mmap.mmap(-1, BUFFER_BYTES))  # begins at a page, as direct writes ask for
        self._filled = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.close(whole=kind is None)

    def close(self, *, whole: bool = True) -> None:
        """Bring the rest to the disk, unless the file is given up."""
        try:
            if whole:
                self._finish()
        finally:
            os.close(self._handle)

    def write(self, data: Any) -> None:
        """Append bytes, or anything that shows its memory as bytes."""
        source = memoryview(data).cast("B")
        begin = 0
        while begin < len(source):
            count = min(BUFFER_BYTES - self._filled, len(source) - begin)
            self._view[self._filled : self._filled + count] = source[begin : begin + count]
            begin += count
            self._advance(count)

    def copy(self, path: Path, begin: int, end: int) -> None:
        """Append bytes `begin` to `end` of another file."""
        source = os.open(path, os.O_RDONLY)
        try:
            while begin < end:
                room = min(BUFFER_BYTES - self._filled, end - begin)
                count = os.preadv(source, [self._view[self._filled : self._filled + room]], begin)
                if not count:
                    raise ModelError(f"{path} ends before byte {end}", "Copy or download the file again")
                begin += count
                self._advance(count)
        finally:
            os.close(source)

    def _advance(self, count: int) -> None:
        self.bytes += count
        self._filled += count
        if self._filled == BUFFER_BYTES:
            self._flush(BUFFER_BYTES)

    def _flush(self, count: int) -> None:
        written = 0
        while written < count:
            try:
                written += os.write(self._handle, self._view[written:count])
            except OSError as error:
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                self._direct = self._go(direct=False)  # this disk asks for larger blocks
            if written % BLOCK:
                self._direct = self._go(direct=False)  # it cut a write short
        self._filled = 0

    def _go(self, *, direct: bool) -> bool:
        """Go on past the page cache or through it; whether direct writes were asked for and are possible here."""
        flags = fcntl.fcntl(self._handle, fcntl.F_GETFL) & ~DIRECT
        try:
            fcntl.fcntl(self._handle, fcntl.F_SETFL, flags | (DIRECT if direct else 0))
        except OSError:
            return False
        return direct

    def _finish(self) -> None:
        if self._filled:
            self._flush(-(-self._filled // BLOCK) * BLOCK)
            os.ftruncate(self._handle, self.bytes)  # what stood in the rest of the last block
        os.fsync(self._handle)
