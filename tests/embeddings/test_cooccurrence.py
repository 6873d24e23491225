"""Static embeddings from a text: counts against a double loop, and words of alike contexts near each other."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from lep_core.embeddings import cooccurrence
from lep_core.embeddings.cooccurrence import WINDOW, cooccurrence_embeddings, positive_mutual_information
from tests.factories import tiny_tokenizer


@pytest.mark.parametrize("chunk", [7, 1000])
def test_counts_are_those_of_a_double_loop(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(cooccurrence, "_CHUNK_TOKENS", chunk)
    tokens = np.random.default_rng(0).integers(0, 6, 50)
    tokens[[11, 12, 30]] = -1
    expected = np.zeros((6, 6))
    for i, left in enumerate(tokens):
        for j, right in enumerate(tokens):
            if left >= 0 and right >= 0 and 0 < abs(i - j) <= WINDOW:
                expected[left, right] += (WINDOW + 1 - abs(i - j)) / WINDOW
    counts = np.bincount(tokens[tokens >= 0], minlength=6)
    found = cooccurrence._cooccurrences(tokens, counts).toarray()
    np.testing.assert_allclose(found, expected[:, np.argsort(-counts, kind="stable")], rtol=1e-5)


def test_mutual_information_is_that_of_the_formula() -> None:
    counts = np.array([[4.0, 1.0, 0.0], [1.0, 9.0, 2.0]])
    joint, rows = counts / counts.sum(), counts.sum(axis=1, keepdims=True) / counts.sum()
    smooth = counts.sum(axis=0) ** 0.75
    with np.errstate(divide="ignore"):
        expected = np.maximum(0, np.log(joint / rows / (smooth / smooth.sum())))
    np.testing.assert_allclose(positive_mutual_information(csr_matrix(counts)).toarray(), expected, rtol=1e-5)


def test_words_of_alike_contexts_are_near_each_other(tmp_path: Path) -> None:
    rng = random.Random(0)
    animals, tools = ("cat", "dog", "cow"), ("saw", "axe", "pen")
    lines = [
        f" {rng.choice(animals)} eats and sleeps ." if rng.random() < 0.5 else f" {rng.choice(tools)} cuts and breaks ." for _ in range(600)
    ]
    folder = tiny_tokenizer(tmp_path / "tokenizer", texts=tuple(lines[:60]), vocab_size=330)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vectors = cooccurrence_embeddings(lines, tokenizer, tokenizer.get_vocab_size())
    cat, dog, axe = (vectors[tokenizer.token_to_id(f"Ġ{word}")] for word in ("cat", "dog", "axe"))
    assert cat @ dog > 0.5 > cat @ axe + 0.2
    lengths = np.linalg.norm(vectors, axis=1)
    assert ((abs(lengths - 1) < 1e-5) | (lengths == 0)).all()
    assert lengths[tokenizer.token_to_id("<s>")] == 0, "it never occurs"
