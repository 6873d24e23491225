"""Bytes of a source in bounded pieces, decompressed on the way, with a stop for decompression bombs.

A source that grows more than `MAXIMUM_RATIO` times after `FREE_BYTES` is refused: text compresses about 3 to 20 times.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from lep_core.corpus.source import Source
from lep_core.errors import CorpusError, ResourceError

CHUNK_BYTES = 1 << 18
FREE_BYTES = 64_000_000
MAXIMUM_RATIO = 250
# One zstd block of 4 bytes may stand for 128 kB: feeding little input at a time keeps the output of one call below 128 MB.
ZSTD_INPUT_BYTES = 4096


class Meter:
    """Bytes read from the disk and bytes after decompression, by path."""

    def __init__(self) -> None:
        self.consumed: dict[Path, int] = {}
        self.expanded: dict[Path, int] = {}

    @property
    def bytes_read(self) -> int:
        """Bytes read from all files so far."""
        return sum(self.consumed.values())

    def consume(self, path: Path, count: int) -> None:
        """`count` more bytes of the file were read."""
        self.consumed[path] = self.consumed.get(path, 0) + count

    def expand(self, path: Path, count: int, label: str) -> None:
        """`count` more bytes came out of the file; raises `CorpusError` when that is absurdly much."""
        total = self.expanded[path] = self.expanded.get(path, 0) + count
        if total > FREE_BYTES and total > MAXIMUM_RATIO * max(1, self.consumed.get(path, 0)):
            raise CorpusError(
                f"{label} grows more than {MAXIMUM_RATIO} times when it is decompressed ({total // 1_000_000} MB so far)",
                "No text compresses that well: check the file, or give it decompressed",
            )


class CountingFile(io.BufferedIOBase):
    """A binary file whose reads are counted."""

    def __init__(self, path: Path, meter: Meter) -> None:
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._path, self._meter = path, meter

    def read(self, size: int | None = -1, /) -> bytes:
        """Read and count."""
        data = self._file.read(-1 if size is None else size)
        self._meter.consume(self._path, len(data))
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As of a file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of a file."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Always."""
        return True

    def readable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Close the file below too."""
        if not self.closed:
            self._file.close()
        super().close()


def open_archive(path: Path, meter: Meter) -> zipfile.ZipFile:
    """Open a zip archive for reading; `close_archive` closes it."""
    with readable(str(path)):
        if path.stat().st_size == 0:
            raise CorpusError(f"{path} is empty", "Check the file")
        file = CountingFile(path, meter)
        try:
            return zipfile.ZipFile(file)  # type: ignore[arg-type]
        except BaseException:
            file.close()
            raise


def close_archive(archive: zipfile.ZipFile) -> None:
    """Close an archive and its file, which `ZipFile` leaves open when it did not open it itself."""
    file = archive.fp
    archive.close()
    if file is not None:
        file.close()


def read_chunks(source: Source, meter: Meter) -> Iterator[bytes]:
    """The decompressed bytes of a file or archive member."""
    assert source.path is not None
    with readable(source.label):
        if source.archive is not None and source.member is not None:
            with source.archive.open(source.member) as member:
                yield from _decompressed(member, source, meter)
        else:
            with CountingFile(source.path, meter) as file:
                yield from _decompressed(cast(IO[bytes], file), source, meter)


def as_seekable_file(source: Source, meter: Meter) -> IO[bytes]:
    """A seekable file with the decompressed content: the file itself, or a nameless temporary copy."""
    assert source.path is not None
    with readable(source.label):
        if source.compression is None and source.archive is None:
            return open(source.path, "rb")
    copy = tempfile.TemporaryFile(prefix="lep-")  # noqa: SIM115 - the caller closes it
    try:
        for chunk in read_chunks(source, meter):
            copy.write(chunk)
    except OSError as error:
        copy.close()
        raise ResourceError(f"no room to unpack {source.label} in {tempfile.gettempdir()}", "Free some space or set TMPDIR") from error
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return copy


def _decompressed(stream: IO[bytes], source: Source, meter: Meter) -> Iterator[bytes]:
    assert source.path is not None
    is_packed = source.compression is not None or source.archive is not None
    for chunk in _pieces(stream, source.compression):
        if is_packed:
            meter.expand(source.path, len(chunk), source.label)
        yield chunk


def _pieces(stream: IO[bytes], compression: str | None) -> Iterator[bytes]:
    if compression == "zst":
        yield from _zstd_pieces(stream)
        return
    if compression == "gz":
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    elif compression == "bz2":
        stream = bz2.BZ2File(stream)
    elif compression == "xz":
        stream = lzma.LZMAFile(stream)  # noqa: SIM115
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _zstd_pieces(stream: IO[bytes]) -> Iterator[bytes]:
    import zstandard

    frames = 0
    decompressor = None
    pending = b""
    while pending := pending or stream.read(ZSTD_INPUT_BYTES):
        if decompressor is None:
            decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            frames += 1
        try:
            piece = decompressor.decompress(pending)
        except zstandard.ZstdError as error:
            raise zlib.error(str(error)) from error
        pending = b""
        if decompressor.eof:
            pending, decompressor = decompressor.unused_data, None
        if piece:
            yield piece
    # The library's own reader ends silently inside a frame, so a cut file would lose its tail unnoticed.
    if decompressor is not None:
        raise EOFError("the file ends inside a compressed frame")


@contextmanager
def readable(label: str) -> Generator[None, None, None]:
    """Turn what goes wrong while reading `label` into a `CorpusError`."""
    try:
        yield
    except EOFError as error:
        raise CorpusError(f"{label} ends too early: it is truncated", "Copy or download it again") from error
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error, UnicodeDecodeError) as error:
        raise CorpusError(f"{label} is damaged or not compressed as its name says ({error})", "Copy or download it again") from error
    except NotImplementedError as error:
        raise CorpusError(f"{label} is compressed in a way that is not read ({error})", "Pack it again with the usual settings") from error
    except FileNotFoundError as error:
        raise CorpusError(f"{label} does not exist any more", "Check the path") from error
    except PermissionError as error:
        raise CorpusError(f"{label} may not be read", "Change its permissions or choose another file") from error
    except OSError as error:
        if error.errno is None:  # bz2 reports damage this way
            raise CorpusError(f"{label} is damaged or not compressed as its name says ({error})", "Copy or download it again") from error
        raise CorpusError(f"{label} cannot be read ({error.strerror or error})", "Check the file, copy it again") from error
    except RuntimeError as error:  # zipfile: password required
        raise CorpusError(f"{label} cannot be unpacked ({error})", "Unpack the archive and give the files") from error
