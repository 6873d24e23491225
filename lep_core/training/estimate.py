"""What a training will need: memory, disk and time from shapes, number formats and a short measurement of this machine.

    memory    the body in the computation's format; float32 masters of what learns, their gradients and two moments; what the frozen body
              keeps for its backward pass; the logits of a chunk; on a CPU also the libraries
    time      floating-point operations a token / (measured matrix product rate x EFFICIENCY), passes over the matrices / measured
              bandwidth, and a share for launching small kernels

The frozen body needs no weight gradients: 4 operations per parameter and token instead of 6; the head needs all 6.

Shapes: V vocabulary rows, D hidden size, L tokens of a sequence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from lep_core.config import TrainConfig
from lep_core.models import ModelFolder
from lep_core.training.loss import chunk_tokens

GIB = 2**30
# Share of the measured matrix product rate that a training step reaches outside of what is counted apart.
EFFICIENCY = {"cpu": 0.7, "cuda": 0.5}
# Resident memory of Python with torch and transformers.
LIBRARIES_BYTES = 410 * 2**20
# Bytes of a weight of the body that is stored in fewer bits, with its scales.
BODY_BYTES = {"4bit": 0.57, "8bit": 1.03}
# Seconds for launching one layer, forward and backward.
LAYER_SECONDS = {"cpu": 2e-3, "cuda": 4e-4}
START_SECONDS = 6.0
MEASURING_SECONDS = 0.3
# Reads and writes of 4 bytes a parameter in one step: emptied, summed, updated with two moments.
MATRIX_PASSES = 10
PACKING_BYTES_PER_SECOND = 8e6
HASHING_BYTES_PER_SECOND = 1e9
WRITING_BYTES_PER_SECOND = 3e8


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the formulas need to know of a model and its training; `matrix_parameters` and `adapter_parameters` learn."""

    body_parameters: int
    body_bytes: int
    matrix_parameters: int
    adapter_parameters: int
    moment_bytes: int
    checkpointing: bool
    layers: int
    hidden: int
    inner: int
    attention: int
    rows: int
    itemsize: int
    anchor_bytes: int = 0

    @classmethod
    def of(cls, config: TrainConfig, folder: ModelFolder, dtype: torch.dtype, *, checkpointing: bool) -> Shape:
        linear = [slot.shape for slot in folder.frozen_slots if len(slot.shape) == 2]
        body = sum(math.prod(slot.shape) for slot in folder.frozen_slots)
        heads, per_head = folder.config.get("num_attention_heads"), folder.config.get("head_dim")
        return cls(
            body_parameters=body,
            body_bytes=int(body * BODY_BYTES.get(config.quantize, dtype.itemsize)),
            matrix_parameters=folder.vocab_size * folder.hidden_size * (1 if folder.tied else 2),
            adapter_parameters=config.lora_rank * sum(map(sum, linear)) if config.lora else 0,
            moment_bytes=2 if config.optimizer == "adamw-8bit" else 8,
            checkpointing=checkpointing,
            layers=folder.layers,
            hidden=folder.hidden_size,
            inner=int(folder.config.get("intermediate_size") or 4 * folder.hidden_size),
            attention=heads * per_head if isinstance(heads, int) and isinstance(per_head, int) else folder.hidden_size,
            rows=folder.vocab_size,
            itemsize=dtype.itemsize,
            anchor_bytes=sum(folder.slots[name].bytes for name in folder.embedding_names) if config.anchor else 0,
        )

    @property
    def learned_parameters(self) -> int:
        """Everything that has a gradient and moments."""
        return self.matrix_parameters + self.adapter_parameters

    @property
    def checkpoint_bytes(self) -> int:
        """A float32 master and its moments for each parameter that learns."""
        return (4 + self.moment_bytes) * self.learned_parameters

    def flops_per_token(self, block_size: int) -> float:
        """Forward and backward of one trained token; layers that are computed twice cost another forward."""
        attention = 7 * self.layers * block_size * self.attention
        again = 2 * self.body_parameters if self.checkpointing else 0
        return 4 * self.body_parameters + again + 6 * self.adapter_parameters + attention + 6 * self.rows * self.hidden

    def measuring_flops_per_token(self, block_size: int) -> float:
        """Forward only."""
        return 2 * self.body_parameters + 2 * self.layers * block_size * self.attention + 2 * self.rows * self.hidden

    def activation_bytes_per_token(self) -> int:
        """What the backward pass of the body needs.

        Of a layer with frozen weights: about 8 hidden and 3 inner vectors (norms, attention, the gated product), with the norms' float32
        copies in 16-bit formats; an adapter also needs the input of each linear layer.
        """
        layer = (8 * self.hidden + 3 * self.inner) * self.itemsize + (8 * self.hidden if self.itemsize < 4 else 0)
        if self.adapter_parameters:
            layer += (3 * self.hidden + self.inner) * self.itemsize
        return self.layers * self.hidden * self.itemsize + layer if self.checkpointing else self.layers * layer

    def memory(self, *, tokens: int, device: torch.device) -> dict[str, int]:
        """Bytes by part, for micro-batches of `tokens` tokens."""
        head_copy = self.rows * self.hidden * self.itemsize if self.itemsize < 4 else 0
        chunk = min(chunk_tokens(self.rows, device), tokens)
        parts = {
            "body": self.body_bytes,
            # A CPU maps the rows that an anchor pulls to; a GPU has a copy of them.
            "matrices": 4 * self.learned_parameters + head_copy + (self.anchor_bytes if device.type == "cuda" else 0),
            "optimizer": self.moment_bytes * self.learned_parameters,
            "gradients": 4 * self.learned_parameters,
            "activations": tokens * self.activation_bytes_per_token(),
            "loss": chunk * self.rows * 8 + 3 * tokens * self.hidden * self.itemsize,
        }
        return parts if device.type == "cuda" else {**parts, "libraries": LIBRARIES_BYTES}


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What this device does: floating-point operations a second in matrix products, and bytes a second read or written."""

    flops: float
    bytes: float


def measure_speed(device: torch.device, dtype: torch.dtype, *, seconds: float = MEASURING_SECONDS) -> Speed:
    """The best of several matrix products and copies within about `seconds`."""
    size = 8192 if device.type == "cuda" else 768
    a = torch.randn(size, size, device=device).to(dtype)
    source = torch.ones(2**28 if device.type == "cuda" else 2**23, device=device)
    target = torch.empty_like(source)
    product = _best(lambda: torch.mm(a, a), device, 0.7 * seconds)
    copied = _best(lambda: target.copy_(source), device, 0.3 * seconds)
    return Speed(flops=2 * size**3 / product, bytes=2 * source.nbytes / copied)


def step_seconds(shape: Shape, speed: Speed, device: torch.device, *, batch_tokens: int, micro_tokens: int, block_size: int) -> float:
    """One optimizer step."""
    kind = "cuda" if device.type == "cuda" else "cpu"
    computing = batch_tokens * shape.flops_per_token(block_size) / (EFFICIENCY[kind] * speed.flops)
    updating = MATRIX_PASSES * 4 * shape.learned_parameters / speed.bytes
    # The loss reads and writes the logits of every token about six times.
    logits = 6 * 4 * batch_tokens * shape.rows / speed.bytes
    launching = -(-batch_tokens // micro_tokens) * shape.layers * LAYER_SECONDS[kind]
    return computing + updating + logits + launching


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken: of the CUDA device, else of this machine or of the container's limit, whichever is less."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    try:
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
    except (OSError, ValueError):  # no control group, or the word "max": no limit
        return free
    return max(0, min(free, limit - used))


def _best(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    best, until, runs = float("inf"), time.perf_counter() + seconds, 0
    while runs < 2 or time.perf_counter() < until:
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
        runs += 1
    return best
