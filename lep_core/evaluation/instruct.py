"""Instruction tasks with checkable answers: exact match per language.

Items are JSON lines `{"prompt": str, "answer": str or [str, ...], "language": "ru", "kind": "category"}` (language and kind are
optional). An answer is right when it equals one of the accepted answers after NFKC, case folding, removal of surrounding white space and of final
punctuation. Chat models get the prompt through their own template; base models continue it, and their first line counts.

A generation is cut when it is already several times longer than the longest accepted answer: it cannot match any more.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lep_core.errors import CorpusError
from lep_core.evaluation.measurement import Measurement
from lep_core.inference.generator import Generator

TASK = "instruct"
# Room for a wrong answer, so that the report shows what the model wanted to say.
ANSWER_FACTOR = 3
ANSWER_EXTRA_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class Item:
    """One prompt with its accepted answers."""

    prompt: str
    answers: tuple[str, ...]
    language: str | None = None
    kind: str | None = None


def read_items(paths: Sequence[str | Path], *, limit: int | None = None) -> list[Item]:
    """Read items from JSONL files; with `limit`, at most so many, evenly from all languages.

    Raises:
        CorpusError: a file is missing or a line is malformed; names file, line and key.
    """
    items = [item for path in paths for item in _read_file(Path(path))]
    if not items:
        raise CorpusError(f"there is no item in {', '.join(map(str, paths))}", 'Give JSONL lines with "prompt" and "answer"')
    return items if limit is None else limited(items, limit)


def limited(items: Sequence[Item], limit: int) -> list[Item]:
    """At most `limit` items, shared evenly between the languages (the first ones of each), in the given order."""
    turns: dict[str | None, int] = {}
    ranked = []
    for position, item in enumerate(items):
        turns[item.language] = turn = turns.get(item.language, 0) + 1
        ranked.append((turn, position))
    return [items[position] for position in sorted(position for _, position in sorted(ranked)[:limit])]


def _read_file(path: Path) -> list[Item]:
    try:
        with open(path, encoding="utf-8-sig") as stream:
            return [_parsed(f"{path}:{number}", line) for number, line in enumerate(stream, start=1) if line.strip()]
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror})", "Give a JSONL file") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8", "Convert the file to UTF-8") from error


def _parsed(place: str, line: str) -> Item:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise CorpusError(f"{place} is not JSON: {error}", "Put one JSON object on each line") from error
    if not isinstance(record, dict):
        raise CorpusError(f"{place} is not a JSON object", 'Write {"prompt": "...", "answer": "..."} on each line')
    prompt, answer = record.get("prompt"), record.get("answer")
    if not isinstance(prompt, str) or not prompt.strip():
        raise CorpusError(f'{place} has no text under the key "prompt"', "Add it")
    answers = [answer] if isinstance(answer, str) else answer
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) and normalized(one) for one in answers):
        raise CorpusError(f'{place} has no text, or list of texts, under the key "answer"', "Add it")
    for key in ("language", "kind"):
        if not isinstance(record.get(key), str | None):
            raise CorpusError(f'{place} has no text under the key "{key}"', "Write a text or leave the key out")
    return Item(prompt=prompt, answers=tuple(answers), language=record.get("language") or None, kind=record.get("kind"))


def normalized(text: str) -> str:
    """NFKC, case folded, without surrounding white space and final punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold().strip()
    end = len(folded)
    while end and (unicodedata.category(folded[end - 1]).startswith("P") or folded[end - 1].isspace()):
        end -= 1
    # An answer that is nothing but punctuation stays.
    return folded[:end] or folded


def is_right(answer: str, item: Item) -> bool:
    """Whether an answer equals one of the item's accepted ones."""
    return normalized(answer) in {normalized(accepted) for accepted in item.answers}


def measure_instruct(
    generator: Generator,
    items: Sequence[Item],
    *,
    max_new_tokens: int,
    batch_size: int,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
    """Exact match overall and per language, and every answer; None when `should_stop` became true."""
    prompts = [_encoded(generator, item.prompt) for item in items]
    # A prompt that fills the whole context leaves no room for an answer: it counts as wrong.
    fitting = [index for index, ids in enumerate(prompts) if generator.context is None or len(ids) < generator.context]
    found = generator.batch(
        [prompts[index] for index in fitting],
        max_new_tokens=[min(max_new_tokens, _budget(generator, items[index])) for index in fitting],
        batch_size=batch_size,
        chat=generator.is_chat,
        should_stop=should_stop,
        progress=lambda done: progress(done, len(fitting)),
    )
    if should_stop() and any(answer.stop_reason == "stopped" for answer in found):
        return None
    texts = {index: answer.text for index, answer in zip(fitting, found, strict=True)}
    records = [_record(generator, item, texts.get(index)) for index, item in enumerate(items)]
    return _measurements(items, [record["ok"] for record in records]), records


def _encoded(generator: Generator, prompt: str) -> list[int]:
    if generator.is_chat:
        return generator.prompts.encode(messages=[{"role": "user", "content": prompt}])
    return generator.prompts.encode(prompt=prompt)


def _budget(generator: Generator, item: Item) -> int:
    longest = max(len(generator.tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in item.answers)
    return ANSWER_FACTOR * longest + ANSWER_EXTRA_TOKENS


def _record(generator: Generator, item: Item, text: str | None) -> dict[str, Any]:
    got = text or ""
    if not generator.is_chat:
        got = next((line for line in got.splitlines() if line.strip()), "")
    record: dict[str, Any] = {
        "task": TASK,
        "language": item.language,
        "kind": item.kind,
        "prompt": item.prompt,
        "expected": list(item.answers),
    }
    return record | {"got": got, "ok": is_right(got, item), "fits": text is not None}


def _measurements(items: Sequence[Item], right: Sequence[bool]) -> list[Measurement]:
    languages = dict.fromkeys(item.language for item in items if item.language)
    groups: list[tuple[str, list[bool]]] = [(TASK, list(right))]
    for language in languages:
        groups.append((f"{TASK}/{language}", [ok for item, ok in zip(items, right, strict=True) if item.language == language]))
    return [
        Measurement(task=task, metric="exact_match", numerators=[float(ok) for ok in oks], denominators=[1.0] * len(oks), is_share=True)
        for task, oks in groups
    ]
