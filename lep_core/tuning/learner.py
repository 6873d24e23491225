"""What learns in an instruction tuning: a LoRA adapter and parts of the model in full, or all of its weights (method section 5).

The model is taken apart as for embedding training (`training.freeze`): rows of the embedding go into the body, hidden states come out, and
the loss multiplies them with the head. Whatever learns has float32 masters; in bfloat16 the body computes with copies of them, whose
gradients are added up in float32. The tie of a tied model stays.

    W_new = W + change of a merged adapter + (alpha / r) B A        in float32, cast once to the model's dtype

Shapes: V vocabulary rows, D hidden size, R rank of the adapter, I inputs and O outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lep_core.config import CalibrateConfig
from lep_core.errors import ConfigError, ModelError
from lep_core.models import EmbeddingPair, ModelFolder
from lep_core.models.weights import load_slot
from lep_core.propagation.adapter import LoraChange
from lep_core.training.freeze import SplitModel, load_split
from lep_core.training.layers import decoder_layers, prepare_layers
from lep_core.training.lora import add_lora
from lep_core.tuning.template import ChatTokenizer

INPUT, OUTPUT, WEIGHT = "input", "output", "weight."
_KINDS = {"attention": ("attn", "attention"), "mlp": ("mlp", "feed_forward", "experts")}


@dataclass(eq=False)
class Learner:
    """A model and its masters by name: "input", "output", "lora.MODULE.A" and ".B", "weight.TENSOR"."""

    split: SplitModel
    masters: dict[str, Tensor]
    merged: Mapping[str, LoraChange]
    lora_scaling: float | None
    copies: dict[str, Tensor] = field(default_factory=dict)

    @property
    def learned_parameters(self) -> int:
        return sum(master.numel() for master in self.masters.values())

    def send_gradients_to(self, buffers: Mapping[str, Tensor]) -> None:
        """Let the gradients of the copies flow into these float32 buffers; those of other parameters are there already."""

        def added_to(buffer: Tensor) -> Callable[[Tensor], None]:
            def add(parameter: Tensor) -> None:
                assert parameter.grad is not None
                buffer.add_(parameter.grad)
                parameter.grad = None

            return add

        for name, parameter in self.copies.items():
            parameter.register_post_accumulate_grad_hook(added_to(buffers[name]))

    @torch.no_grad()
    def refresh(self) -> None:
        """Take updated masters over into what the model computes with."""
        for name, parameter in self.copies.items():
            parameter.copy_(self.masters[name])
        self.split.refresh_head()

    def tensor_changes(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """What becomes of each tensor of the body that is not what it was, by the tensor's name."""
        changes: dict[str, Callable[[Tensor], Tensor]] = dict(self.merged.items())
        for name, master in self.masters.items():
            if name.startswith(WEIGHT):
                changes[name.removeprefix(WEIGHT)] = _replaced_by(master)
        for module in self.lora_modules():
            tensor = f"{module}.weight"
            changes[tensor] = _in_turn(changes.get(tensor), self.lora_change(module))
        return changes

    def lora_modules(self) -> list[str]:
        """The modules that have an adapter."""
        return [name.removeprefix("lora.").removesuffix(".A") for name in self.masters if name.startswith("lora.") and name.endswith(".A")]

    def lora_change(self, module: str) -> LoraChange:
        """What the adapter adds to the weight of a module."""
        assert self.lora_scaling is not None
        a_RI, b_OR = (self.masters[f"lora.{module}.{side}"].detach().to("cpu", torch.float32) for side in "AB")
        return LoraChange(a_RI=a_RI, b_OR=b_OR, scaling=self.lora_scaling)

    def trained_pair(self) -> EmbeddingPair:
        """Embedding and head for writing, in the model's own dtype."""
        return self.split.trained_pair()


