from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from lep_core.config import TrainConfig
from lep_core.errors import ConfigError
from lep_core.models import frozen_sha256_of_module, inspect_model
from lep_core.progress import SILENT
from lep_core.training import layers, quantize
from lep_core.training.freeze import load_split
from lep_core.training.layers import check_compiler
from lep_core.training.loop import check_hardware
from lep_core.training.optimizer import RowAdamW
from lep_core.training.quantize import check_bitsandbytes, quantization
from lep_core.training.state import TrainingState
from tests.training.test_gradients import tokens


@pytest.mark.parametrize(("field", "value"), [("quantize", "4bit"), ("quantize", "8bit"), ("optimizer", "adamw-8bit")])
def test_small_numbers_are_refused_without_a_gpu_or_without_the_package(field, value, monkeypatch):
    config = TrainConfig(model="m", input=("t",), output="o", **{field: value})
    with pytest.raises(ConfigError, match=f"--{field} {value} works on CUDA devices only, and this is cpu") as caught:
        check_hardware(config, torch.device("cpu"))
    assert caught.value.field == field
    monkeypatch.setattr(quantize, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs the package bitsandbytes") as caught:
        check_bitsandbytes(field, value, torch.device("cuda"))
    assert "lep-studio[cuda]" in caught.value.hint


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(layers.shutil, "which", lambda name: None)
    monkeypatch.setattr(layers, "find_spec", lambda name: None)
    for device, what in (("cpu", "a C\\+\\+ compiler"), ("cuda", "triton")):
        with pytest.raises(ConfigError, match=what) as caught:
            check_compiler(torch.device(device))
        assert caught.value.field == "compile"


def test_the_settings_of_the_library():
    assert quantization("none", torch.bfloat16) is None
    four, eight = quantization("4bit", torch.bfloat16), quantization("8bit", torch.bfloat16)
    assert (four.load_in_4bit, four.bnb_4bit_quant_type, four.bnb_4bit_compute_dtype) == (True, "nf4", torch.bfloat16)
    assert eight.load_in_8bit


@pytest.mark.gpu
@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.parametrize("bits", ["none", "8bit", "4bit"])
def test_a_quantised_body_trains_like_the_plain_one_and_goes_on_exactly(tiny, bits):
    folder, (ids_BL, targets_BL) = inspect_model(tiny(hidden=64)), tokens(380)

    def state(bits: str, *, eight_bit: bool) -> TrainingState:
        split = load_split(folder, device=torch.device("cuda"), dtype=torch.bfloat16, quantize=bits)
        optimizer = RowAdamW(split.matrices, weight_decay=0.0, gradient_clip=1.0, eight_bit=eight_bit)
        return TrainingState(split=split, optimizer=optimizer, micro_batch_size=2, token_bytes_V=torch.ones(400).numpy())

    def losses(state: TrainingState, steps: int) -> list[float]:
        results = [state.run_step(ids_BL.numpy(), targets_BL.numpy(), learning_rate=5e-3, reporter=SILENT) for _ in range(steps)]
        return [result.loss for result in results]

    plain, small = state("none", eight_bit=False), state(bits, eight_bit=True)
    body = frozen_sha256_of_module(small.split.model)
    assert losses(small, 4) == pytest.approx(losses(plain, 4), rel=0.05)
    assert frozen_sha256_of_module(small.split.model) == body
    again = state(bits, eight_bit=True)
    again.load_tensors({name: tensor.clone() for name, tensor in small.tensors().items()})
    assert losses(again, 2) == pytest.approx(losses(small, 2), rel=1e-6)
