"""Every way of computing a step gives the gradients that plain autograd gives for the whole model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lep_core.models import inspect_model
from lep_core.progress import SILENT
from lep_core.training.freeze import load_split
from lep_core.training.layers import prepare_layers
from lep_core.training.lora import add_lora
from lep_core.training.loss import IGNORED
from lep_core.training.optimizer import RowAdamW
from lep_core.training.state import TrainingState

BLOCK, SEQUENCES = 21, 5


def tokens(rows: int):
    generator = torch.Generator().manual_seed(1)
    ids_BL = torch.randint(5, rows, (SEQUENCES, BLOCK), generator=generator)
    targets_BL = torch.randint(5, rows, (SEQUENCES, BLOCK), generator=generator)
    targets_BL[:, ::4] = IGNORED
    targets_BL[-1, 7:] = IGNORED
    return ids_BL, targets_BL


def by_autograd(model, ids_BL, targets_BL):
    logits_BLV = model(input_ids=ids_BL).logits
    loss = torch.nn.functional.cross_entropy(logits_BLV.flatten(0, 1), targets_BL.flatten(), ignore_index=IGNORED)
    loss.backward()
    return float(loss.detach())


def state_of(folder, *, lora: bool, recompute: bool, compiled: bool = False, frozen_V=None) -> TrainingState:
    split = load_split(inspect_model(folder), device=torch.device("cpu"), dtype=torch.float32)
    if lora:
        add_lora(split, rank=3, alpha=6, seed=0)
        generator = torch.Generator().manual_seed(2)
        for name, factor in split.adapter.items():
            if name.endswith(".B"):  # at zero it would hide the gradient of A
                factor.data = torch.randn(factor.shape, generator=generator) * 0.05
    prepare_layers(split.body, split.folder, recompute=recompute, compiled=compiled)
    optimizer = RowAdamW(split.matrices, weight_decay=0.0, gradient_clip=0.0, frozen_rows_V=frozen_V)
    return TrainingState(split=split, optimizer=optimizer, micro_batch_size=2, token_bytes_V=np.ones(1000, dtype=np.int32))


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("lora", [False, True], ids=["frozen", "lora"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_gradients_equal_those_of_autograd_on_the_model_of_transformers(tiny, tied, lora, recompute):
    from transformers import AutoModelForCausalLM

    folder = tiny(tied=tied, padded=2)
    state = state_of(folder, lora=lora, recompute=recompute)
    ids_BL, targets_BL = tokens(380)
    reference = AutoModelForCausalLM.from_pretrained(folder)
    if lora:
        from peft import LoraConfig, get_peft_model

        kinds = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        reference = get_peft_model(reference, LoraConfig(r=3, lora_alpha=6, target_modules=kinds))
        parameters = dict(reference.named_parameters())
        for name, factor in state.split.adapter.items():
            module, side = name.removeprefix("lora.").rsplit(".", 1)
            parameters[f"base_model.model.{module}.lora_{side}.default.weight"].data = factor.detach().clone()
        reference.get_input_embeddings().weight.requires_grad_()
        reference.get_output_embeddings().weight.requires_grad_()
    loss = by_autograd(reference, ids_BL, targets_BL)
    result = state.run_step(ids_BL.numpy(), targets_BL.numpy(), learning_rate=0.0, reporter=SILENT)
    assert result.loss == pytest.approx(loss, rel=1e-5)
    gradients = state.optimizer.gradients
    assert len(gradients) == (1 if tied else 2) + (28 if lora else 0)
    compare = {"rtol": 1e-4, "atol": 1e-7}
    torch.testing.assert_close(gradients["input"], reference.get_input_embeddings().weight.grad, **compare)
    if not tied:
        torch.testing.assert_close(gradients["output"], reference.get_output_embeddings().weight.grad, **compare)
    if lora:
        for name in state.split.adapter:
            module, side = name.removeprefix("lora.").rsplit(".", 1)
            expected = parameters[f"base_model.model.{module}.lora_{side}.default.weight"].grad
            assert expected.abs().max() > 0
            torch.testing.assert_close(gradients[name], expected, **compare)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_only_learning_rows_get_a_gradient_and_it_is_that_of_autograd(tiny, tied):
    from transformers import AutoModelForCausalLM

    folder = tiny(tied=tied)
    frozen_V = torch.ones(400, dtype=torch.bool)
    frozen_V[[200, 203, 310]] = False
    state = state_of(folder, lora=False, recompute=False, frozen_V=frozen_V)
    assert state.optimizer.learning_rows == slice(200, 311)
    ids_BL, targets_BL = tokens(400)
    reference = AutoModelForCausalLM.from_pretrained(folder)
    by_autograd(reference, ids_BL, targets_BL)
    state.run_step(ids_BL.numpy(), targets_BL.numpy(), learning_rate=0.0, reporter=SILENT)
    for name, weight in (("input", reference.get_input_embeddings().weight), ("output", reference.get_output_embeddings().weight)):
        gradient_VD = state.optimizer.gradients.get(name, state.optimizer.gradients["input"])
        torch.testing.assert_close(gradient_VD[~frozen_V], weight.grad[~frozen_V], rtol=1e-4, atol=1e-7)
        assert not gradient_VD[frozen_V].any()


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_a_compiled_body_gives_the_same_gradients(tiny, recompute):
    folder, (ids_BL, targets_BL) = tiny(), tokens(380)
    plain, compiled = state_of(folder, lora=True, recompute=False), state_of(folder, lora=True, recompute=recompute, compiled=True)
    for state in (plain, compiled):
        state.run_step(ids_BL.numpy(), targets_BL.numpy(), learning_rate=0.0, reporter=SILENT)
    for name, gradient in plain.optimizer.gradients.items():
        torch.testing.assert_close(compiled.optimizer.gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_gradient_that_is_not_finite_stops_before_anything_moves(tiny, monkeypatch):
    from lep_core.errors import TrainingError
    from lep_core.training import state as state_module

    true_loss = state_module.loss_and_gradients

    def poisoned(*arguments, **options):
        result = true_loss(*arguments, **options)
        options["head_gradient_VD"][7] = float("inf")
        return result

    monkeypatch.setattr(state_module, "loss_and_gradients", poisoned)
    state, (ids_BL, targets_BL) = state_of(tiny(), lora=True, recompute=False), tokens(380)
    before = {name: matrix.detach().clone() for name, matrix in state.split.matrices.items()}
    with pytest.raises(TrainingError, match="the gradient became inf at step 1"):
        state.run_step(ids_BL.numpy(), targets_BL.numpy(), learning_rate=1e-2, reporter=SILENT)
    assert state.step == 0
    assert all(torch.equal(matrix, before[name]) for name, matrix in state.split.matrices.items())
