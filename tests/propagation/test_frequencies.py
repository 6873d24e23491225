"""Tokens weighted by their frequency: the counts, the weighted fits against dense ones, and the verb with a real text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from lep_core.config import PropagateConfig
from lep_core.errors import ConfigError, CorpusError
from lep_core.propagation.frequencies import token_weights
from tests.factories import SENTENCES, tiny_tokenizer
from tests.propagation.reference import expected_map, fitted_pairs
from tests.propagation.test_methods import mapping, matrices, propagated  # noqa: F401 - `mapping` is a fixture


def test_weights_are_powers_of_counts_with_mean_one(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer", vocab_size=420)
    weights = token_weights(SENTENCES, tokenizer, size=420, gamma=0.5)
    counts = np.zeros(420)
    for sentence in SENTENCES:
        for token in Tokenizer.from_file(str(tokenizer / "tokenizer.json")).encode(sentence, add_special_tokens=False).ids:
            counts[token] += 1
    assert counts.max() > 2
    np.testing.assert_allclose(weights, np.sqrt(counts + 1) / np.sqrt(counts + 1).mean())


def test_an_empty_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="empty"):
        token_weights([], tiny_tokenizer(tmp_path / "tokenizer", vocab_size=420), size=420, gamma=1.0)


@pytest.mark.parametrize("method", ["overlap", "conversion", "ridge", "low-rank"])
def test_weighted_maps_are_those_of_dense_weighted_fits(mapping, method: str) -> None:  # noqa: F811
    given = matrices(mapping)
    weights = np.random.default_rng(0).uniform(0.1, 30.0, mapping.new_size)
    rows, _ = propagated(method, mapping, given, alpha=0.1, rank=5, weights_V=weights)
    a, b = fitted_pairs(mapping, given["base"], given["instruct"], method)
    spelled = [token for token in range(mapping.new_size) if mapping.pieces_of(token)]
    root = np.sqrt(weights[mapping.shared_new_ids if method == "overlap" else spelled])[:, None]
    expected = given["adapted"].double().numpy()[: mapping.new_size] @ expected_map(method, root * a, root * b, alpha=0.1, rank=5)
    assert np.linalg.norm(rows.double().numpy() - expected) < 1e-6 * np.linalg.norm(expected)
    assert not torch.equal(rows, propagated(method, mapping, given, alpha=0.1, rank=5)[0])


def test_equal_weights_change_nothing_but_rounding(mapping) -> None:  # noqa: F811
    given = matrices(mapping)
    rows, report = propagated("residual-carry", mapping, given, weights_V=np.ones(mapping.new_size))
    plain, other = propagated("residual-carry", mapping, given)
    torch.testing.assert_close(rows, plain)
    assert report.heldout_residual == pytest.approx(other.heldout_residual)


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"method": "swap", "input": ("a.txt",)}, "gamma"), ({"method": "conversion"}, "input")],
    ids=["swap", "no text"],
)
def test_weights_without_a_fit_or_a_text_are_refused(settings: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        PropagateConfig(base="b", adapted="a", instruct="i", output="o", gamma=0.5, **settings)
    assert refused.value.field == field
