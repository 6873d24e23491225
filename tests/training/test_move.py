from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lep_core.training.move import Anchor, Start
from lep_core.training.optimizer import BETAS, RowAdamW

STRENGTH, RATE = 3.0, 0.1


def matrix(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


def trained(gradients, *, anchor=None, frozen_rows_V=None):
    learned_VD = matrix()
    optimizer = RowAdamW({"input": learned_VD}, weight_decay=0.0, gradient_clip=0.0, anchor=anchor, frozen_rows_V=frozen_rows_V)
    for gradient_VD in gradients:
        optimizer.zero_gradients()
        optimizer.gradients["input"] += gradient_VD
        optimizer.step(RATE, norm=optimizer.gradient_norm())
    return learned_VD


def test_the_anchor_is_a_pull_toward_the_start_beside_the_step_of_adam():
    gradients = [matrix(seed) for seed in range(1, 5)]
    start_VD, reference_VD = matrix(), torch.nn.Parameter(matrix())
    reference = torch.optim.AdamW([reference_VD], lr=RATE, betas=BETAS, weight_decay=0.0)
    for gradient_VD in gradients:
        reference_VD.data -= RATE * STRENGTH * (reference_VD.data - start_VD)
        reference_VD.grad = gradient_VD.clone()
        reference.step()
    learned_VD = trained(gradients, anchor=Anchor(Start({"input": start_VD}), STRENGTH))
    torch.testing.assert_close(learned_VD, reference_VD.data, rtol=1e-6, atol=1e-7)
    free_VD = trained(gradients)
    assert torch.linalg.vector_norm(learned_VD - start_VD) < torch.linalg.vector_norm(free_VD - start_VD)


def test_only_marked_rows_are_pulled_and_untouched_rows_keep_every_bit():
    gradient_VD = matrix(7)
    gradient_VD[5] = 0.0
    start_VD = matrix()
    marked_V = torch.tensor([True, True, True, False, False, True])
    learned_VD = trained([gradient_VD] * 3, anchor=Anchor(Start({"input": start_VD}), STRENGTH, rows_V=marked_V))
    free_VD = trained([gradient_VD] * 3)
    assert torch.equal(learned_VD[3:5], free_VD[3:5])
    assert not torch.isclose(learned_VD[:3], free_VD[:3]).all(dim=1).any()
    assert torch.equal(learned_VD[5], start_VD[5])


def test_frozen_rows_keep_every_bit_beside_an_anchor_also_negative_zeros():
    start_VD = matrix()
    start_VD[0, 0] = -0.0
    learned_VD, frozen_V = start_VD.clone(), torch.tensor([True, True, True, False, False, False])
    anchor = Anchor(Start({"input": start_VD}), STRENGTH)
    optimizer = RowAdamW({"input": learned_VD}, weight_decay=0.0, gradient_clip=0.0, frozen_rows_V=frozen_V, anchor=anchor)
    for _ in range(3):
        optimizer.zero_gradients()
        optimizer.gradients["input"] += 1.0
        optimizer.step(RATE, norm=optimizer.gradient_norm())
    assert learned_VD[:3].view(torch.int32).equal(start_VD[:3].view(torch.int32))
    assert not torch.equal(learned_VD[3:], start_VD[3:])


def test_a_pull_of_any_strength_ends_on_the_start_and_factors_of_an_adapter_are_free():
    start_VD, factor_RI = matrix(), torch.nn.Parameter(torch.ones(3, 5))
    far_VD = start_VD + 1.0
    anchor = Anchor(Start({"input": start_VD.to(torch.bfloat16)}), 1e4)
    optimizer = RowAdamW({"input": far_VD, "lora.x.A": factor_RI}, weight_decay=0.0, gradient_clip=0.0, anchor=anchor)
    optimizer.step(RATE, norm=0.0)
    torch.testing.assert_close(far_VD, start_VD.to(torch.bfloat16).float(), rtol=0, atol=1e-6)
    assert bool((factor_RI == 1).all())


def test_moves_are_norms_of_differences_by_matrix_and_group(monkeypatch):
    monkeypatch.setattr("lep_core.training.move._CHUNK_ELEMENTS", 8)  # two rows a chunk
    starts = {"input": matrix(1), "output": matrix(2)}
    now = {"input": matrix(3), "output": matrix(4)}
    groups = {"shared": torch.tensor([0, 2, 3]), "new": torch.tensor([5, 1]), "none": torch.tensor([], dtype=torch.long)}
    found = Start(starts, groups).moves(now)
    assert [(move.matrix, move.rows, move.count) for move in found] == [
        ("input", "shared", 3),
        ("input", "new", 2),
        ("output", "shared", 3),
        ("output", "new", 2),
    ]
    for move in found:
        ids = groups[move.rows]
        start, end = starts[move.matrix][ids].double().numpy(), now[move.matrix][ids].double().numpy()
        assert move.relative == pytest.approx(np.linalg.norm(end - start) / np.linalg.norm(start), rel=1e-6)
        ratios = np.sort(np.linalg.norm(end - start, axis=1) / np.linalg.norm(start, axis=1))
        assert move.median_row == pytest.approx(ratios[(len(ratios) - 1) // 2], rel=1e-6)
        assert (move.start_rms, move.untouched) == (pytest.approx(np.sqrt((start**2).mean()), rel=1e-6), 0)


def test_moves_without_groups_are_those_of_all_rows_and_rows_of_zeros_have_no_ratio():
    start_VD = matrix()
    start_VD[2:] = 0.0
    (move,) = Start({"input": start_VD}).moves({"input": start_VD + 1.0})
    assert (move.rows, move.count) == ("all", 6)
    assert move.relative == pytest.approx(math.sqrt(24) / float(torch.linalg.vector_norm(start_VD)))
    (nothing,) = Start({"input": torch.zeros(2, 2)}).moves({"input": torch.ones(2, 2)})
    assert (nothing.relative, nothing.median_row) == (None, None)
    start_VD = matrix()
    now_VD = start_VD.clone()
    now_VD[2] += 1.0
    assert Start({"input": start_VD}).moves({"input": now_VD})[0].untouched == 5
