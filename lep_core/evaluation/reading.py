"""Reads the items of the benchmark tasks from the user's files; the keys of a record say which task it belongs to (docs/evaluation.md).

| task | our own layout | layouts of public benchmarks that are read as they are |
|---|---|---|
| instruct | `prompt`, `answer` (text or list of texts) | |
| instructions | `prompt`, `constraints` | IFEval `instruction_id_list`, `kwargs` |
| generation | `prompt`, `references` (text or list of texts); `context`, `question`, `answers`; `text`, `summary` | SQuAD, XQuAD |
| minimal-pairs | `good`, `bad` | BLiMP `sentence_good`, `sentence_bad`; RuBLiMP `source_sentence`, `target_sentence` |
| multiple-choice | `question`, `choices` (list), `answer` (index from 0, letter, or the choice itself) | MMLU `choice0` ...; XCOPA `premise`, `choice1`, `choice2`, `question`, `label`; ARC `answerKey` |

Files are JSON lines, JSON (a list of records, or SQuAD's tree), CSV or TSV in UTF-8. A record without a `group` belongs to one named after its file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lep_core.errors import CorpusError
from lep_core.evaluation import layout_answers, layout_choices, layout_instructions
from lep_core.evaluation.items import AnyItem
from lep_core.evaluation.record import Record

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
# A row of a table is an item, no book.
LONGEST_FIELD_CHARACTERS = 131_072
# The first layout whose keys a record has all of.
LAYOUTS: tuple[tuple[tuple[str, ...], Callable[[Record], AnyItem]], ...] = (
    (("prompt", "constraints"), layout_instructions.own),
    (("prompt", "instruction_id_list"), layout_instructions.ifeval),
    (("prompt", "references"), layout_answers.reference),
    (("prompt",), layout_answers.instruct),
    (("good", "bad"), layout_choices.pair("good", "bad")),
    (("sentence_good", "sentence_bad"), layout_choices.pair("sentence_good", "sentence_bad")),
    (("source_sentence", "target_sentence"), layout_choices.pair("source_sentence", "target_sentence")),
    (("premise", "choice1", "choice2", "question"), layout_choices.xcopa),
    (("question", "answerKey"), layout_choices.arc),
    (("question", "choices"), layout_choices.multiple_choice),
    (("question", "choice0"), layout_choices.mmlu),
    (("context", "question", "answers"), layout_answers.squad),
    (("text", "summary"), layout_answers.summary),
)


def read_items(paths: Sequence[str | Path]) -> list[AnyItem]:
    """All items of files, and of the files in folders.

    Raises:
        CorpusError: a file is missing or a record is malformed; names file, line and key.
    """
    items = [item for path in paths for file in _files(Path(path)) for item in _items_of(file)]
    if not items:
        raise CorpusError(f"there is no item in {', '.join(map(str, paths))}", 'Give JSONL lines with "prompt" and "answer"')
    return items


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            if path.exists() and not path.is_file():
                raise CorpusError(f"{path} is no regular file", "Give a JSONL, JSON or CSV file")
            return [path]
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror})", "Give a file or folder that you may read") from error
    if not files:
        raise CorpusError(f"the folder {path} holds no items", f"Give a folder with {', '.join(SUFFIXES)} files")
    return files


def _items_of(path: Path) -> Iterator[AnyItem]:
    readers = {".csv": _rows, ".tsv": _rows, ".json": _json_file}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for record in readers.get(path.suffix.lower(), _json_lines)(path, stream):
                yield _parsed(record)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror})", "Give a JSONL, JSON or CSV file") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8", "Convert the file to UTF-8") from error


def _json_lines(path: Path, stream: Iterable[str]) -> Iterator[Record]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{place} is not JSON: {error}", "Put one JSON object on each line") from error
        yield _record(place, record, path)


def _json_file(path: Path, stream: Iterable[str]) -> Iterator[Record]:
    """A list of records, one record, SQuAD's tree; or JSON lines under the wrong name."""
    lines = list(stream)
    try:
        found = json.loads("".join(lines))
    except (ValueError, RecursionError):
        # JSON lines name the line of the fault; of a text on many lines that is the first one.
        yield from _json_lines(path, lines)
        return
    if isinstance(found, dict) and isinstance(found.get("data"), list):
        yield from layout_answers.squad_records(found["data"], path)
        return
    for number, record in enumerate(found if isinstance(found, list) else [found], start=1):
        yield _record(f"{path}, record {number},", record, path)


def _rows(path: Path, stream: Iterable[str]) -> Iterator[Record]:
    reader = csv.DictReader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    try:
        for row in reader:
            if row.pop(None, None) is not None:  # type: ignore[call-overload]
                raise CorpusError(
                    f"{path}:{reader.line_num} has more fields than the first line has names", "Put fields with a comma in quotation marks"
                )
            # The reader's own limit is one for the whole process, and others raise it.
            if any(len(value) > LONGEST_FIELD_CHARACTERS for value in row.values() if value is not None):
                raise CorpusError(
                    f"{path}:{reader.line_num} has a field that is longer than {LONGEST_FIELD_CHARACTERS} characters", "Shorten its fields"
                )
            yield Record(f"{path}:{reader.line_num}", {key: value for key, value in row.items() if value is not None}, path)
    except csv.Error as error:
        # The counter stands at the last line that was read whole.
        raise CorpusError(
            f"{path}:{reader.line_num + 1} is no valid CSV: {error}", "Mend the quotation marks of this line, or shorten its fields"
        ) from error


def _record(place: str, record: Any, path: Path) -> Record:
    if not isinstance(record, dict):
        raise CorpusError(f"{place} is not a JSON object", 'Write {"prompt": "...", "answer": "..."} on each line')
    return Record(place, record, path)


def _parsed(record: Record) -> AnyItem:
    record.check()
    for needed, parse in LAYOUTS:
        if all(key in record.values for key in needed):
            return parse(record)
    keys = ", ".join(map(str, list(record.values)[:8])) or "(none)"
    raise CorpusError(
        f"{record.place} has the keys {keys[:200]}, which are those of no task: no text under the key"
        ' "prompt", "good", "question" or "text"',
        'Write {"prompt", "answer"}, {"prompt", "references"}, {"prompt", "constraints"}, {"good", "bad"} or {"question", "choices", "answer"}',
    )
