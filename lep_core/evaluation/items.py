"""Items of the benchmark tasks, read from JSONL, CSV or TSV files (or folders of them); the keys of a record say which task it belongs to.

| task | our own layout | layouts of public benchmarks that are read as they are |
|---|---|---|
| instruct | `prompt`, `answer` (text or list of texts) | |
| minimal-pairs | `good`, `bad` | BLiMP `sentence_good`, `sentence_bad`; RuBLiMP `source_sentence`, `target_sentence` |
| multiple-choice | `question`, `choices` (list), `answer` (index from 0, letter, or the choice itself) | MMLU `choice0` ...; XCOPA `premise`, `choice1`, `choice2`, `question`, `label`; ARC `answerKey` |

Every item may have a `language` and a `group`; without a group the name of its file (and BLiMP's `UID`) stands for it.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lep_core.errors import CorpusError
from lep_core.evaluation.answers import normalized

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# "because" and "so", by language: XCOPA's questions become one sentence (Ponti et al. 2020).
CONNECTORS = {
    "de": ("weil", "deshalb"),
    "en": ("because", "so"),
    "es": ("porque", "por eso"),
    "et": ("sest", "seetõttu"),
    "fr": ("parce que", "donc"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "kk": ("өйткені", "сондықтан"),
    "pl": ("ponieważ", "więc"),
    "ru": ("потому что", "поэтому"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "tr": ("çünkü", "bu yüzden"),
    "uk": ("тому що", "тому"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}
_SPLITS = re.compile(r"[._-](dev|test|val|valid|validation|train)$")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One prompt with its accepted answers."""

    prompt: str
    answers: tuple[str, ...]
    language: str | None = None
    kind: str | None = None


