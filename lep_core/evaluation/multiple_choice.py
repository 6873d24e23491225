"""Multiple choice by log-likelihood: which option does the model find likeliest? (MMLU, ARC, XCOPA and the user's own)

letters   the options are listed under letters and the letter is scored. `accuracy` counts the order given. `accuracy_both_orders` counts
          an item only if it is right in the reversed order too (as PARus is scored in the paper): a model that always says A gets 0.
cloze     each option continues the question, none is listed. `accuracy` takes the highest sum; `accuracy_normalized` the highest sum
          per UTF-8 byte of the option, so that long options are not at a disadvantage.

Chat models get the letters task through their own template, base models as plain text; cloze is always plain. Few-shot examples
stand before the question: as turns of the chat, or as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lep_core.evaluation.items import LETTERS, Choice, labels_of
from lep_core.evaluation.language import prompt_language
from lep_core.evaluation.log_likelihood import Request, Score, encode_plain, encode_request, score_requests
from lep_core.evaluation.measurement import Measurement, grouped_shares
from lep_core.evaluation.partial import Batches
from lep_core.evaluation.shots import Shots
from lep_core.inference.generator import Generator

TASK = "multiple-choice"
ANSWER_WORDS = {"en": "Answer:", "ru": "Ответ:"}


@dataclass(frozen=True)
class _Question:
    """Requests of one item in one order of its options, one request an option."""

    item: Choice
    order: tuple[int, ...]
    requests: list[Request]

    def chosen(self, scores: Sequence[float]) -> int:
        """Index in the item's own order; the first of equal scores."""
        return self.order[max(range(len(scores)), key=lambda position: (scores[position], -position))]


def measure_multiple_choice(
    generator: Generator,
    items: Sequence[Choice],
    *,
    batch_size: int,
    shots: Shots | None = None,
    batches: Batches | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
    """Accuracies overall, per language and per group, and every item's choice; None when `should_stop` became true."""
    shots = shots or Shots()
    questions = [question for item in items for question in _questions(generator, item, shots.of(item))]
    requests = [request for question in questions for request in question.requests]
    scores = score_requests(generator, requests, batch_size=batch_size, batches=batches, should_stop=should_stop, progress=progress)
    if scores is None:
        return None
    given = iter(scores)
    by_question = [[next(given) for _ in question.requests] for question in questions]
    records: list[dict[str, Any]] = []
    position = 0
    for item in items:
        count = 1 if item.cloze else 2
        records.append(_record(item, questions[position : position + count], by_question[position : position + count]))
        position += count
    return _measurements(items, records), records


def _questions(generator: Generator, item: Choice, examples: Sequence[Choice]) -> list[_Question]:
    given = tuple(range(len(item.options)))
    if item.cloze:
        context = "".join(f"{one.question} {one.options[one.answer]}\n\n" for one in examples) + item.question
        return [_Question(item, given, [encode_request(generator, context, f" {option}") for option in item.options])]
    return [_Question(item, order, _letter_requests(generator, item, order, examples)) for order in (given, given[::-1])]


def _letter_requests(generator: Generator, item: Choice, order: Sequence[int], examples: Sequence[Choice]) -> list[Request]:
    letters = LETTERS[: len(order)]
    if not generator.is_chat:
        context = "".join(f"{listed(one)} {LETTERS[one.answer]}\n\n" for one in examples) + listed(item, order)
        return [encode_request(generator, context, f" {letter}") for letter in letters]
    messages = []
    for one in examples:
        messages += [{"role": "user", "content": listed(one)}, {"role": "assistant", "content": LETTERS[one.answer]}]
    context_ids = tuple(generator.prompts.encode(messages=[*messages, {"role": "user", "content": listed(item, order)}]))
    return [Request(context_ids, tuple(encode_plain(generator, letter))) for letter in letters]


def listed(item: Choice, order: Iterable[int] | None = None) -> str:
    """The question with its options under letters, and the word for the answer in the language of the text."""
    options = [item.options[index] for index in (range(len(item.options)) if order is None else order)]
    text = "".join([item.question.strip(), *(f"\n{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))])
    return f"{text}\n{ANSWER_WORDS[prompt_language(text)]}"


def _record(item: Choice, questions: Sequence[_Question], found: Sequence[Sequence[Score]]) -> dict[str, Any]:
    scores = [[score.log_likelihood for score in one] for one in found]
    chosen = [question.chosen(values) for question, values in zip(questions, scores, strict=True)]
    record: dict[str, Any] = {
        "task": TASK,
        "language": item.language,
        "group": item.group,
        "question": item.question,
        "options": list(item.options),
        "expected": item.answer,
        "got": chosen[0],
        "log_likelihoods": list(scores[0]),
        "ok": chosen[0] == item.answer,
        "truncated": any(score.truncated for one in found for score in one),
    }
    if item.cloze:
        per_byte = [value / len(option.encode("utf-8")) for value, option in zip(scores[0], item.options, strict=True)]
        return record | {"ok_normalized": questions[0].chosen(per_byte) == item.answer}
    return record | {"ok_both_orders": all(one == item.answer for one in chosen)}


def _measurements(items: Sequence[Choice], records: Sequence[dict[str, Any]]) -> list[Measurement]:
    found: list[Measurement] = []
    for key, metric in (("ok", "accuracy"), ("ok_both_orders", "accuracy_both_orders"), ("ok_normalized", "accuracy_normalized")):
        chosen = [(item, record[key]) for item, record in zip(items, records, strict=True) if key in record]
        if chosen:
            found += grouped_shares(TASK, metric, [ok for _, ok in chosen], labels_of([item for item, _ in chosen]))
    return found
