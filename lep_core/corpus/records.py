"""Records of jsonl, json, csv, tsv and parquet files and of hub data sets: one text and its line (or row) number each.

A row that cannot be used is handed to `bad(line, reason)`, which either raises or keeps count.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from lep_core.corpus.streams import CHUNK_BYTES, readable
from lep_core.errors import CorpusError

FIELD_NAMES = ("text", "content", "document")
MAXIMUM_RECORD_CHARACTERS = 64_000_000
BATCH_ROWS = 512
SNIFFED_ROWS = 20

BadRowHandler = Callable[[int, str], None]
Row = tuple[int, str]

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"\s*[-+]?[\d.,]*(e[-+]?\d+)?\s*", re.IGNORECASE)


class TextField:
    """Which column or key holds the text: the wanted one, else `text`, `content`, `document`, else the only one with text."""

    def __init__(self, wanted: str | None, label: str, *, guessed: Callable[[str], None] = lambda name: None) -> None:
        self.wanted, self.label, self.name = wanted, label, wanted or ""
        self._guessed = guessed
        self._chosen = False

    def choose(self, columns: Sequence[str], text_columns: Sequence[str]) -> str:
        """Decide once, from all columns and those that hold text."""
        shown = ", ".join(columns[:20]) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")
        if self.wanted is not None:
            if self.wanted not in columns:
                raise CorpusError(
                    f"{self.label} has no column called {self.wanted}; its columns are {shown}", "Give one of them as --text-field"
                )
            self.name = self.wanted
        else:
            named = [name for wanted in FIELD_NAMES for name in columns if name.strip().lower() == wanted]
            if not named and len(text_columns) != 1:
                raise CorpusError(
                    f"{self.label} has no column called text, content or document; its columns are {shown or 'without names'}",
                    "Say with --text-field which column holds the text",
                )
            self.name = named[0] if named else text_columns[0]
            if not named and not self._chosen:
                self._guessed(self.name)
        self._chosen = True
        return self.name

    def of(self, record: Any, line: int, bad: BadRowHandler) -> str | None:
        """The text of a JSON value, or None after reporting a bad row."""
        if isinstance(record, str):
            value: Any = record
        elif not isinstance(record, Mapping):
            bad(line, f"the record is {_kind(record)}, not an object with a text")
            return None
        else:
            if not self._chosen:
                self.choose([str(key) for key in record], [key for key, item in record.items() if isinstance(item, str)])
            if self.name not in record:
                bad(line, f"the record has no {self.name}")
                return None
            value = record[self.name]
        return checked_text(value, self.name, line, bad)


def checked_text(value: Any, name: str, line: int, bad: BadRowHandler) -> str | None:
    """`value` when it is a text that can be written as UTF-8; None after reporting a bad row."""
    if not isinstance(value, str):
        bad(line, f"{name} is {_kind(value)}, not text")
        return None
    # isascii() is free; half characters ("\ud83d" alone) come from careless JSON writers and cannot be encoded.
    if not value.isascii() and _has_surrogates(value):
        bad(line, f"{name} holds half of a surrogate pair, which is no character")
        return None
    return value


def text_lines(chunks: Iterable[str], label: str) -> Iterator[str]:
    r"""Lines with their "\n"; only "\n" ends a line, since records may hold other Unicode separators."""
    parts: list[str] = []
    pending = number = 0
    for chunk in chunks:
        if "\n" not in chunk:
            parts.append(chunk)
            pending += len(chunk)
            if pending > MAXIMUM_RECORD_CHARACTERS:
                raise CorpusError(
                    f"{label}:{number + 1}: one line has more than {MAXIMUM_RECORD_CHARACTERS // 1_000_000} million characters",
                    "Put each record on a line of its own",
                )
            continue
        lines = ("".join(parts) + chunk).split("\n")
        parts = [lines.pop()]
        pending = len(parts[0])
        number += len(lines)
        for line in lines:
            yield line + "\n"
    if parts and (rest := "".join(parts)):
        yield rest


def jsonl_rows(chunks: Iterable[str], field: TextField, bad: BadRowHandler) -> Iterator[Row]:
    """One JSON value a line; empty lines are passed over."""
    for number, line in enumerate(text_lines(chunks, field.label), 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            bad(number, f"not valid JSON ({error.msg} at character {error.pos + 1})")
            continue
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, nesting without end
            bad(number, f"not usable JSON ({error})")
            continue
        text = field.of(record, number, bad)
        if text is not None:
            yield number, text


def json_rows(chunks: Iterable[str], field: TextField, bad: BadRowHandler) -> Iterator[Row]:
    """An array of records, or records one after the other; line = number of the record's first line."""
    for line, record in json_values(chunks, field.label):
        text = field.of(record, line, bad)
        if text is not None:
            yield line, text


