"""Make a corpus: read text of any kind, clean it, drop exact duplicates, decide the held-out part, count, and write one folder.

The folder holds `documents.parquet` (text, source, line, split; zstd, row groups of 4 million characters) and `corpus.json` (hash,
statistics, options, encodings). Nothing is kept in memory but one row group, 16 to 32 bytes per document for the exact
duplicates and 64 MB for the near ones. The hash depends on the texts, their order and their split, not on names, times or formats.

Command: `python -m lep_core add-corpus --input FILE... --output DIR`
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lep_core.config import AddCorpusConfig
from lep_core.corpus.clean import CleaningCounts, clean
from lep_core.corpus.deduplicate import DigestSet, NearDuplicateCounter
from lep_core.corpus.load import BadRow, CorpusReader
from lep_core.corpus.preview import stored_documents
from lep_core.corpus.source import CORPUS_DOCUMENTS, CORPUS_SUMMARY
from lep_core.corpus.split import HELDOUT, TRAIN, SplitBalance, digest_of
from lep_core.corpus.statistics import Statistics
from lep_core.errors import CorpusError
from lep_core.files import check_free_space, translated_errors, write_json
from lep_core.progress import SILENT, Reporter

FORMAT_VERSION = 1
UNIT_BYTES = 16_000
RECORD_BYTES = 1_000_000
# A short file is cut more finely at first, so that a held-out document is not half of the corpus.
SMALL_UNITS, SMALL_UNIT_BYTES = 32, 2_000
ROW_GROUP_CHARACTERS = 4_000_000
ROW_GROUP_DOCUMENTS = 20_000
LISTED_BAD_ROWS = 20
DOCUMENTS_PER_REPORT = 500
BAD_ROW_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class CorpusReport:
    """What was added. `splits` holds documents and characters of "train" and "heldout"; `scripts` are shares of letters and digits."""

    documents: int
    characters: int
    words: int
    bytes: int
    sha256: str
    duplicates_exact: int
    duplicates_near: int
    duplicates_near_checked: int
    empty_documents: int
    scripts: dict[str, float]
    splits: dict[str, dict[str, int]]
    length_histogram: list[dict[str, int]]
    encodings: dict[str, str]
    cleaning: dict[str, int]
    rows: int
    bad_rows: int
    bad_rows_listed: list[dict[str, Any]]
    stopped: bool
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def add_corpus(config: AddCorpusConfig, output: Path, reporter: Reporter = SILENT) -> CorpusReport:
    """Write a corpus into the existing folder `output` and say what is in it.

    Raises:
        CorpusError: an input cannot be read, more than 1 % of the rows are bad, or no text is left.
        ResourceError: the disk is full.
    """
    output = Path(output)
    reporter.stage("reading the text")
    bad_rows = _BadRows()
    reader = CorpusReader(
        config.input,
        text_field=config.text_field,
        encoding=config.encoding,
        unit_bytes=UNIT_BYTES,
        record_bytes=RECORD_BYTES,
        small_units=SMALL_UNITS,
        small_unit_bytes=SMALL_UNIT_BYTES,
        on_bad_row=bad_rows.add,
        reporter=reporter,
    )
    bad_rows.reader = reader
    check_free_space(output, reader.total_bytes // 2 + (1 << 20))
    build = _Build(config, reporter)
    with translated_errors(output):
        writer = _Writer(output / CORPUS_DOCUMENTS)
        with writer:
            for batch in build.batches(reader):
                writer.write(batch)
        bad_rows.check(final=True)
        correction = build.balance.correction()
        if correction is not None:
            writer = _moved(output, *correction)
        if not writer.documents:
            raise CorpusError("there is no text left after cleaning", "Give files with text")
        report = _report(config, build, writer, reader, bad_rows)
        write_json(output / CORPUS_SUMMARY, {"format": "lep-corpus", "version": FORMAT_VERSION, **report.to_json()})
    return report


@dataclass(frozen=True, slots=True)
class _Row:
    text: str
    source: str
    line: int
    split: str
    digest: bytes


class _BadRows:
    """Keeps the first bad rows and refuses when there are too many."""

    def __init__(self) -> None:
        self.count = 0
        self.listed: list[BadRow] = []
        self.reader: CorpusReader | None = None

    def add(self, row: BadRow) -> None:
        self.count += 1
        if len(self.listed) < LISTED_BAD_ROWS:
            self.listed.append(row)
        self.check(final=False)

    def check(self, *, final: bool) -> None:
        """Raise `CorpusError` when more than 1 % of the rows are bad (before the end: when that is beyond doubt)."""
        rows = self.reader.rows if self.reader is not None else 0
        if self.count > BAD_ROW_SHARE * rows and (final or (self.count >= 1000 and self.count * 2 > rows)):
            first = "; ".join(str(row) for row in self.listed[:3])
            raise CorpusError(
                f"{self.count} of {rows} rows are bad, more than {BAD_ROW_SHARE:.0%}: {first}{'; ...' if self.count > 3 else ''}",
                "Mend or remove these rows, or give another --text-field",
            )


class _Build:
    """Turns documents into cleaned, unique, decided rows, and counts on the way."""

    def __init__(self, config: AddCorpusConfig, reporter: Reporter) -> None:
        self._config, self._reporter = config, reporter
        self.cleaning = CleaningCounts()
        self.statistics = Statistics()
        self.near = NearDuplicateCounter()
        self.balance = SplitBalance(config.heldout_share)
        self.duplicates = self.empty = 0
        self.stopped = False
        self._digests = DigestSet()

    def batches(self, reader: CorpusReader) -> Iterator[list[_Row]]:
        """Row groups to write."""
        total = reader.total_bytes or None
        batch: list[_Row] = []
        unique: list[str] = []
        size = 0
        for number, document in enumerate(reader.documents(), 1):
            text = clean(document.text, self.cleaning)
            size += len(document.text) + 64
            if not text or text.isspace():
                self.empty += 1
            else:
                digest = digest_of(text)
                if is_new := self._digests.add(digest):
                    unique.append(text)
                else:
                    self.duplicates += 1
                if is_new or self._config.keep_duplicates:
                    split = self.balance.decide(digest, was_heldout=document.split == HELDOUT)
                    batch.append(_Row(text, document.source, document.line, split, digest))
            is_full = size >= ROW_GROUP_CHARACTERS or len(batch) >= ROW_GROUP_DOCUMENTS
            if is_full:
                yield self._counted(batch, unique)
                batch, unique, size = [], [], 0
            if is_full or number % DOCUMENTS_PER_REPORT == 0:
                self._reporter.progress(min(reader.meter.bytes_read, total or reader.meter.bytes_read), total, "bytes")
                if self._reporter.should_stop():
                    self.stopped = True
                    break
        yield self._counted(batch, unique)
        if not self.stopped:
            self._reporter.progress(total or reader.meter.bytes_read, total, "bytes")

    def _counted(self, batch: list[_Row], unique: list[str]) -> list[_Row]:
        self.statistics.add([row.text for row in batch])
        self.near.add(unique)
        return batch


class _Writer:
    """Writes row groups, hashing what is written."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        repeated = pa.dictionary(pa.int32(), pa.string())
        self._schema = pa.schema([("text", pa.large_string()), ("source", repeated), ("line", pa.int64()), ("split", repeated)])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=["source", "split"], write_statistics=False)
        self._hash = hashlib.sha256()
        self.documents = 0
        self.splits = {name: {"documents": 0, "characters": 0} for name in (TRAIN, HELDOUT)}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, rows: list[_Row]) -> None:
        """Append one row group."""
        import pyarrow as pa

        if not rows:
            return
        columns = [[row.text for row in rows], [row.source for row in rows], [row.line for row in rows], [row.split for row in rows]]
        arrays = [pa.array(column, type=kind) for column, kind in zip(columns, self._schema.types, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=len(rows))
        for row in rows:
            self._hash.update(row.digest + (b"h" if row.split == HELDOUT else b"t"))
            counts = self.splits[row.split]
            counts["documents"] += 1
            counts["characters"] += len(row.text)
        self.documents += len(rows)

    @property
    def sha256(self) -> str:
        """SHA-256 over each document's BLAKE2b-128 digest and split, in order."""
        return self._hash.hexdigest()


def _moved(output: Path, digest: bytes, split: str) -> _Writer:
    """Write the documents again with one text on the other side; only needed for corpora of few documents."""
    path, new_path = output / CORPUS_DOCUMENTS, output / f"{CORPUS_DOCUMENTS}.new"
    writer = _Writer(new_path)
    with writer:
        rows: list[_Row] = []
        size = 0
        for source, line, old_split, text in stored_documents(path):
            own = digest_of(text)
            rows.append(_Row(text, source, line, split if own == digest else old_split, own))
            size += len(text) + 64
            if size >= ROW_GROUP_CHARACTERS or len(rows) >= ROW_GROUP_DOCUMENTS:
                writer.write(rows)
                rows, size = [], 0
        writer.write(rows)
    os.replace(new_path, path)
    return writer


def _report(config: AddCorpusConfig, build: _Build, writer: _Writer, reader: CorpusReader, bad_rows: _BadRows) -> CorpusReport:
    counts = build.statistics
    return CorpusReport(
        documents=counts.documents,
        characters=counts.characters,
        words=counts.words,
        bytes=counts.bytes,
        sha256=writer.sha256,
        duplicates_exact=build.duplicates,
        duplicates_near=build.near.found,
        duplicates_near_checked=build.near.checked,
        empty_documents=build.empty,
        scripts=counts.scripts(),
        splits=writer.splits,
        length_histogram=counts.length_histogram(),
        encodings=dict(reader.encodings),
        cleaning=build.cleaning.to_json(),
        rows=reader.rows,
        bad_rows=bad_rows.count,
        bad_rows_listed=[asdict(row) for row in bad_rows.listed],
        stopped=build.stopped,
        options={
            "text_field": config.text_field,
            "encoding": config.encoding,
            "heldout_share": config.heldout_share,
            "keep_duplicates": config.keep_duplicates,
        },
    )
