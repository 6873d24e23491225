"""Texts of the effect study: what the base model reads, what it is adapted on, what is measured, and the questions.

Real novels and the task forms of the demo's world stand side by side in raw text; Russian novels are split by book, English ones by
place, so that nothing that is measured was read before. Without a data folder the world's own text takes the novels' place.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from lep_core.demo.corpora import documents, held_out_tasks
from lep_core.demo.world import ANSWER_SIGN, LANGUAGES, Mixture, Task, held_out, make_task, question_line, training_task
from lep_core.evaluation.copy_task import INSTRUCTIONS
from lep_core.evaluation.items import Item
from lep_core.files import write_text

BASE_RU = ("Chekhov_Dama", "Gogol_Mertvye", "Turgenev_Nov", "Pushkin_Dubrovsky", "Dostoyevsky_BednyeLyudi")
ADAPT_RU = ("Tolstoi_Voskreseniye", "Dostoyevsky_PrestupleniyeINakazaniye", "Turgenev_Rudin", "Pushkin_CapitanskaaDochka")
HELDOUT_RU = ("Turgenev_OttsyIDeti", "Tolstoi_SemeynoyeSchastiye")
DOCUMENT_CHARACTERS = 1_200
COPY_CHARACTERS = (20, 60)
# Most lines are questions: a skill that raw text does not hold is lost with the vocabulary (docs/demo.md).
WORLD = Mixture(sentence=0.15, fact=0.05, word_list=0.2, question=0.6)
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")


@dataclass(frozen=True, kw_only=True)
class Novels:
    """Documents of a few paragraphs; `real` instruction conversations are (prompt, answer)."""

    base: dict[str, list[str]]
    adapt: list[str]
    heldout: dict[str, list[str]]
    pairs: list[dict[str, str]]
    real: dict[str, list[tuple[str, str]]]


def read_novels(data: Path, *, heldout_characters: int, pairs_per_language: int) -> Novels:
    """The data folder of docs/study.md."""
    russian = data / "corpora" / "ru"
    english = [_lines(path) for path in sorted((data / "corpora" / "en").glob("*.txt"))]
    borders = [_tail(lines, heldout_characters // len(english)) for lines in english]
    heldout_ru = [_lines(russian / f"{name}.txt") for name in HELDOUT_RU]
    return Novels(
        base={
            "en": _documents(line for lines, border in zip(english, borders, strict=True) for line in lines[:border]),
            "ru": _documents(line for name in BASE_RU for line in _lines(russian / f"{name}.txt")),
        },
        adapt=_documents(line for name in ADAPT_RU for line in _lines(russian / f"{name}.txt")),
        heldout={
            "en": _documents(line for lines, border in zip(english, borders, strict=True) for line in lines[border:]),
            "ru": _documents(line for lines in heldout_ru for line in lines[_tail(lines, heldout_characters // len(heldout_ru)) :]),
        },
        pairs=[*_blimp(data, pairs_per_language), *_rublimp(data, pairs_per_language)],
        real={
            "en": _conversations(data / "instruct" / "en_self_instruct_seed.jsonl"),
            "ru": _conversations(data / "instruct" / "ru_arena_general.jsonl"),
        },
    )


def made_up_novels(*, size_bytes: int, heldout_bytes: int, pairs_per_language: int) -> Novels:
    """The world's text in the place of everything real."""
    plain = Mixture(sentence=0.7, fact=0.3, word_list=0.0, question=0.0)

    def made(purpose: str, language: str, size: int) -> list[str]:
        return list(documents(Random(f"{purpose} {language}"), language, size, plain))

    pairs = []
    for language in LANGUAGES:
        lines = [line for text in made("pairs", language, 200 * pairs_per_language) for line in text.splitlines()]
        for line in lines[:pairs_per_language]:
            pairs.append({"good": line, "bad": " ".join(reversed(line.split())), "language": language, "group": "made-up"})
    real = {language: [("?", text[:80]) for text in made("real", language, 4_000)] for language in LANGUAGES}
    return Novels(
        base={language: made("base", language, size_bytes) for language in LANGUAGES},
        adapt=made("adapt", "ru", size_bytes),
        heldout={language: made("heldout", language, heldout_bytes) for language in LANGUAGES},
        pairs=pairs,
        real=real,
    )


def sentences(texts: Iterable[str]) -> list[str]:
    """Short sentences to copy, each once."""
    least, most = COPY_CHARACTERS
    found = (one.strip() for text in texts for line in text.splitlines() for one in _SENTENCE_END.split(line))
    return list(dict.fromkeys(one for one in found if least <= len(one) <= most))


def copy_prompt(language: str, text: str) -> str:
    """How the copy task of `evaluate` asks."""
    return INSTRUCTIONS[language].format(text=text)


