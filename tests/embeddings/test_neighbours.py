"""Nearest neighbours against a dense computation."""

from __future__ import annotations

import pytest
import torch

from lep_core.embeddings import neighbours
from lep_core.embeddings.neighbours import nearest_neighbours


def test_neighbours_are_those_of_the_dense_cosine_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", 17)
    matrix = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    cosines = torch.nn.functional.cosine_similarity(matrix[:, None], matrix[None], dim=-1).fill_diagonal_(-2)
    for found in nearest_neighbours(matrix, [3, 99], count=5):
        values, ids = cosines[found.token_ids[0]].topk(5)
        assert found.neighbour_ids == ids.tolist()
        assert found.cosines == pytest.approx(values.tolist(), abs=1e-5)


def test_padded_rows_are_no_neighbours() -> None:
    matrix = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    matrix[20:] = matrix[3]
    found = nearest_neighbours(matrix, [3], count=50, rows=20)[0]
    assert sorted(found.neighbour_ids) == [n for n in range(20) if n != 3]
