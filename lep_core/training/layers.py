"""How the layers of the frozen body compute while training: recomputed in the backward pass to save memory, compiled to save time.

Both only replace a layer's `forward` where a gradient is wanted. Measuring and sampling, with their many lengths, go the plain way.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial, wraps
from importlib.util import find_spec
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from lep_core.errors import ConfigError
from lep_core.models import ModelFolder


def decoder_layers(body: torch.nn.Module, folder: ModelFolder) -> list[torch.nn.Module]:
    """The layers of the body, lowest first; empty when it has no such list."""
    for module in body.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == folder.layers:
            return list(module)
    return []


def prepare_layers(body: torch.nn.Module, folder: ModelFolder, *, recompute: bool, compiled: bool) -> None:
    """Let every layer keep only its input for the backward pass (`recompute`), and compile it (`compiled`).

    Raises:
        ConfigError: the model has no list of layers, or there is nothing to compile with.
    """
    if not (recompute or compiled):
        return
    layers = decoder_layers(body, folder)
    if not layers:
        field, remedy = ("gradient_checkpointing", "--gradient-checkpointing off") if recompute else ("compile", "no --compile")
        raise ConfigError(field, f"{folder.architecture} has no list of {folder.layers} layers", f"Give {remedy}")
    for layer in layers:
        plain = layer.forward
        learning: Callable[..., Any] = torch.compile(plain) if compiled else plain
        if recompute:
            learning = partial(checkpoint, learning, use_reentrant=False, preserve_rng_state=False)
        layer.forward = _where_gradients_flow(learning, plain)


def check_compiler(device: torch.device) -> None:
    """Raise `ConfigError` when torch.compile cannot work on the device."""
    if device.type == "cuda" and find_spec("triton") is None:
        raise ConfigError("compile", "--compile needs the package triton on a GPU", "Install triton, or leave --compile out")
    if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise ConfigError("compile", "--compile needs a C++ compiler on a CPU", "Install g++, or leave --compile out")


def _where_gradients_flow(learning: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)
    def forward(*arguments: Any, **options: Any) -> Any:
        return (learning if torch.is_grad_enabled() else plain)(*arguments, **options)

    return forward
