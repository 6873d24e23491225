"""Minimal pairs: does the model find the grammatical sentence likelier than its twin? (BLiMP, Warstadt et al. 2020; RuBLiMP, Taktasheva et al. 2024)

A pair is right when the good sentence's log-likelihood, summed over all its tokens after the opening token, is the higher one; equal
ones count as wrong. No prompt and no chat template: it is grammar that is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lep_core.evaluation.items import MinimalPair, labels_of
from lep_core.evaluation.log_likelihood import encode_request, score_requests
from lep_core.evaluation.measurement import Measurement, grouped_shares
from lep_core.evaluation.partial import Batches
from lep_core.inference.generator import Generator

TASK = "minimal-pairs"


def measure_minimal_pairs(
    generator: Generator,
    pairs: Sequence[MinimalPair],
    *,
    batch_size: int,
    batches: Batches | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
    """Accuracy overall, per language and per group, and every pair's log-likelihoods in nats; None when `should_stop` became true."""
    requests = [encode_request(generator, "", text) for pair in pairs for text in (pair.good, pair.bad)]
    scores = score_requests(generator, requests, batch_size=batch_size, batches=batches, should_stop=should_stop, progress=progress)
    if scores is None:
        return None
    records: list[dict[str, Any]] = []
    for pair, good, bad in zip(pairs, scores[::2], scores[1::2], strict=True):
        record: dict[str, Any] = {"task": TASK, "language": pair.language, "group": pair.group, "good": pair.good, "bad": pair.bad}
        ok = good.log_likelihood > bad.log_likelihood
        records.append(record | {"good_log_likelihood": good.log_likelihood, "bad_log_likelihood": bad.log_likelihood, "ok": ok})
    return grouped_shares(TASK, "accuracy", [record["ok"] for record in records], labels_of(pairs)), records
