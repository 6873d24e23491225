"""The map's plane against a dense principal component analysis."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lep_core.embeddings.projection import principal_plane


@pytest.mark.parametrize(("tokens", "hidden"), [(40, 7), (7, 40), (3, 1)])
def test_the_plane_holds_the_directions_of_largest_variance(tokens: int, hidden: int) -> None:
    rows = torch.randn(tokens, hidden, generator=torch.Generator().manual_seed(0)) + 3
    plane = principal_plane(rows)
    centred = rows.double().numpy() - rows.double().numpy().mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False)[:2]
    spread = plane.project(rows).numpy()
    np.testing.assert_allclose(np.linalg.norm(spread, axis=0)[: len(values)], values, rtol=1e-9)
    np.testing.assert_allclose(spread.sum(axis=0), 0, atol=1e-9)


def test_a_shift_of_all_rows_is_seen_as_a_shift() -> None:
    rows = torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
    plane = principal_plane(rows)
    moved = rows.double() + 0.5 * plane.axes_D2[:, 0]
    np.testing.assert_allclose(plane.project(moved) - plane.project(rows), [[0.5, 0.0]] * 50, atol=1e-12)
