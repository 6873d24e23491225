"""What the effect study measures of every model, and how cells are compared.

A cell is one way to adapt, repeated with several seeds. Its value is the mean over seeds; the interval is over the units (a bootstrap over
pieces of text; Wilson's for shares of sentence pairs and questions), and the least and greatest seed stand beside it. Two cells are compared on
the same units. Shapes: N units, S seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lep_core import models
from lep_core.evaluation import bits_per_byte, copy_task, instruct, minimal_pairs
from lep_core.evaluation.intervals import bootstrap_difference, bootstrap_ratio, wilson
from lep_core.evaluation.items import Item, MinimalPair
from lep_core.evaluation.measurement import Measurement
from lep_core.inference.generator import Generator
from studies import effect_texts
from studies.effect_texts import Novels

BLOCK_SIZE, BATCH_SIZE, MAX_NEW_TOKENS = 128, 64, 64
# Name in the results -> larger is better.
METRICS = {"bits_per_byte": False, "minimal_pairs": True, "tasks": True, "copy": True}
Units = dict[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Material:
    """The same for all models; by language."""

    texts: Mapping[str, Sequence[str]]
    pairs: Sequence[MinimalPair]
    items: Sequence[Item]
    copies: Sequence[Item]


def material(novels: Novels, *, items: int, copies: int) -> Material:
    """What the novels hold out, and as many questions and lists to repeat in each language."""
    return Material(
        texts=novels.heldout,
        pairs=[MinimalPair(**pair) for pair in novels.pairs],
        items=effect_texts.held_out_items(items),
        copies=effect_texts.held_out_copies(copies),
    )


def measure(folder: Path, material: Material) -> dict[str, Units]:
    """ "metric/language" -> units of the measurement; a base model answers no questions."""
    generator = Generator.load(folder, threads=1)
    found: dict[str, Measurement] = {}
    for language, texts in material.texts.items():
        measured = bits_per_byte.measure_bits_per_byte(generator, texts, block_size=BLOCK_SIZE, batch_size=16)
        assert measured is not None
        found[f"bits_per_byte/{language}"] = measured
    pairs = minimal_pairs.measure_minimal_pairs(generator, material.pairs, batch_size=BATCH_SIZE)
    found |= _by_language("minimal_pairs", pairs, material)
    if generator.is_chat:
        for name, items in (("tasks", material.items), ("copy", material.copies)):
            asked = instruct.measure_instruct(generator, items, max_new_tokens=MAX_NEW_TOKENS, batch_size=BATCH_SIZE)
            found |= _by_language(name, asked, material)
    return {name: one.to_json() for name, one in found.items()}


def copied_sentences(folder: Path, material: Material, count: int) -> Row:
    """Share of held-out sentences that the product's copy task gets back unchanged, by language."""
    generator = Generator.load(folder, threads=1)
    found: Row = {"n": count}
    for language, texts in material.texts.items():
        sentences = effect_texts.sentences(texts)
        chosen = sentences[:: max(1, len(sentences) // count)][:count]
        copied = copy_task.measure_copy(generator, chosen, task=copy_task.SENTENCE_TASK, batch_size=BATCH_SIZE)
        assert copied is not None
        found[language] = next(sum(one.numerators) / one.n for one in copied[0] if one.metric == "exact_copy")
    return found


def _by_language(name: str, measured: tuple[list[Measurement], list[Any]] | None, material: Material) -> dict[str, Measurement]:
    assert measured is not None
    languages = set(material.texts)
    return {f"{name}/{one.task.split('/')[1]}": one for one in measured[0] if one.task.partition("/")[2] in languages}


def characters_per_token(folder: Path, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """By language."""
    tokenizer = models.load_tokenizer(folder)
    return {language: sum(map(len, own)) / sum(copy_task.own_tokens(tokenizer, text) for text in own) for language, own in texts.items()}


def value_rows(cell: Row, runs: Sequence[Mapping[str, Units]]) -> list[Row]:
    """One row a measurement: mean over seeds with its interval over units, and the seeds' own values [S]."""
    rows = []
    for name in runs[0]:
        metric, language = name.split("/")
        tops_N, bottoms_N = _mean_over_seeds(runs, name)
        n = len(tops_N)
        # As though there were one seed: seeds share their units, so more of them do not make the interval that much narrower.
        value, low, high = wilson(sum(tops_N), n) if runs[0][name]["is_share"] else bootstrap_ratio(tops_N, bottoms_N)
        rows.append(
            {
                **cell,
                "metric": metric,
                "language": language,
                "value": value,
                "low": low,
                "high": high,
                "n": n,
                "seeds": _values(runs, name),
            }
        )
    return rows


def difference_rows(cell: Row, runs: Sequence[Mapping[str, Units]], reference: str, others: Sequence[Mapping[str, Units]]) -> list[Row]:
    """Cell minus reference on the same units. `sure`: the interval over units leaves out 0, and all seeds have the same sign.

    Where both have several seeds, equal ones are subtracted, and only those that both have: they learned from the same text in the same order.
    """
    rows = []
    if len(runs) > 1 and len(others) > 1:
        common = min(len(runs), len(others))
        runs, others = runs[:common], others[:common]
    for name in runs[0]:
        if name not in others[0]:
            continue
        metric, language = name.split("/")
        value, low, high = bootstrap_difference(_mean_over_seeds(runs, name), _mean_over_seeds(others, name))
        own, theirs = _values(runs, name), _values(others, name)
        seeds = (
            [a - b for a, b in zip(own, theirs, strict=True)] if len(own) == len(theirs) else [a - statistics.fmean(theirs) for a in own]
        )
        excludes = low is not None and high is not None and (low > 0 or high < 0)
        sure = excludes and all(one * value > 0 for one in seeds)
        rows.append(
            {
                **cell,
                "reference": reference,
                "metric": metric,
                "language": language,
                "difference": value,
                "low": low,
                "high": high,
                "n": len(runs[0][name]["numerators"]),
                "seeds": seeds,
                "sure": sure,
            }
        )
    return rows


def _values(runs: Sequence[Mapping[str, Units]], name: str) -> list[float]:
    return [sum(run[name]["numerators"]) / sum(run[name]["denominators"]) for run in runs]


def _mean_over_seeds(runs: Sequence[Mapping[str, Units]], name: str) -> tuple[list[float], list[float]]:
    """(numerators [N], denominators [N]); denominators are the same for every seed."""
    tops = zip(*(run[name]["numerators"] for run in runs), strict=True)
    return [statistics.fmean(values) for values in tops], list(runs[0][name]["denominators"])
