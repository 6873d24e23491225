"""Sparsemax against bisection, and rows of FOCUS as means of the right shared tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lep_core.embeddings import focus
from lep_core.embeddings.focus import focus_weights, sparsemax
from lep_core.tokenizer.mapping import build_mapping
from tests.embeddings.test_initialize import OTHER, Tiny
from tests.factories import tiny_tokenizer


def by_bisection(scores: np.ndarray) -> np.ndarray:
    low, high = scores.min() - 1, scores.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(scores - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(scores - low, 0)


@pytest.mark.parametrize("spread", [0.001, 0.3, 5.0])
def test_sparsemax_is_the_projection_onto_the_simplex(monkeypatch: pytest.MonkeyPatch, spread: float) -> None:
    monkeypatch.setattr(focus, "_CANDIDATES", 4)
    scores = torch.randn(7, 90, generator=torch.Generator().manual_seed(0)) * spread
    weights, columns = sparsemax(scores)
    dense = torch.zeros(7, 90, dtype=torch.float64).scatter_(1, columns, weights.double())
    np.testing.assert_allclose(dense.sum(dim=1), 1, rtol=1e-5)
    for row, expected in zip(dense, scores, strict=True):
        np.testing.assert_allclose(row, by_bisection(expected.double().numpy()), atol=1e-5)


def test_a_new_token_takes_the_shared_tokens_that_are_near_it(tiny: Tiny, tmp_path) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    mapping = build_mapping(base, new)
    spelled = np.setdiff1d(np.arange(mapping.new_size), np.concatenate([mapping.shared_new_ids, mapping.special_new_ids]))
    vectors = np.zeros((mapping.new_size, 40), dtype=np.float32)
    vectors[mapping.shared_new_ids[:40]] = np.eye(40)
    vectors[spelled[0]] = np.eye(40)[3]  # just like the fourth shared token
    vectors[spelled[1], [5, 6]] = 0.5**0.5  # between two of them
    weights = focus_weights(mapping, spelled[:3], vectors).toarray()
    old = mapping.shared_old_ids
    assert np.flatnonzero(weights[0]).tolist() == [old[3]]
    np.testing.assert_allclose(weights[1, old[[5, 6]]], 0.5, rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), [1, 1, 0], rtol=1e-5)
