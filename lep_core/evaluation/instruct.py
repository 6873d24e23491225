"""Instruction tasks with checkable answers: exact match per language.

Items are JSON lines `{"prompt": str, "answer": str or [str, ...], "language": "ru", "kind": "category"}` (see `reading.py`). An answer is right when it equals one of the accepted answers after NFKC, case folding, removal of surrounding white space and of final
punctuation. Chat models get the prompt through their own template; base models continue it, and their first line counts.

A generation is cut when it is already several times longer than the longest accepted answer: it cannot match any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lep_core.evaluation.answering import answer_all, encode_question, first_line
from lep_core.evaluation.answers import is_right
from lep_core.evaluation.items import Item, labels_of
from lep_core.evaluation.measurement import Measurement, grouped_shares
from lep_core.evaluation.partial import Batches
from lep_core.evaluation.shots import Shots
from lep_core.inference.generator import Generator

TASK = "instruct"
# Room for a wrong answer, so that the report shows what the model wanted to say.
ANSWER_FACTOR = 3
ANSWER_EXTRA_TOKENS = 16


def measure_instruct(
    generator: Generator,
    items: Sequence[Item],
    *,
    max_new_tokens: int,
    batch_size: int,
    shots: Shots | None = None,
    batches: Batches | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
    """Exact match overall and per language, and every answer; None when `should_stop` became true."""
    shots = shots or Shots()
    prompts = [encode_question(generator, item.prompt, [(one.prompt, one.answers[0]) for one in shots.of(item)]) for item in items]
    budgets = [min(max_new_tokens, _budget(generator, item)) for item in items]
    found = answer_all(generator, prompts, budgets, batch_size=batch_size, batches=batches, should_stop=should_stop, progress=progress)
    if found is None:
        return None
    records = [_record(generator, item, answer and answer.text) for item, answer in zip(items, found, strict=True)]
    right = [record["ok"] for record in records]
    return grouped_shares(TASK, "exact_match", right, labels_of(items)), records


def _budget(generator: Generator, item: Item) -> int:
    longest = max(len(generator.tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in item.answers)
    return ANSWER_FACTOR * longest + ANSWER_EXTRA_TOKENS


def _record(generator: Generator, item: Item, text: str | None) -> dict[str, Any]:
    got = text or ""
    if not generator.is_chat:
        got = first_line(got)
    record: dict[str, Any] = {
        "task": TASK,
        "language": item.language,
        "kind": item.kind,
        "prompt": item.prompt,
        "expected": list(item.answers),
    }
    return record | {"got": got, "ok": is_right(got, item.answers), "fits": text is not None}
