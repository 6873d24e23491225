"""Answers of a model to many prompts, batch by batch: what was finished is kept when the evaluation is stopped or killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lep_core.evaluation.partial import Batches
from lep_core.inference.generator import BatchAnswer, Generator

Example = tuple[str, str]


def encode_question(generator: Generator, prompt: str, examples: Sequence[Example] = ()) -> list[int]:
    """Token ids of a prompt after solved examples: turns of a chat for chat models, else paragraphs of plain text."""
    if generator.is_chat:
        turns = [turn for one in examples for turn in zip(("user", "assistant"), one, strict=True)]
        messages = [{"role": role, "content": content} for role, content in (*turns, ("user", prompt))]
        return generator.prompts.encode(messages=messages)
    return generator.prompts.encode(prompt="".join(f"{question} {answer}\n\n" for question, answer in examples) + prompt)


def answer_all(
    generator: Generator,
    prompts: Sequence[Sequence[int]],
    budgets: Sequence[int],
    *,
    batch_size: int,
    batches: Batches | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BatchAnswer | None] | None:
    """Greedy answers of at most `budgets` tokens in the order of the prompts; None when `should_stop` became true.

    A prompt that fills the whole context leaves no room for an answer: its answer is None.
    """
    batches = batches or Batches()
    fitting = [index for index, ids in enumerate(prompts) if generator.context is None or len(ids) < generator.context]
    order = sorted(fitting, key=lambda index: (len(prompts[index]), budgets[index]))
    found: list[BatchAnswer | None] = [None] * len(prompts)
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        asked = [[list(prompts[index]), budgets[index]] for index in part]
        values = None if should_stop() else batches.of(asked, lambda asked=asked: _answered(generator, asked, should_stop))
        if values is None:
            return None
        for index, (text, token_ids, reason) in zip(part, values, strict=True):
            found[index] = BatchAnswer(text, tuple(token_ids), reason)
        progress(start + len(part), len(order))
    return found


def _answered(generator: Generator, asked: Sequence[Sequence], should_stop: Callable[[], bool]) -> list[list] | None:
    found = generator.batch(
        [ids for ids, _ in asked],
        max_new_tokens=[budget for _, budget in asked],
        batch_size=len(asked),
        chat=generator.is_chat,
        should_stop=should_stop,
    )
    if any(answer.stop_reason == "stopped" for answer in found):
        return None
    return [[answer.text, list(answer.token_ids), answer.stop_reason] for answer in found]


def first_line(text: str) -> str:
    """The first line that is more than white space: where the answer of a base model ends."""
    return next((line for line in text.splitlines() if line.strip()), "")
