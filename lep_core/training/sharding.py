"""A frozen body that is too large for one device, shared out over the processes (FSDP2): each keeps a part of every layer.

A layer is put together just before it computes, forward and backward, and let go right after. Nothing of it learns, so no gradient of it
is ever made or sent; the two matrices that learn stay whole in every process.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch

from lep_core.errors import ConfigError
from lep_core.models import ModelFolder, frozen_sha256_of_module
from lep_core.training.freeze import SplitModel, load_split
from lep_core.training.layers import decoder_layers
from lep_core.training.team import Team

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

# Beyond this share of a device's free memory the body leaves too little for the matrices, their moments and the activations.
_BODY_SHARE = 0.5


def choose_strategy(strategy: str, folder: ModelFolder, *, team: Team, device: torch.device, dtype: torch.dtype) -> str:
    """`ddp`, the whole body in each process, or `fsdp`; `auto` is ddp where the body takes less than half of each device's free memory."""
    if team.size == 1 or strategy != "auto":
        return "ddp" if team.size == 1 else strategy
    if device.type != "cuda":
        return "ddp"
    too_large = folder.parameters * dtype.itemsize > _BODY_SHARE * torch.cuda.mem_get_info(device)[0]
    return "fsdp" if team.any(too_large) else "ddp"


def load_sharded(folder: ModelFolder, team: Team, *, device: torch.device, dtype: torch.dtype) -> SplitModel:
    """`load_split` with a body that is shared out; the processes of a host load in turn, so that its memory holds one whole model."""
    from torch.distributed.device_mesh import init_device_mesh

    # All processes make the mesh together, before they take turns.
    mesh = init_device_mesh(device.type, (team.size,))
    with team.in_turn():
        split = load_split(folder, device=torch.device("cpu"), dtype=dtype)
        _shard_body(split, mesh, device)
    return split


def _shard_body(split: SplitModel, mesh: DeviceMesh, device: torch.device) -> None:
    """Share out the body of a model that was loaded on the CPU, and move what every process keeps whole to `device`."""
    from torch.distributed.fsdp import fully_shard

    is_tied, is_own_head = split.tied, split.head_VD is split.output_VD
    split.input_VD = split.input_VD.to(device)
    split.output_VD = split.input_VD if is_tied else split.output_VD.to(device)
    split.head_VD = split.output_VD if is_own_head else split.head_VD.to(device)
    for name in filter(None, (split.folder.input_name, split.folder.output_name)):
        # The module's own copies are never read: ids become rows, and hidden states logits, outside of it.
        parameter = split.model.get_parameter(name)
        parameter.data = parameter.data.new_empty(0, split.folder.hidden_size, device=device)
    layers = decoder_layers(split.body, split.folder)
    if not layers:
        raise ConfigError(
            "strategy", f"{split.folder.architecture} has no list of {split.folder.layers} layers to share out", "Choose --strategy ddp"
        )
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    split.body.to(device)


def body_sha256(split: SplitModel) -> str:
    """SHA-256 of the frozen weights that this process holds: a sharded body is compared shard by shard, each in its process."""
    state: dict[str, Any] = split.body.state_dict()
    if not any(_is_shard(tensor) for tensor in state.values()):
        return frozen_sha256_of_module(split.model)
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].to_local() if _is_shard(state[name]) else state[name]
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_shard(tensor: Any) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)
