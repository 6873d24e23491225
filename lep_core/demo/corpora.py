"""Text files of the demo's world: a Russian corpus to adapt to, English text for replay, and held-out tasks to measure on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from lep_core.demo.world import KINDS, LANGUAGES, Mixture, Task, held_out, make_task, raw_line, training_task
from lep_core.files import write_text

RUSSIAN_BYTES = 2_000_000
ENGLISH_BYTES = 300_000
ITEMS_PER_LANGUAGE = 200
PROMPTS_PER_LANGUAGE = 800
PARALLEL_LINES = 500
CORPUS_MIXTURE = Mixture()

_LINES_PER_DOCUMENT = 6


@dataclass(frozen=True, kw_only=True)
class DemoFiles:
    """Where `write_corpora` put its files."""

    russian_corpus: Path
    english_corpus: Path
    items: Path
    prompts: Path


def documents(random: Random, language: str, size_bytes: int, mixture: Mixture) -> Iterator[str]:
    """Documents of a few lines each, until their UTF-8 text reaches `size_bytes`."""
    written = 0
    while written < size_bytes:
        text = "\n".join(raw_line(random, language, mixture) for _ in range(_LINES_PER_DOCUMENT)) + "\n"
        written += len(text.encode("utf-8")) + 1
        yield text


def held_out_tasks(random: Random, language: str, count: int) -> list[Task]:
    """`count` different tasks that occur in no training text, all kinds equally often."""
    tasks: dict[str, Task] = {}
    while len(tasks) < count:
        task = make_task(random, language, KINDS[len(tasks) % len(KINDS)])
        if held_out(task.prompt):
            tasks.setdefault(task.prompt, task)
    return list(tasks.values())


def write_corpora(folder: Path, seed: int = 0, *, russian_bytes: int = RUSSIAN_BYTES, english_bytes: int = ENGLISH_BYTES) -> DemoFiles:
    """Write `russian.txt`, `english.txt`, `items.jsonl` and `prompts.jsonl` into `folder`; the same seed gives the same bytes.

    Prompts have no answers: they are what self-calibration asks the original model. None of them is among the items. Documents are separated by blank lines. Raises `OutputError` or `ResourceError` when the folder cannot be written.
    """
    folder = Path(folder)
    files = DemoFiles(
        russian_corpus=folder / "russian.txt",
        english_corpus=folder / "english.txt",
        items=folder / "items.jsonl",
        prompts=folder / "prompts.jsonl",
    )
    for path, language, size in ((files.russian_corpus, "ru", russian_bytes), (files.english_corpus, "en", english_bytes)):
        # A string seed is hashed by Random itself, so the languages get unrelated streams.
        write_text(path, "\n".join(documents(Random(f"corpus {language} {seed}"), language, size, CORPUS_MIXTURE)))
    tasks = [task for language in LANGUAGES for task in held_out_tasks(Random(f"items {language} {seed}"), language, ITEMS_PER_LANGUAGE)]
    write_text(files.items, "".join(json.dumps(_item(task), ensure_ascii=False) + "\n" for task in tasks))
    random = Random(f"prompts {seed}")
    asked = [training_task(random, language) for _ in range(PROMPTS_PER_LANGUAGE) for language in LANGUAGES]
    write_text(files.prompts, "".join(json.dumps({"prompt": task.prompt}, ensure_ascii=False) + "\n" for task in asked))
    return files


def write_parallel(folder: Path, seed: int = 0, *, count: int = PARALLEL_LINES) -> list[Path]:
    """Write the same sentences in each language, one a line, into `en.txt` and `ru.txt` of `folder`; the paths."""
    paths = [Path(folder) / f"{language}.txt" for language in LANGUAGES]
    for path, language in zip(paths, LANGUAGES, strict=True):
        # The same seed chooses the same words and template in either language.
        lines = (raw_line(Random(f"parallel {seed} {number}"), language, CORPUS_MIXTURE) for number in range(count))
        write_text(path, "".join(f"{line}\n" for line in lines))
    return paths


def _item(task: Task) -> dict[str, str]:
    return {"prompt": task.prompt, "answer": task.answer, "language": task.language, "kind": task.kind}
