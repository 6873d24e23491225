"""Rows are planned into batches that hold each of them once; packed and shared ones score as each row alone."""

from __future__ import annotations

import random

import pytest

from lep_core.evaluation import batching
from lep_core.evaluation.batching import forest, plan
from lep_core.evaluation.log_likelihood import Request, can_pack, score_requests
from lep_core.inference.generator import Generator
from tests.evaluation.test_log_likelihood import alone
from tests.factories import tiny_model


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return Generator.load(tiny_model(tmp_path_factory.mktemp("m"), max_position_embeddings=512), device="cpu", threads=1)


def requests_of(seed: int) -> list[Request]:
    """Pairs with a common beginning, questions with a long one, and lone rows."""
    chance = random.Random(seed)

    def tokens(least: int, most: int) -> tuple[int, ...]:
        return tuple(chance.randrange(5, 380) for _ in range(chance.randint(least, most)))

    found = []
    for _ in range(6):
        begin, rest = tokens(1, 12), tokens(0, 3)
        found += [Request((1,), (*begin, *tokens(1, 9))), Request((1,), (*begin, *rest, *tokens(1, 9)))]
    examples = (1, *tokens(140, 160))
    for _ in range(5):
        question = (*examples, *tokens(4, 30))
        found += [Request(question, option) for option in (tokens(1, 3), tokens(1, 1), tokens(1, 1))]
    return [*found, *(Request((1, *tokens(130, 200)), tokens(1, 4)) for _ in range(3))]


@pytest.mark.parametrize("seed", range(3))
def test_every_kind_of_batch_scores_as_each_request_alone(generator, seed, monkeypatch):
    requests = requests_of(seed)
    kinds = set()
    original = plan

    def watched(*arguments, **options):
        for batch in original(*arguments, **options):
            kinds.add("pack" if batch.packed else "family" if batch.shared else "plain")
            yield batch

    monkeypatch.setattr("lep_core.evaluation.log_likelihood.plan", watched)
    for score, request in zip(score_requests(generator, requests, batch_size=4), requests, strict=True):
        value, is_greedy = alone(generator, request)
        assert score.log_likelihood == pytest.approx(value, abs=1e-4)
        assert score.is_greedy == is_greedy
    assert kinds == {"pack", "family", "plain"}


@pytest.mark.parametrize("packs", [True, False])
def test_each_row_is_in_one_batch_and_limits_hold(packs, monkeypatch):
    monkeypatch.setattr(batching, "LOGIT_ELEMENTS", 40 * 380)
    starts = {(*one.context, *one.continuation[:-1]): len(one.context) - 1 for one in requests_of(7)}
    batches = list(plan(starts, batch_size=4, vocabulary=380, can_pack=packs))
    assert sorted(row for batch in batches for row in batch.rows) == sorted(starts)
    for batch in batches:
        shared = {row[: batch.shared] for row in batch.rows}
        assert len(shared) == 1
        assert all(batch.shared <= starts[row] for row in batch.rows)
        assert packs or not batch.packed
        if len(batch.rows) > 1 and not batch.packed:
            assert len(batch.rows) * (max(map(len, batch.rows)) - min(starts[row] for row in batch.rows)) <= 40


def test_a_forest_reads_common_tokens_once():
    trees = forest([(1, 2, 3), (1, 2, 4, 5), (6,)])
    assert trees.tokens == [1, 2, 3, 4, 5, 6]
    assert trees.positions == [0, 1, 2, 2, 3, 0]
    assert trees.parents == [-1, 0, 1, 1, 3, -1]
    assert trees.paths == [[0, 1, 2], [0, 1, 3, 4], [5]]


def test_a_model_that_ignores_the_mask_is_not_given_packed_rows(generator, monkeypatch):
    assert can_pack(generator)
    forward = generator.model.forward
    monkeypatch.setattr(generator.model, "forward", lambda **options: forward(**(options | {"attention_mask": None})))
    assert not can_pack(generator)


def test_a_model_with_a_narrow_window_is_not_given_packed_rows(generator, monkeypatch):
    monkeypatch.setattr(generator.config, "sliding_window", 16, raising=False)
    assert not can_pack(generator)