def json_values(chunks: Iterable[str], label: str) -> Iterator[tuple[int, Any]]:
    """The elements of a JSON array (or a row of JSON values) with their line numbers, without loading the whole.

    Raises:
        CorpusError: the JSON is not valid; names the line.
    """
    window = _Window(chunks)
    decoder = json.JSONDecoder()
    if not window.skip_space():
        return
    is_array = window.take("[")
    needs_comma = after_comma = False
    while window.skip_space():
        if is_array and not after_comma and window.take("]"):
            if window.skip_space():
                raise _json_error(label, window.line(), "there is text after the closing bracket")
            return
        if needs_comma:
            if not window.take(","):
                raise _json_error(label, window.line(), "a comma or the closing bracket is missing")
            needs_comma, after_comma = False, True
            continue
        try:
            value, end = decoder.raw_decode(window.text, window.place)
        except (ValueError, RecursionError) as error:
            is_syntax = isinstance(error, json.JSONDecodeError)
            if is_syntax and window.more():
                continue  # perhaps the value only goes on in the next piece
            place = error.pos if is_syntax else window.place
            raise _json_error(label, window.line(place), error.msg if is_syntax else str(error)) from error
        if end == len(window.text) and not isinstance(value, (dict, list, str)) and window.more():
            continue  # a number may go on in the next piece
        yield window.line(), value
        window.place, needs_comma, after_comma = end, is_array, False
    if is_array:
        raise _json_error(label, window.line(), "the file ends before the closing bracket")


class _Window:
    """The part of a JSON text that is being looked at; grows on demand and forgets what was taken."""

    def __init__(self, chunks: Iterable[str]) -> None:
        self._chunks = iter(chunks)
        self.text, self.place, self._line, self._counted = "", 0, 1, 0

    def line(self, place: int | None = None) -> int:
        """Line number at a place of the window (default: the present one)."""
        place = self.place if place is None else place
        self._line += self.text.count("\n", self._counted, place)
        self._counted = place
        return self._line

    def more(self) -> bool:
        """Read at least as much again as is pending (so that long values cost linear time); False at the end of the file."""
        self.line()
        pending = self.text[self.place :]
        wanted = min(max(CHUNK_BYTES, len(pending)), MAXIMUM_RECORD_CHARACTERS - len(pending))
        parts, size = [pending], 0
        while size < wanted:
            chunk = next(self._chunks, "")
            if not chunk:
                break
            parts.append(chunk)
            size += len(chunk)
        self.text, self.place, self._counted = "".join(parts), 0, 0
        return size > 0

    def skip_space(self) -> bool:
        """Move to the next character that is not white space; False at the end of the file."""
        while True:
            match = _SPACE.match(self.text, self.place)
            assert match is not None
            self.line(match.end())
            self.place = match.end()
            if self.place < len(self.text):
                return True
            if not self.more():
                return False

    def take(self, char: str) -> bool:
        """Step over `char` if it is next."""
        if self.text.startswith(char, self.place):
            self.place += 1
            return True
        return False


def _json_error(label: str, line: int, message: str) -> CorpusError:
    return CorpusError(f"{label}:{line}: not valid JSON ({message})", "Mend the file, or write one JSON object a line as jsonl")


