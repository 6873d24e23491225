"""Which device, precision and number of threads a computation gets when the user leaves the choice open."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from lep_core.errors import ResourceError

SMALL_MODEL_PARAMETERS = 10_000_000


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is the first CUDA device when there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ResourceError("no CUDA device is available here", "Choose --device cpu or auto")
    return torch.device(name)


def choose_precision(name: str = "auto", device: torch.device | str = "cpu", *, parameters: int | None = None) -> torch.dtype:
    """`auto` is bfloat16 where the hardware multiplies it (CUDA, CPUs with AVX512-BF16 or AMX), else float32.

    On a CPU a small model (when `parameters` are given) gets float32: bfloat16 would save no time and only add noise.
    """
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    is_small = parameters is not None and parameters < SMALL_MODEL_PARAMETERS
    return torch.bfloat16 if _cpu_multiplies_bfloat16() and not is_small else torch.float32


def choose_threads(threads: int | None, parameters: int) -> int:
    """The number asked for; by default all physical cores, or one for a model so small that handing work over costs more than it saves."""
    if threads is not None:
        return threads
    if parameters < SMALL_MODEL_PARAMETERS:
        return 1
    import psutil

    return max(1, psutil.cpu_count(logical=False) or 1)


@contextmanager
def torch_threads(threads: int) -> Generator[None, None, None]:
    """Let torch compute on `threads` CPU threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cpu_multiplies_bfloat16() -> bool:
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe is not None and probe() for probe in probes)
