from __future__ import annotations

import pytest
import torch

from lep_core.training.optimizer import BETAS, RowAdamW


def matrix() -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def one_step(optimizer: RowAdamW, gradient_VD: torch.Tensor, rate: float = 0.1) -> None:
    optimizer.zero_gradients()
    optimizer.gradients["input"] += gradient_VD
    optimizer.step(rate, norm=optimizer.gradient_norm())


def test_rows_without_gradient_stay_bit_equal_and_are_not_decayed():
    start_VD = matrix()
    learned_VD = start_VD.clone()
    optimizer = RowAdamW({"input": learned_VD}, weight_decay=0.1, gradient_clip=0.0)
    gradient_VD = torch.zeros(6, 4)
    gradient_VD[[1, 4]] = 1.0
    for _ in range(3):
        one_step(optimizer, gradient_VD)
    assert torch.equal(learned_VD[[0, 2, 3, 5]], start_VD[[0, 2, 3, 5]])
    assert not torch.isclose(learned_VD[[1, 4]], start_VD[[1, 4]]).any()


def test_an_update_is_that_of_torch_where_every_row_has_a_gradient():
    start_VD = matrix()
    learned_VD, reference_VD = start_VD.clone(), torch.nn.Parameter(start_VD.clone())
    optimizer = RowAdamW({"input": learned_VD}, weight_decay=0.1, gradient_clip=1.0)
    reference = torch.optim.AdamW([reference_VD], lr=0.1, betas=BETAS, weight_decay=0.1)
    for seed in range(4):
        gradient_VD = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))
        one_step(optimizer, gradient_VD)
        reference_VD.grad = gradient_VD.clone()
        torch.nn.utils.clip_grad_norm_([reference_VD], 1.0)
        reference.step()
    torch.testing.assert_close(learned_VD, reference_VD.data, rtol=1e-5, atol=1e-6)


def test_frozen_rows_stay_bit_equal_and_do_not_count_in_the_norm():
    start_VD = matrix()
    learned_VD = start_VD.clone()
    frozen_V = torch.tensor([True, False, True, False, True, True])
    optimizer = RowAdamW({"input": learned_VD}, weight_decay=0.1, gradient_clip=0.0, frozen_rows_V=frozen_V)
    optimizer.gradients["input"] += 1.0
    assert optimizer.gradient_norm() == pytest.approx(8**0.5)
    optimizer.step(0.1, norm=8**0.5)
    assert torch.equal(learned_VD[frozen_V], start_VD[frozen_V])
    assert not torch.equal(learned_VD[~frozen_V], start_VD[~frozen_V])


def test_loaded_moments_go_on_exactly():
    gradients = [torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
    whole_VD, first_VD = matrix(), matrix()
    whole, first = (RowAdamW({"input": m}, weight_decay=0.0, gradient_clip=1.0) for m in (whole_VD, first_VD))
    for gradient_VD in gradients:
        one_step(whole, gradient_VD)
    for gradient_VD in gradients[:2]:
        one_step(first, gradient_VD)
    second_VD = first_VD.clone()
    second = RowAdamW({"input": second_VD}, weight_decay=0.0, gradient_clip=1.0)
    second.load_state({name: value.clone() for name, value in first.state().items()})
    for gradient_VD in gradients[2:]:
        one_step(second, gradient_VD)
    assert torch.equal(second_VD, whole_VD)


def test_factors_of_an_adapter_learn_beside_frozen_rows_and_get_their_gradient_from_autograd():
    factor_RI, frozen_V = torch.nn.Parameter(torch.ones(3, 5)), torch.tensor([True, True, False, True, True, False])
    learned_VD = matrix()
    start_VD = learned_VD.clone()
    optimizer = RowAdamW({"input": learned_VD, "lora.x.A": factor_RI}, weight_decay=0.0, gradient_clip=0.0, frozen_rows_V=frozen_V)
    assert optimizer.learning_rows == slice(2, 6)
    optimizer.gradients["input"] += 1.0
    for _ in range(2):
        (factor_RI * 0.5).sum().backward()
    assert factor_RI.grad is optimizer.gradients["lora.x.A"]
    assert (optimizer.gradients["lora.x.A"] == 1).all(), "summed over micro-batches"
    norm = optimizer.gradient_norm()
    assert norm == pytest.approx((8 + 15) ** 0.5)
    optimizer.step(0.1, norm=norm)
    assert torch.equal(learned_VD[frozen_V], start_VD[frozen_V])
    assert (factor_RI.detach() < 1).all()
    optimizer.zero_gradients()
    assert not factor_RI.grad.any()


def test_a_plain_number_in_the_state_survives_a_checkpoint():
    """bitsandbytes counts its steps in an int, and safetensors holds tensors only."""
    first_VD = matrix()
    optimizer = RowAdamW({"input": first_VD}, weight_decay=0.0, gradient_clip=0.0)
    parameter = optimizer._parameters["input"]
    optimizer._adam.state[parameter] = {"step": 7, "state1": torch.zeros(2, dtype=torch.uint8)}
    saved = optimizer.state()
    assert all(isinstance(value, torch.Tensor) for value in saved.values())
    optimizer.load_state(saved)
    assert optimizer._adam.state[parameter]["step"] == 7
    assert isinstance(optimizer._adam.state[parameter]["step"], int)
