"""Documents out of whatever the user has: txt, md, jsonl, json, csv, tsv, parquet, compressed or zipped, folders, corpora, hub data sets.

Everything is streamed in pieces of bounded size. Plain text is cut at line ends into documents of at most `unit_bytes` of UTF-8
(a longer line is cut at a space, else between two characters); a record of a table is one document, cut likewise when larger.
Joined together, the documents of a plain text file are the file: nothing is cleaned here but the byte order mark.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lep_core.corpus.encoding import SAMPLE_BYTES, check_encoding, decoded, detect_encoding, refuse_binary_signature
from lep_core.corpus.hub import hub_rows
from lep_core.corpus.records import Row, TextField, csv_rows, json_rows, jsonl_rows, parquet_rows
from lep_core.corpus.source import READABLE, Source, find_sources
from lep_core.corpus.streams import Meter, as_seekable_file, close_archive, open_archive, read_chunks, readable
from lep_core.errors import CorpusError
from lep_core.progress import SILENT, Reporter

UNIT_BYTES = 1_000_000
SPLITS = ("all", "train", "heldout")


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of text, the short name of the file it is from, and its first line (or row) there, counted from 1.

    `split` is the side on which a corpus folder with a held-out part has it; None for text that has not been split.
    """

    text: str
    source: str
    line: int
    split: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that could not be used: file, line (or row) and the reason."""

    source: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.reason}"


def read_documents(
    inputs: Sequence[str],
    *,
    text_field: str | None = None,
    encoding: str | None = None,
    split: str = "all",
    unit_bytes: int = UNIT_BYTES,
    reporter: Reporter = SILENT,
) -> Iterator[Document]:
    """Stream the documents of files, folders, archives, corpora and `hf://` data sets, in the given order.

    `split` ("all", "train", "heldout") selects documents of corpus folders; other inputs have no split and are read whole.

    Raises:
        CorpusError: something cannot be read, a row is bad (file and line are named), or there is no text at all.
    """
    reader = CorpusReader(inputs, text_field=text_field, encoding=encoding, split=split, unit_bytes=unit_bytes, reporter=reporter)
    return reader.documents()


class CorpusReader:
    """Reads inputs as documents and keeps account: encodings and rows by file, bytes read, bad rows.

    With `on_bad_row` bad rows are handed over and passed by; without it the first one raises `CorpusError`.
    The first `small_units` documents of each plain text file are at most `small_unit_bytes` long.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        *,
        text_field: str | None = None,
        encoding: str | None = None,
        split: str = "all",
        unit_bytes: int = UNIT_BYTES,
        record_bytes: int | None = None,
        small_units: int = 0,
        small_unit_bytes: int = 0,
        on_bad_row: Callable[[BadRow], None] | None = None,
        reporter: Reporter = SILENT,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, not one of {SPLITS}")
        if unit_bytes < 4:
            raise ValueError(f"unit_bytes is {unit_bytes}, but one character may need 4 bytes")
        self._inputs = (inputs,) if isinstance(inputs, str) else tuple(str(item) for item in inputs)
        self._text_field, self._split, self._reporter = text_field, split, reporter
        self._encoding = check_encoding(encoding) if encoding is not None else None
        self._unit_bytes, self._record_bytes = unit_bytes, record_bytes or unit_bytes
        self._small = (small_units, small_unit_bytes)
        self._on_bad_row = on_bad_row
        self._first_bad_row: BadRow | None = None
        self._archives: list[zipfile.ZipFile] = []
        self._sources: list[Source] | None = None
        self.meter = Meter()
        self.encodings: dict[str, str] = {}
        self.rows = 0

    def sources(self) -> list[Source]:
        """The single files behind the inputs."""
        if self._sources is None:
            self._sources = find_sources(self._inputs, message=self._reporter.message, opened=self._open_archive)
        return self._sources

    @property
    def total_bytes(self) -> int:
        """Bytes on the disk that will be read; 0 when not known."""
        sources = self.sources()
        return 0 if any(source.kind == "hub" for source in sources) else sum(source.size for source in sources)

    def documents(self) -> Iterator[Document]:
        """All documents; raises `CorpusError` at the end when there was no text."""
        any_text = False
        try:
            for source in self.sources():
                for document in self._read(source):
                    if not any_text and not document.text.isspace():
                        any_text = True
                    yield document
        finally:
            for archive in self._archives:
                close_archive(archive)
            self._archives.clear()
            if any(source.archive for source in self._sources or ()):
                self._sources = None  # their archives are closed: look again when asked again
        if not any_text:
            raise self._nothing_found()

    def _nothing_found(self) -> CorpusError:
        shown = ", ".join(self._inputs[:3]) + (f" and {len(self._inputs) - 3} more" if len(self._inputs) > 3 else "")
        if self._split != "all" and all(source.kind == "corpus" for source in self.sources()):
            what = "held-out" if self._split == "heldout" else "training"
            return CorpusError(f"{shown} has no {what} documents", "Add the corpus again with another --heldout-share")
        files = [Path(item) for item in self._inputs]
        if all(path.is_file() and path.stat().st_size == 0 for path in files):
            return CorpusError(f"{shown} is empty", "Give a file with text")
        if self._first_bad_row is not None:
            return CorpusError(
                f"no row of {shown} can be used, the first bad one is {self._first_bad_row}",
                "Mend these rows, or give another --text-field",
            )
        return CorpusError(f"there is no text in {shown}: only empty records or white space", f"Give files with text: {READABLE}")

    def _open_archive(self, path: Path) -> zipfile.ZipFile:
        archive = open_archive(path, self.meter)
        self._archives.append(archive)
        return archive

    def _read(self, source: Source) -> Iterator[Document]:
        if source.kind == "corpus":
            yield from self._read_corpus(source)
        elif source.kind == "text":
            yield from self._read_plain(source)
        else:
            for line, text in self._rows_of(source):
                self.rows += 1
                if len(text) * 4 <= self._record_bytes or len(text.encode()) <= self._record_bytes:
                    if text:
                        yield Document(text, source.name, line)
                else:
                    for piece, _ in cut_text((text,), lambda _: self._record_bytes):
                        yield Document(piece, source.name, line)

    def _read_plain(self, source: Source) -> Iterator[Document]:
        small_units, small_bytes = self._small
        line = 1
        for text, newlines in cut_text(self._text_of(source), lambda unit: small_bytes if unit < small_units else self._unit_bytes):
            yield Document(text, source.name, line)
            line += newlines

    def _rows_of(self, source: Source) -> Iterator[Row]:
        def guessed(name: str) -> None:
            self._reporter.message(f"{source.label}: the text is taken from the column {name}, the only one with text")

        field = TextField(self._text_field, source.label, guessed=guessed)

        def bad(line: int, reason: str) -> None:
            row = BadRow(source.label, line, reason)
            if self._on_bad_row is None:
                raise CorpusError(str(row), "Mend or remove that row")
            self.rows += 1
            self._first_bad_row = self._first_bad_row or row
            self._on_bad_row(row)

        if source.kind == "hub":
            return hub_rows(source.label, field, bad)
        if source.kind == "parquet":
            return self._parquet_rows_of(source, field, bad)
        chunks = self._text_of(source)
        if source.kind == "jsonl":
            return jsonl_rows(chunks, field, bad)
        if source.kind == "json":
            return json_rows(chunks, field, bad)
        return csv_rows(chunks, field, bad, tabs=source.kind == "tsv")

    def _parquet_rows_of(self, source: Source, field: TextField, bad: Callable[[int, str], None]) -> Iterator[Row]:
        with as_seekable_file(source, self.meter) as stream:
            head = stream.read(8)
            stream.seek(0)
            if not head:
                self._reporter.message(f"{source.label} is empty")
                return
            if head[:4] != b"PAR1":
                refuse_binary_signature(head, source.label)
                raise CorpusError(f"{source.label} is no parquet file", "Check the file; its name should end as its content is")
            yield from parquet_rows(stream, field, bad, self._consume_share(source))

    def _read_corpus(self, source: Source) -> Iterator[Document]:
        from lep_core.corpus.preview import has_heldout, stored_documents

        assert source.path is not None
        with readable(source.label):
            is_split = has_heldout(source.path.parent)
            for name, line, split, text in stored_documents(source.path, self._consume_share(source)):
                if self._split in ("all", split):
                    yield Document(text, name, line, split if is_split else None)

    def _consume_share(self, source: Source) -> Callable[[float], None]:
        """For parquet files, whose bytes are read out of sight: count the share of the rows instead."""
        counted = 0
        is_plain = source.compression is None and source.archive is None

        def consume(share: float) -> None:
            nonlocal counted
            if is_plain and source.path is not None:
                now = int(source.size * share)
                self.meter.consume(source.path, now - counted)
                counted = now

        return consume

    def _text_of(self, source: Source) -> Iterator[str]:
        chunks = read_chunks(source, self.meter)
        sample, complete = b"", False
        head: list[bytes] = []
        while len(sample) < SAMPLE_BYTES:
            chunk = next(chunks, b"")
            if not chunk:
                complete = True
                break
            head.append(chunk)
            sample += chunk
        if not sample:
            self._reporter.message(f"{source.label} is empty")
            return
        if self._encoding is not None:
            refuse_binary_signature(sample, source.label)
            encoding = self._encoding
        else:
            encoding = detect_encoding(sample, source.label, complete=complete)
        self.encodings[source.name] = encoding
        yield from decoded(itertools.chain(head, chunks), encoding, source.label)


def cut_text(chunks: Iterable[str], limit: Callable[[int], int]) -> Iterator[tuple[str, int]]:
    """Pieces of at most `limit(number of the piece)` bytes of UTF-8, cut at line ends, and the line ends in each.

    A line longer than the limit is cut behind a space of its second half, else between two characters.
    """
    buffer, start, number = b"", 0, 0
    for chunk in chunks:
        buffer, start = buffer[start:] + chunk.encode("utf-8"), 0
        while len(buffer) - start > limit(number):
            end = _cut_place(buffer, start, start + limit(number))
            yield buffer[start:end].decode("utf-8"), buffer.count(b"\n", start, end)
            start, number = end, number + 1
    if start < len(buffer):
        yield buffer[start:].decode("utf-8"), buffer.count(b"\n", start)


def _cut_place(buffer: bytes, start: int, end: int) -> int:
    """The best place to cut `buffer[start:]` at or before `end`."""
    newline = buffer.rfind(b"\n", start, end)
    if newline >= 0:
        return newline + 1
    space = buffer.rfind(b" ", (start + end) // 2, end)
    if space >= 0:
        return space + 1
    while end > start + 1 and buffer[end] & 0xC0 == 0x80:
        end -= 1
    return end
