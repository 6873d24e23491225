"""Instruction tasks with checkable answers: exact match per language.

Items are JSON lines `{"prompt": str, "answer": str or [str, ...], "language": "ru", "kind": "category"}` (see `items.py`). An answer is right when it equals one of the accepted answers after NFKC, case folding, removal of surrounding white space and of final
punctuation. Chat models get the prompt through their own template; base models continue it, and their first line counts.

A generation is cut when it is already several times longer than the longest accepted answer: it cannot match any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lep_core.evaluation.answers import is_right
from lep_core.evaluation.items import Item
from lep_core.evaluation.measurement import Measurement, grouped_shares
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
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
    """Exact match overall and per language, and every answer; None when `should_stop` became true."""
    shots = shots or Shots()
    prompts = [_encoded(generator, item, shots.of(item)) for item in items]
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
    right = [record["ok"] for record in records]
    return grouped_shares(TASK, "exact_match", right, [[item.language] for item in items]), records


def _encoded(generator: Generator, item: Item, examples: Sequence[Item]) -> list[int]:
    if generator.is_chat:
        messages = [message for one in examples for message in (_message("user", one.prompt), _message("assistant", one.answers[0]))]
        return generator.prompts.encode(messages=[*messages, _message("user", item.prompt)])
    return generator.prompts.encode(prompt="".join(f"{one.prompt} {one.answers[0]}\n\n" for one in examples) + item.prompt)


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


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
    return record | {"got": got, "ok": is_right(got, item.answers), "fits": text is not None}