def task_documents(random: Random, language: str, copied: Sequence[str], size_bytes: int) -> Iterator[str]:
    """The world's lines, with a request to copy in one document out of six."""
    for number, text in enumerate(documents(random, language, size_bytes, WORLD)):
        if number % 6 == 5:
            sentence = random.choice(copied)
            text = f"{copy_prompt(language, sentence)}{ANSWER_SIGN} {sentence}\n{question_line(training_task(random, language))}\n"
        yield text


def mixed(random: Random, language: str, novels: Sequence[str], *, novel_bytes: int, task_bytes: int) -> list[str]:
    """Novels and task forms in random order."""
    texts: list[str] = []
    left = novel_bytes
    for text in random.sample(novels, len(novels)):
        if left <= 0:
            break
        texts.append(text)
        left -= len(text.encode())
    texts += task_documents(random, language, sentences(novels), task_bytes)
    random.shuffle(texts)
    return texts


def write_documents(path: Path, texts: Iterable[str]) -> None:
    """Documents with blank lines between them."""
    write_text(path, "\n".join(f"{text.strip()}\n" for text in texts))


def write_records(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """JSON lines."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def held_out_items(count: int) -> list[Item]:
    """Questions of the world that no training text holds, all kinds equally often."""
    return [_item(task) for language in LANGUAGES for task in held_out_tasks(Random(f"items {language}"), language, count)]


def held_out_copies(count: int) -> list[Item]:
    """Lists of two or three words to repeat, none of them in a training text or twice."""
    chosen = []
    for language in LANGUAGES:
        random = Random(f"copies {language}")
        tasks: dict[str, Task] = {}
        while len(tasks) < count:
            task = make_task(random, language, "repeat")
            if held_out(task.prompt):
                tasks[task.prompt] = task
        chosen += map(_item, tasks.values())
    return chosen


def _item(task: Task) -> Item:
    return Item(prompt=task.prompt, answers=(task.answer,), language=task.language, kind=task.kind)


def conversations(random: Random, novels: Novels, count: int, *, kinds: tuple[float, float, float], longest: int) -> list[tuple[str, str]]:
    """(prompt, answer): questions of the world, copies, real conversations, in these shares and in both languages.

    A question that is asked for measuring is never among them. Real answers are cut at `longest` characters, at a word's end.
    """
    copied = {language: sentences(novels.base[language]) for language in LANGUAGES}
    chosen = []
    for kind in random.choices(("task", "copy", "real"), kinds, k=count):
        language = random.choice(LANGUAGES)
        if kind == "task":
            task = training_task(random, language)
            chosen.append((task.prompt, task.answer))
        elif kind == "copy":
            sentence = random.choice(copied[language])
            chosen.append((copy_prompt(language, sentence), sentence))
        else:
            prompt, answer = random.choice(novels.real[language])
            chosen.append((_cut(prompt, longest), _cut(answer, longest)))
    return chosen


def _cut(text: str, longest: int) -> str:
    text = text.strip()
    return text if len(text) <= longest else text[:longest].rsplit(maxsplit=1)[0]


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _tail(lines: Sequence[str], characters: int) -> int:
    """Where the last lines with so many characters begin."""
    at = len(lines)
    while at > 0 and characters > 0:
        at -= 1
        characters -= len(lines[at])
    return at


def _documents(lines: Iterable[str]) -> list[str]:
    texts: list[str] = []
    held: list[str] = []
    for line in lines:
        held.append(line)
        if sum(map(len, held)) >= DOCUMENT_CHARACTERS:
            texts.append("\n".join(held))
            held = []
    return [*texts, "\n".join(held)] if held else texts


def _conversations(path: Path) -> list[tuple[str, str]]:
    records = [json.loads(line)["messages"] for line in _lines(path)]
    return [(messages[0]["content"], messages[1]["content"]) for messages in records]


def _blimp(data: Path, count: int) -> list[dict[str, str]]:
    files = sorted((data / "benchmarks" / "blimp").glob("*.jsonl"))
    return [
        {"good": record["sentence_good"], "bad": record["sentence_bad"], "language": "en", "group": path.stem}
        for path in files
        for record in map(json.loads, _lines(path)[: -(-count // len(files))])
    ]


def _rublimp(data: Path, count: int) -> list[dict[str, str]]:
    files = sorted((data / "benchmarks" / "rublimp").glob("*.csv"))
    pairs = []
    for path in files:
        with path.open(encoding="utf-8", newline="") as stream:
            for record in list(csv.DictReader(stream))[: -(-count // len(files))]:
                pairs.append({"good": record["source_sentence"], "bad": record["target_sentence"], "language": "ru", "group": path.stem})
    return pairs