def load_learner(
    config: CalibrateConfig,
    folder: ModelFolder,
    chat: ChatTokenizer,
    *,
    merged: Mapping[str, LoraChange],
    device: torch.device,
    dtype: torch.dtype,
    recompute: bool,
) -> Learner:
    """Load a model and prepare what shall learn.

    Args:
        config: with all settings decided (`CalibrateConfig.resolved`).
        merged: changes of an adapter that belongs to the model.

    Raises:
        ConfigError: nothing would learn, or the adapter has nowhere to go.
        ModelError: the model's weights have other names in memory than in its files.
    """
    split = load_split(folder, device=device, dtype=dtype)
    named = dict(split.model.named_parameters())
    with torch.no_grad():
        for name, change in merged.items():
            named[name].copy_(change(load_slot(folder.slots[name])))
    _append_rows(split, chat)
    is_full = config.scope == "full"
    parts = {"embeddings", "head", "outer-layers"} if is_full else set(config.full_parts)
    wanted = _body_weights(split, folder, all_of_it=is_full) if "outer-layers" in parts else []
    masters: dict[str, Tensor] = {}
    if "embeddings" in parts or (split.tied and "head" in parts):
        masters[INPUT] = split.input_VD
    if "head" in parts and not split.tied:
        masters[OUTPUT] = split.output_VD
    scaling = None
    if not is_full and (targets := _lora_targets(config, split, exclude=wanted)):
        add_lora(split, rank=int(config.lora_rank or 0), alpha=int(config.lora_alpha or 0), seed=config.seed, targets=targets)
        masters |= split.adapter
        scaling = float(config.lora_alpha or 0) / float(config.lora_rank or 1)
    learner = Learner(split=split, masters=masters, merged=merged, lora_scaling=scaling)
    for name in wanted:
        parameter = named[name].requires_grad_(True)
        if dtype == torch.float32:
            masters[WEIGHT + name] = parameter
        else:
            # The loaded weights were rounded to the dtype of the computation; masters begin from the files.
            source = load_slot(folder.slots[name])
            masters[WEIGHT + name] = (merged[name](source) if name in merged else source).to(device, torch.float32, copy=True)
            learner.copies[WEIGHT + name] = parameter
    if not masters:
        raise ConfigError("full_parts", "nothing would learn with these settings", "Give other --full-parts or --lora-targets")
    prepare_layers(split.body, folder, recompute=recompute, compiled=False)
    return learner


def _append_rows(split: SplitModel, chat: ChatTokenizer) -> None:
    """Rows for tokens that the vocabulary lacked: the mean of all rows, in embedding and head."""
    if not chat.appended:
        return
    tied, head_is_master = split.tied, split.head_VD is split.output_VD
    split.input_VD = _with_rows(split.input_VD, chat, split.folder.tokenizer_size)
    split.output_VD = split.input_VD if tied else _with_rows(split.output_VD, chat, split.folder.tokenizer_size)
    split.head_VD = split.output_VD if head_is_master else split.output_VD.to(split.dtype)


def _with_rows(matrix_VD: Tensor, chat: ChatTokenizer, known_rows: int) -> Tensor:
    result_VD = matrix_VD.new_zeros(chat.rows, matrix_VD.shape[1])
    result_VD[: len(matrix_VD)] = matrix_VD
    result_VD[list(chat.appended.values())] = matrix_VD[:known_rows].mean(dim=0)
    return result_VD


def _body_weights(split: SplitModel, folder: ModelFolder, *, all_of_it: bool) -> list[str]:
    """Names of all weights of the body, or of its first and last layer."""
    layers = decoder_layers(split.body, folder)
    if not all_of_it and not layers:
        raise ConfigError(
            "full_parts", f"{folder.architecture} has no list of {folder.layers} layers", "Leave outer-layers out of --full-parts"
        )
    chosen = {id(parameter) for layer in (layers[0], layers[-1]) for parameter in layer.parameters()} if not all_of_it else None
    named = split.model.named_parameters()
    names = [name for name, one in named if name not in folder.embedding_names and (chosen is None or id(one) in chosen)]
    if lacking := [name for name in names if name not in folder.slots]:
        raise ModelError(
            f"{folder.architecture} keeps {lacking[0]} under another name in its files, so it cannot be written after learning",
            "Choose --scope lora, without outer-layers in --full-parts",
        )
    return names


def _lora_targets(config: CalibrateConfig, split: SplitModel, *, exclude: Sequence[str]) -> list[str]:
    """Full names of the linear layers that get an adapter: those of the wanted kinds that do not learn in full."""
    words = [word for kind in config.lora_targets for word in _KINDS[kind]]
    in_full = set(exclude)
    linear = {name for name, module in split.model.named_modules() if isinstance(module, torch.nn.Linear)}
    stored = [name for name in sorted(linear) if f"{name}.weight" in split.folder.slots and f"{name}.weight" not in in_full]
    return [name for name in stored if any(word in part for part in name.split(".") for word in words)]


def _replaced_by(master: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda _: master.detach().to("cpu")


def _in_turn(first: Callable[[Tensor], Tensor] | None, second: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return second if first is None else lambda weight: second(first(weight))