@dataclass(frozen=True, kw_only=True)
class MinimalPair:
    """Two sentences that differ in little, of which one is grammatical."""

    good: str
    bad: str
    language: str | None = None
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A question with options of which `answer` (an index) is right.

    `cloze`: the options continue the question, instead of being listed under letters.
    """

    question: str
    options: tuple[str, ...]
    answer: int
    cloze: bool = False
    language: str | None = None
    group: str | None = None


AnyItem = Item | MinimalPair | Choice
ItemType = TypeVar("ItemType", Item, MinimalPair, Choice)


def read_items(paths: Sequence[str | Path]) -> list[AnyItem]:
    """All items of files, and of the files in folders.

    Raises:
        CorpusError: a file is missing or a record is malformed; names file, line and key.
    """
    items = [item for path in paths for file in _files(Path(path)) for item in _items_of(file)]
    if not items:
        raise CorpusError(f"there is no item in {', '.join(map(str, paths))}", 'Give JSONL lines with "prompt" and "answer"')
    return items


def limited(items: Sequence[ItemType], limit: int) -> list[ItemType]:
    """At most `limit` items, shared evenly between languages and groups (the first ones of each), in the given order."""
    turns: dict[Any, int] = {}
    ranked = []
    for position, item in enumerate(items):
        key = (item.language, None if isinstance(item, Item) else item.group)
        turns[key] = turn = turns.get(key, 0) + 1
        ranked.append((turn, position))
    return [items[position] for position in sorted(position for _, position in sorted(ranked)[:limit])]


def labels_of(items: Sequence[MinimalPair | Choice]) -> list[list[str | None]]:
    """Language and, where there is more than one, group of each item: what gets a row of its own in the results."""
    several = len({item.group for item in items}) > 1
    return [[item.language, item.group if several else None] for item in items]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise CorpusError(f"the folder {path} holds no items", f"Give a folder with {', '.join(SUFFIXES)} files")
    return files


def _items_of(path: Path) -> Iterator[AnyItem]:
    for place, record in _records(path):
        yield _parsed(place, record, path)


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from _rows(path, stream) if path.suffix.lower() in (".csv", ".tsv") else _json_lines(path, stream)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror})", "Give a JSONL or CSV file") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8", "Convert the file to UTF-8") from error


def _json_lines(path: Path, stream: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise CorpusError(f"{place} is not JSON: {error}", "Put one JSON object on each line") from error
        if not isinstance(record, dict):
            raise CorpusError(f"{place} is not a JSON object", 'Write {"prompt": "...", "answer": "..."} on each line')
        yield place, record


def _rows(path: Path, stream: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    try:
        for row in reader:
            yield f"{path}:{reader.line_num}", {key: value for key, value in row.items() if key is not None and value is not None}
    except csv.Error as error:
        # The counter stands at the last line that was read whole.
        raise CorpusError(f"{path}:{reader.line_num + 1} is no valid CSV: {error}", "Mend the quotation marks of this line") from error


def _parsed(place: str, record: dict[str, Any], path: Path) -> AnyItem:
    for key in ("language", "kind", "group"):
        if not isinstance(record.get(key), str | None):
            raise CorpusError(f'{place} has no text under the key "{key}"', "Write a text or leave the key out")
    for needed, parse in _LAYOUTS:
        if all(key in record for key in needed):
            return parse(place, record, path)
    raise CorpusError(
        f"{place} has the keys {', '.join(map(str, list(record)[:8])) or '(none)'}, which are those of no task: no text under the key"
        ' "prompt", "good" or "question"',
        'Write {"prompt", "answer"}, {"good", "bad"} or {"question", "choices", "answer"}',
    )


def _text(place: str, record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise CorpusError(f'{place} has no text under the key "{key}"', "Add it")
    return value


def _group(record: Mapping[str, Any], path: Path) -> str:
    return record.get("group") or _SPLITS.sub("", path.stem)


def _instruct(place: str, record: dict[str, Any], path: Path) -> Item:
    prompt, answer = _text(place, record, "prompt"), record.get("answer")
    answers = [answer] if isinstance(answer, str) else answer
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) and normalized(one) for one in answers):
        raise CorpusError(f'{place} has no text, or list of texts, under the key "answer"', "Add it")
    return Item(prompt=prompt, answers=tuple(answers), language=record.get("language") or None, kind=record.get("kind"))


def _pair(good: str, bad: str) -> Callable[[str, dict[str, Any], Path], MinimalPair]:
    def parse(place: str, record: dict[str, Any], path: Path) -> MinimalPair:
        return MinimalPair(
            good=_text(place, record, good),
            bad=_text(place, record, bad),
            language=record.get("language") or None,
            group=record.get("UID") or _group(record, path),
        )

    return parse


def _multiple_choice(place: str, record: dict[str, Any], path: Path) -> Choice:
    choices = record["choices"]
    if isinstance(choices, str):  # a CSV column
        try:
            choices = json.loads(choices)
        except json.JSONDecodeError as error:
            raise CorpusError(f'{place}: "choices" is no JSON list', 'Write ["first", "second"]') from error
    return _choice(place, record, path, question=_text(place, record, "question"), options=choices, answer=record.get("answer"))


def _mmlu(place: str, record: dict[str, Any], path: Path) -> Choice:
    names = sorted((key for key in record if re.fullmatch(r"choice\d+", key)), key=lambda key: int(key[6:]))
    options = [record[name] for name in names]
    return _choice(place, record, path, question=_text(place, record, "question"), options=options, answer=record.get("answer"))


def _arc(place: str, record: dict[str, Any], path: Path) -> Choice:
    question, listed = record["question"], record.get("choices")
    if isinstance(question, dict):  # the layout of the original files
        question, listed = question.get("stem"), question.get("choices")
    if isinstance(listed, list) and all(isinstance(one, dict) for one in listed):
        listed = {"text": [one.get("text") for one in listed], "label": [one.get("label") for one in listed]}
    if not isinstance(listed, dict) or not isinstance(listed.get("text"), list) or not isinstance(listed.get("label"), list):
        raise CorpusError(f'{place}: "choices" has no lists "text" and "label"', "Give ARC's own layout")
    if record["answerKey"] not in listed["label"]:
        raise CorpusError(f'{place}: "answerKey" is {record["answerKey"]!r}, the labels are {listed["label"]}', "Give one of the labels")
    answer = listed["label"].index(record["answerKey"])
    question = _text(place, {"question": question}, "question")
    return _choice(place, record, path, question=question, options=listed["text"], answer=answer, cloze=True)


def _xcopa(place: str, record: dict[str, Any], path: Path) -> Choice:
    language = record.get("language") or next((part for part in path.name.split(".") if part in CONNECTORS), None)
    if record["question"] not in ("cause", "effect"):
        raise CorpusError(f'{place}: "question" is {record["question"]!r}', 'Write "cause" or "effect"')
    connector = record.get("connector") or (CONNECTORS[language][record["question"] == "effect"] if language in CONNECTORS else None)
    if not isinstance(connector, str):
        raise CorpusError(
            f"{place}: the words for because and so are not known for this language",
            f'Add "connector" (the word itself), or "language" with one of {", ".join(CONNECTORS)}',
        )
    premise = _text(place, record, "premise").strip().rstrip(".。")
    options = [_text(place, record, name) for name in ("choice1", "choice2")]
    return Choice(
        question=f"{premise} {connector}",
        options=tuple(option[0].lower() + option[1:] for option in options),
        answer=_answer_index(place, record.get("label"), options),
        cloze=True,
        language=language,
        group=_group(record, path),
    )


def _choice(place: str, record: dict[str, Any], path: Path, *, question: str, options: Any, answer: Any, cloze: bool = False) -> Choice:
    if not isinstance(options, list) or not all(isinstance(one, str | int | float) and str(one).strip() for one in options):
        raise CorpusError(f'{place}: "choices" is no list of texts', 'Write "choices": ["first", "second"]')
    texts = [str(one) for one in options]
    if not 2 <= len(texts) <= len(LETTERS):
        raise CorpusError(f"{place} has {len(texts)} choices", f"Give 2 to {len(LETTERS)}")
    return Choice(
        question=question,
        options=tuple(texts),
        answer=_answer_index(place, answer, texts),
        cloze=bool(record.get("cloze", cloze)),
        language=record.get("language") or None,
        group=record.get("subject") or _group(record, path),
    )


def _answer_index(place: str, answer: Any, options: Sequence[str]) -> int:
    """An index from 0, a letter, or the text of the right option."""
    if isinstance(answer, str):
        if answer in options and not answer.strip().isdigit():
            return options.index(answer)
        cleaned = answer.strip()
        if cleaned.isdigit():
            answer = int(cleaned)
        elif len(cleaned) == 1 and cleaned.upper() in LETTERS:
            answer = LETTERS.index(cleaned.upper())
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(options):
        raise CorpusError(
            f"{place}: the answer {answer!r} is none of its {len(options)} choices", "Give an index from 0, a letter, or the choice's text"
        )
    return answer


_LAYOUTS: tuple[tuple[tuple[str, ...], Callable[[str, dict[str, Any], Path], AnyItem]], ...] = (
    (("prompt",), _instruct),
    (("good", "bad"), _pair("good", "bad")),
    (("sentence_good", "sentence_bad"), _pair("sentence_good", "sentence_bad")),
    (("source_sentence", "target_sentence"), _pair("source_sentence", "target_sentence")),
    (("premise", "choice1", "choice2", "question"), _xcopa),
    (("question", "answerKey"), _arc),
    (("question", "choices"), _multiple_choice),
    (("question", "choice0"), _mmlu),
)
