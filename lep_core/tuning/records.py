"""Whole records of jsonl, json, csv, tsv and parquet files and of hub data sets, each with its place, streamed and bounded."""

from __future__ import annotations

import csv
import itertools
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from lep_core.corpus.encoding import SAMPLE_BYTES, check_encoding, decoded, detect_encoding, refuse_binary_signature
from lep_core.corpus.hub import hub_rows
from lep_core.corpus.records import (
    BATCH_ROWS,
    MAXIMUM_RECORD_CHARACTERS,
    BadRowHandler,
    TextField,
    json_rows,
    jsonl_rows,
    text_lines,
)
from lep_core.corpus.source import Source, find_sources
from lep_core.corpus.streams import CHUNK_BYTES, Meter, as_seekable_file, close_archive, open_archive, read_chunks, readable
from lep_core.errors import CorpusError
from lep_core.progress import SILENT, Reporter

READABLE = "jsonl, json, csv, tsv or parquet, also as gz, zst or zip, or hf://owner/name"
SNIFFED_LINES = 20


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its values by key, and its place as "file:line"; `problem` says what is wrong with one that has no values."""

    values: Mapping[str, Any]
    place: str
    problem: str | None = None


class _WholeRecord(TextField):
    """Stands where the readers of `corpus` expect a text column, and gives the whole record."""

    def __init__(self, label: str) -> None:
        super().__init__(None, label)

    def of(self, record: Any, line: int, bad: BadRowHandler) -> Any:
        if isinstance(record, Mapping):
            return record
        bad(line, "the record is no JSON object")
        return None


def read_records(
    paths: Sequence[str], *, columns: Iterable[str], encoding: str | None = None, skip_bad: bool = False, reporter: Reporter = SILENT
) -> Iterator[Record]:
    """The records of files, of the files in folders and archives, and of data sets of the hub, in order.

    Args:
        columns: names (in small letters) that are wanted; of a parquet file only these are read.
        skip_bad: give damaged lines as records with a `problem` instead of raising.

    Raises:
        CorpusError: a file cannot be read or is of another kind, or a line is damaged.
    """
    meter, archives = Meter(), []

    def opened(path: Any) -> zipfile.ZipFile:
        archives.append(open_archive(path, meter))
        return archives[-1]

    encoding = None if encoding is None else check_encoding(encoding)
    try:
        for source in find_sources([str(path) for path in paths], message=reporter.message, opened=opened):
            problems: list[Record] = []

            def bad(line: int, reason: str, source: Source = source, problems: list[Record] = problems) -> None:
                place = f"{source.label}:{line}"
                if not skip_bad:
                    raise CorpusError(f"{place}: {reason}", "Mend or remove that record, or add --bad-conversations skip")
                problems.append(Record({}, place, reason))

            for line, values in _rows_of(source, frozenset(columns), meter, encoding, bad):
                yield from problems
                problems.clear()
                yield Record(values, f"{source.label}:{line}")
            yield from problems
    finally:
        for archive in archives:
            close_archive(archive)


def _rows_of(
    source: Source, columns: frozenset[str], meter: Meter, encoding: str | None, bad: BadRowHandler
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if source.kind in ("text", "corpus"):
        what = "a corpus of plain documents" if source.kind == "corpus" else "plain text"
        raise CorpusError(f"{source.label} is {what}, not conversations", f"Give {READABLE}")
    if source.kind == "parquet":
        return _parquet_rows(source, columns, meter)
    if source.kind in ("csv", "tsv"):
        return _csv_rows(_text_of(source, meter, encoding), columns, source, bad)
    whole = _WholeRecord(source.label)
    if source.kind == "hub":
        return cast(Iterator[Any], hub_rows(source.label, whole, bad))
    rows = jsonl_rows if source.kind == "jsonl" else json_rows
    return cast(Iterator[Any], rows(_text_of(source, meter, encoding), whole, bad))


def _text_of(source: Source, meter: Meter, encoding: str | None) -> Iterator[str]:
    chunks = read_chunks(source, meter)
    head: list[bytes] = []
    complete = False
    while sum(map(len, head)) < SAMPLE_BYTES and not complete:
        chunk = next(chunks, b"")
        complete = not chunk
        head.append(chunk)
    sample = b"".join(head)
    if not sample:
        return iter(())
    if encoding is not None:
        refuse_binary_signature(sample, source.label)
    else:
        encoding = detect_encoding(sample, source.label, complete=complete)
    return decoded(itertools.chain(filter(None, head), chunks), encoding, source.label)


def _csv_rows(chunks: Iterable[str], columns: frozenset[str], source: Source, bad: BadRowHandler) -> Iterator[tuple[int, dict[str, str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), MAXIMUM_RECORD_CHARACTERS))
    lines = text_lines(chunks, source.label)
    first = next(lines, "")

    def known(delimiter: str) -> tuple[int, int]:
        names = [name.strip(' "\r\n').lower() for name in first.split(delimiter)]
        return sum(name in columns for name in names), len(names)

    delimiter = "\t" if source.kind == "tsv" else max(",;\t|", key=known)
    reader = csv.reader(itertools.chain([first], lines), strict=True, delimiter=delimiter)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            bad(line, f"not valid {source.kind} ({error})")
            continue
        if row is None:
            return
        if header is None:
            header = [name.strip() for name in row]
        elif row and len(row) != len(header):
            bad(line, f"the row has {len(row)} columns, the header {len(header)}")
        elif row:
            # An empty cell of a table is no text, like a key that a JSON record lacks.
            yield line, {name: cell for name, cell in zip(header, row, strict=True) if cell or name.lower() not in columns}


def _parquet_rows(source: Source, columns: frozenset[str], meter: Meter) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with as_seekable_file(source, meter) as stream:
        head = stream.read(4)
        stream.seek(0)
        if head != b"PAR1":
            refuse_binary_signature(head, source.label)
            raise CorpusError(f"{source.label} is no parquet file", "Check the file; its name should end as its content is")
        try:
            with readable(source.label):
                file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=CHUNK_BYTES)
                names = file.schema_arrow.names
                wanted = [name for name in names if name.strip().lower() in columns]
                number = 0
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=wanted or names[:1], use_threads=False):
                    rows = batch.to_pylist() if wanted else [dict.fromkeys(names)] * len(batch)
                    for values in rows:
                        number += 1
                        yield number, values
        except (pa.ArrowException, UnicodeDecodeError, KeyError) as error:
            raise _damaged(source, error) from error
        except CorpusError as error:
            if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, PermissionError):
                raise _damaged(source, error.__cause__) from error
            raise


def _damaged(source: Source, error: BaseException) -> CorpusError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return CorpusError(f"{source.label} is no sound parquet file ({reason})", "Copy or download it again")
