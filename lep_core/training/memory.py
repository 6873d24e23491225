"""How much is computed at a time, and a sentence instead of a traceback when it was too much."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psutil
import torch

from lep_core.errors import ResourceError
from lep_core.models import ModelFolder

_ALLOCATION_FAILURES = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory")
# Beyond these a larger micro-batch gains no speed; it only needs memory.
_MOST_TOKENS = {"cpu": 2_048, "cuda": 16_384}
_MEMORY_SHARE = 0.3


def choose_micro_batch(folder: ModelFolder, *, block_size: int, batch_size: int, device: torch.device, dtype: torch.dtype) -> int:
    """Sequences computed at a time: as many as are useful for speed and fit into a part of the free memory."""
    most_tokens = _MOST_TOKENS.get(device.type, 4_096)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    fitting_tokens = int(_MEMORY_SHARE * free / _activation_bytes_per_token(folder, dtype))
    return max(1, min(batch_size, min(most_tokens, fitting_tokens) // block_size))


def _activation_bytes_per_token(folder: ModelFolder, dtype: torch.dtype) -> int:
    """Rough size of what the frozen body keeps for its backward pass: about 12 hidden and 4 inner vectors a layer."""
    inner = int(folder.config.get("intermediate_size") or 4 * folder.hidden_size)
    return folder.layers * (12 * folder.hidden_size + 4 * inner) * dtype.itemsize


@contextmanager
def advice_when_out_of_memory(*, micro_batch_size: int | None, block_size: int) -> Generator[None, None, None]:
    """Turn a failed allocation into a `ResourceError` that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
            words in str(error).lower() for words in _ALLOCATION_FAILURES
        )
        if not is_memory:
            raise
        sequences = "" if micro_batch_size is None else f" with {micro_batch_size} sequences of {block_size} tokens at a time"
        small = micro_batch_size is not None and micro_batch_size > 1
        remedy = f"Set --micro-batch-size to {micro_batch_size // 2}" if small else "Lower --block-size"
        raise ResourceError(f"the memory is not enough{sequences}", f"{remedy}, close other programs, or choose a smaller model") from error
