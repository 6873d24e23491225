"""How much is computed at a time, and a sentence instead of a traceback when it was too much."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager

import psutil
import torch

from lep_core.config import TrainConfig
from lep_core.errors import ResourceError
from lep_core.models import ModelFolder

_ALLOCATION_FAILURES = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory", "alloc_failed")
# Beyond these a larger micro-batch gains no speed; it only needs memory.
_MOST_TOKENS = {"cpu": 2_048, "cuda": 16_384}
_MEMORY_SHARE = 0.3
_LEAST_BLOCK = 64
# Of glibc's mallopt: from which size on memory is mapped anew for each request, how many such pieces, how much free memory is kept.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_MMAP_MAX_DEFAULT, _TRIM_DEFAULT = 65_536, 128 * 1024


def choose_checkpointing(setting: str, folder: ModelFolder, *, block_size: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether layers are computed twice instead of kept: as said, or where one sequence would not fit into its part of the memory."""
    if setting != "auto":
        return setting == "on"
    return block_size * _activation_bytes_per_token(folder, dtype, checkpointing=False) > _MEMORY_SHARE * _free_bytes(device)


def choose_micro_batch(
    folder: ModelFolder, *, block_size: int, batch_size: int, device: torch.device, dtype: torch.dtype, checkpointing: bool = False
) -> int:
    """Sequences computed at a time: as many as are useful for speed and fit into a part of the free memory."""
    most_tokens = _MOST_TOKENS.get(device.type, 4_096)
    fitting_tokens = int(_MEMORY_SHARE * _free_bytes(device) / _activation_bytes_per_token(folder, dtype, checkpointing=checkpointing))
    return max(1, min(batch_size, min(most_tokens, fitting_tokens) // block_size))


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def _activation_bytes_per_token(folder: ModelFolder, dtype: torch.dtype, *, checkpointing: bool) -> int:
    """Rough size of what the frozen body keeps for its backward pass: about 12 hidden and 4 inner vectors a layer.

    With checkpointing it keeps one hidden vector a layer, and all of one layer.
    """
    inner = int(folder.config.get("intermediate_size") or 4 * folder.hidden_size)
    layer = 12 * folder.hidden_size + 4 * inner
    return (folder.layers * folder.hidden_size + layer if checkpointing else folder.layers * layer) * dtype.itemsize


@contextmanager
def advice_when_out_of_memory(
    config: TrainConfig, *, device: torch.device, micro_batch_size: int | None = None, checkpointing: bool = False
) -> Generator[None, None, None]:
    """Turn a failed allocation into a `ResourceError` that names the settings to change, beginning with what costs least.

    Args:
        micro_batch_size, checkpointing: what was chosen for this machine; None while nothing is yet.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sequences = "" if micro_batch_size is None else f" with {micro_batch_size} sequences of {config.block_size} tokens at a time"
        remedies = _remedies(config, device=device, micro_batch_size=micro_batch_size, checkpointing=checkpointing)
        raise ResourceError(f"the memory is not enough{sequences}", f"{', or '.join(remedies)}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in str(error).lower() for words in _ALLOCATION_FAILURES)


def _remedies(config: TrainConfig, *, device: torch.device, micro_batch_size: int | None, checkpointing: bool) -> list[str]:
    found = []
    if micro_batch_size is not None and micro_batch_size > 1:
        found.append(f"set --micro-batch-size to {micro_batch_size // 2}")
    elif micro_batch_size is not None and not checkpointing:
        found.append("set --gradient-checkpointing to on")
    elif micro_batch_size is not None and config.block_size >= 2 * _LEAST_BLOCK:
        found.append(f"set --block-size to {config.block_size // 2}")
    if device.type == "cuda" and config.optimizer == "adamw":
        found.append("set --optimizer to adamw-8bit")
    if device.type == "cuda" and config.quantize == "none":
        found.append("set --quantize to 4bit")
    found = [*found[:3], "close other programs", "choose a smaller model"]
    return [found[0][0].upper() + found[0][1:], *found[1:]]


@contextmanager
def kept_allocations(device: torch.device) -> Generator[None, None, None]:
    """Let the C library keep freed memory while the block runs, for a training on a CPU under glibc.

    Every step asks for the same activations again. By default large ones are given back to the system each time, and it clears each
    page anew before it hands them out: some percent of the time of a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" and device.type == "cpu" else None
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(_M_MMAP_MAX, _MMAP_MAX_DEFAULT)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_DEFAULT)
