from __future__ import annotations

import pytest
import torch

from lep_core.config import TrainConfig
from lep_core.errors import ResourceError
from lep_core.models import inspect_model
from lep_core.training import memory
from lep_core.training.memory import advice_when_out_of_memory, choose_checkpointing, choose_micro_batch, kept_allocations

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FAILURES = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
)


def config(**settings) -> TrainConfig:
    return TrainConfig(model="m", input=("t",), output="o", **settings)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: str(failure)[:20])
def test_every_failed_allocation_becomes_a_sentence_with_what_was_computed(failure):
    with pytest.raises(ResourceError, match="the memory is not enough with 6 sequences of 512 tokens at a time") as caught:
        with advice_when_out_of_memory(config(), device=CPU, micro_batch_size=6):
            raise failure
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize(
    ("device", "chosen", "present", "hint"),
    [
        (CPU, {"micro_batch_size": 6}, {}, "Set --micro-batch-size to 3, or close other programs, or choose a smaller model"),
        (CPU, {"micro_batch_size": 1}, {}, "Set --gradient-checkpointing to on, or close"),
        (CPU, {"micro_batch_size": 1, "checkpointing": True}, {}, "Set --block-size to 256, or close"),
        (CPU, {"micro_batch_size": 1, "checkpointing": True}, {"block_size": 64}, "Close other programs, or choose a smaller model"),
        (CPU, {}, {}, "Close other programs"),
        (CUDA, {}, {}, "Set --optimizer to adamw-8bit, or set --quantize to 4bit, or close"),
        (CUDA, {"micro_batch_size": 2}, {"quantize": "4bit"}, "Set --micro-batch-size to 1, or set --optimizer to adamw-8bit, or close"),
        (CUDA, {"micro_batch_size": 1}, {"quantize": "4bit", "optimizer": "adamw-8bit"}, "Set --gradient-checkpointing to on, or close"),
    ],
)
def test_the_advice_names_settings_that_can_still_be_lowered(device, chosen, present, hint):
    with pytest.raises(ResourceError) as caught, advice_when_out_of_memory(config(**present), device=device, **chosen):
        raise MemoryError
    assert caught.value.hint.startswith(hint)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), advice_when_out_of_memory(config(), device=CPU):
        raise RuntimeError("shapes do not fit")


def test_layers_are_recomputed_when_one_sequence_would_not_fit(tiny, monkeypatch):
    folder = inspect_model(tiny(hidden=32, layers=2))
    per_token = 2 * (12 * 32 + 4 * 64) * 4
    choice = {"block_size": 100, "device": CPU, "dtype": torch.float32}
    for free, expected in ((100 * per_token / 0.3 + 9, False), (100 * per_token / 0.3 - 9, True)):
        monkeypatch.setattr(memory, "_free_bytes", lambda device, free=free: free)
        assert choose_checkpointing("auto", folder, **choice) is expected
        assert choose_checkpointing("off", folder, **choice) is False
        assert choose_checkpointing("on", folder, **choice) is True
    small = choose_micro_batch(folder, batch_size=64, **choice)
    assert small == 1
    monkeypatch.setattr(memory, "_free_bytes", lambda device: 400 * per_token)
    assert choose_micro_batch(folder, batch_size=64, **choice) == 1
    assert choose_micro_batch(folder, batch_size=64, checkpointing=True, **choice) == 2


def test_memory_is_kept_only_inside_the_block_and_on_a_cpu():
    for device in (CPU, CUDA):
        with kept_allocations(device):
            assert torch.ones(5_000_000).sum() == 5_000_000
    assert torch.ones(5_000_000).sum() == 5_000_000
