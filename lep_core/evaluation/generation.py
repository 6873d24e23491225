"""Free answers compared with references: exact match, F1, ROUGE and LCS (questions about a text, summaries, the user's own).

    exact_match, f1           SQuAD's, over normalised words (see `words.py`)
    rouge1, rouge2, rougeL    F1 over words, pairs of words, the longest common subsequence of words
    lcs                       characters of the reference covered by its longest common subsequence with the answer, as in the copy task

Each takes the best of an item's references; results are means over items. Chat models get the prompt through their own template. Base
models continue it: their answer ends with the first line, unless a reference has several lines. An answer is cut when it has several
times the length of the longest reference, so that a model that talks on does not cost minutes; precision is low by then in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lep_core.evaluation.answering import answer_all, encode_question, first_line
from lep_core.evaluation.copy_task import longest_common_subsequence, own_tokens
from lep_core.evaluation.items import Reference, labels_of
from lep_core.evaluation.measurement import Measurement, grouped
from lep_core.evaluation.partial import Batches
from lep_core.evaluation.shots import Shots
from lep_core.evaluation.words import exact_match, f1, rouge_l, rouge_n, words
from lep_core.inference.generator import Generator

TASK = "generation"
METRICS = ("exact_match", "f1", "rouge1", "rouge2", "rougeL", "lcs")
ANSWER_FACTOR = 4
ANSWER_EXTRA_TOKENS = 32


def measure_generation(
    generator: Generator,
    items: Sequence[Reference],
    *,
    max_new_tokens: int,
    batch_size: int,
    shots: Shots | None = None,
    batches: Batches | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
    """All metrics overall, per language and per group, and every answer; None when `should_stop` became true."""
    shots = shots or Shots()
    prompts = [encode_question(generator, item.prompt, [(one.prompt, one.references[0]) for one in shots.of(item)]) for item in items]
    budgets = [min(max_new_tokens, _budget(generator, item)) for item in items]
    found = answer_all(generator, prompts, budgets, batch_size=batch_size, batches=batches, should_stop=should_stop, progress=progress)
    if found is None:
        return None
    records = [_record(generator, item, answer and answer.text) for item, answer in zip(items, found, strict=True)]
    labels = labels_of(items)
    measurements: list[Measurement] = []
    for metric in METRICS:
        measurements += grouped(TASK, metric, [record[metric] for record in records], labels, is_share=metric == "exact_match")
    return measurements, records


def scores_of(answer: str, references: Sequence[str], language: str | None) -> dict[str, float]:
    """Every metric, each with the reference that suits it best."""
    best = dict.fromkeys(METRICS, 0.0)
    answer_words = words(answer)
    for reference in references:
        reference_words = words(reference)
        own = (
            float(exact_match(answer, reference, language)),
            f1(answer, reference, language),
            rouge_n(answer_words, reference_words, 1),
            rouge_n(answer_words, reference_words, 2),
            rouge_l(answer_words, reference_words),
            longest_common_subsequence(reference.strip(), answer.strip()) / len(reference.strip()),
        )
        best = {metric: max(best[metric], value) for metric, value in zip(METRICS, own, strict=True)}
    return best


def _budget(generator: Generator, item: Reference) -> int:
    return ANSWER_FACTOR * max(own_tokens(generator.tokenizer, one) for one in item.references) + ANSWER_EXTRA_TOKENS


def _record(generator: Generator, item: Reference, text: str | None) -> dict[str, Any]:
    got = (text or "").strip()
    if not generator.is_chat and not any("\n" in reference.strip() for reference in item.references):
        got = first_line(got)
    record: dict[str, Any] = {
        "task": TASK,
        "language": item.language,
        "group": item.group,
        "prompt": item.prompt,
        "expected": list(item.references),
        "got": got,
    }
    scores = scores_of(got, item.references, item.language)
    return record | scores | {"ok": bool(scores["exact_match"]), "fits": text is not None}