def csv_rows(chunks: Iterable[str], field: TextField, bad: BadRowHandler, *, tabs: bool) -> Iterator[Row]:
    """Rows below a header line; the separator of csv may also be a semicolon, a tab or a bar."""
    _raise_field_limit()
    lines = text_lines(chunks, field.label)
    sample = list(itertools.islice(lines, SNIFFED_ROWS))
    if not sample:
        return
    dialect = _dialect(sample, tabs=tabs, wanted=field.wanted)
    reader = csv.reader(itertools.chain(sample, lines), strict=True, **dialect)
    header: list[str] | None = None
    waiting: list[tuple[int, list[str]]] = []
    place = -1
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            bad(line, f"not valid {'tsv' if tabs else 'csv'} ({error})")
            continue
        if row is not None and header is None:
            header = [name.strip() for name in row]
            continue
        if row is not None and place < 0:
            waiting.append((line, row))
        if header is not None and place < 0 and (row is None or len(waiting) >= SNIFFED_ROWS):
            place = _csv_column(header, [values for _, values in waiting], field)
            yield from _csv_texts(waiting, header, place, field, bad)
        elif row is not None and header is not None and place >= 0:
            yield from _csv_texts([(line, row)], header, place, field, bad)
        if row is None:
            return


def _csv_texts(rows: Iterable[tuple[int, list[str]]], header: list[str], place: int, field: TextField, bad: BadRowHandler) -> Iterator[Row]:
    for line, row in rows:
        if not row:
            continue
        if len(row) != len(header):
            bad(line, f"the row has {len(row)} columns, the header {len(header)}")
            continue
        text = checked_text(row[place], field.name, line, bad)
        if text is not None:
            yield line, text


def _csv_column(header: list[str], rows: list[list[str]], field: TextField) -> int:
    """Index of the text column; columns of numbers do not count as text."""
    complete = [row for row in rows if len(row) == len(header)]
    texts = [name for place, name in enumerate(header) if not complete or not all(_NUMBER.fullmatch(row[place]) for row in complete)]
    return header.index(field.choose(header, texts))


def _dialect(sample: list[str], *, tabs: bool, wanted: str | None) -> dict[str, Any]:
    header = sample[0].rstrip("\r\n")
    if tabs:
        # Many tsv files hold bare quotation marks; they are quoting only where fields begin and end with them.
        cells = [line.rstrip("\r\n").split("\t") for line in sample]
        quoted = any(len(row) != len(cells[0]) for row in cells[:-1]) or any(
            len(cell) > 1 and cell[0] == cell[-1] == '"' for row in cells for cell in row
        )
        return {"delimiter": "\t", "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE}
    names = (wanted, *FIELD_NAMES)
    counts = {
        delimiter: (any(cell.strip(' "') in names for cell in cells), len(cells))
        for delimiter in ",;\t|"
        for cells in [header.split(delimiter)]
    }
    return {"delimiter": max(counts, key=lambda item: counts[item])}


def _raise_field_limit() -> None:
    if csv.field_size_limit() < MAXIMUM_RECORD_CHARACTERS:
        csv.field_size_limit(MAXIMUM_RECORD_CHARACTERS)


def parquet_rows(stream: IO[bytes], field: TextField, bad: BadRowHandler, progress: Callable[[float], None]) -> Iterator[Row]:
    """Rows of a parquet file in batches; `progress` receives the share that is done."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with readable(field.label):
            file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=CHUNK_BYTES)
            schema = file.schema_arrow
            name = field.choose(schema.names, [item.name for item in schema if _is_text(item.type)])
            if not _is_text(schema.field(name).type):
                raise CorpusError(
                    f"the column {name} of {field.label} holds {schema.field(name).type}, not text", "Give another --text-field"
                )
            number, rows = 0, max(1, file.metadata.num_rows)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=[name], use_threads=False):
                for value in batch.column(0).to_pylist():
                    number += 1
                    text = checked_text(value, name, number, bad)
                    if text is not None:
                        yield number, text
                progress(number / rows)
    except (pa.ArrowException, UnicodeDecodeError, KeyError) as error:
        raise _parquet_error(field.label, error) from error
    except CorpusError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, PermissionError):
            raise _parquet_error(field.label, error.__cause__) from error
        raise


def _parquet_error(label: str, error: BaseException) -> CorpusError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return CorpusError(f"{label} is no sound parquet file ({reason})", "Copy or download it again")


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _has_surrogates(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number", type(None): "empty (null)"}
    return names.get(type(value), type(value).__name__)
