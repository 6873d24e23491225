"""A LoRA adapter on all projections of the frozen body, trained with the embeddings (method section 3, option).

    y = W x + (alpha / r) B A x        W frozen; A, B float32; B begins at zero, so training begins from the unchanged model

The trained model folder keeps the body as it was; the adapter stands beside its weights in `adapter/`, in the format of peft, and
`propagate` merges it into the instruct model. Without the adapter the folder is the model with trained embeddings only.
Shapes: R rank of the adapter, I inputs and O outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch

from lep_core.errors import ConfigError
from lep_core.files import translated_errors
from lep_core.models.writing import write_tensors
from lep_core.training.freeze import SplitModel

_WEIGHTS_NAME = "adapter_model.safetensors"
_ADAPTER = "default"  # peft's own name for an only adapter


def add_lora(split: SplitModel, *, rank: int, alpha: int, seed: int, targets: Sequence[str] | None = None) -> None:
    """Put an adapter on every linear layer of the body, or on `targets`; its factors join what learns as "lora.MODULE.A" and ".B"."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    kinds = sorted({name.rsplit(".", 1)[-1] for name, module in split.body.named_modules() if isinstance(module, torch.nn.Linear)})
    kinds = kinds if targets is None else list(targets)
    if not kinds:
        raise ConfigError("lora", f"{split.folder.architecture} has no linear layers that an adapter could be put on", "Leave --lora out")
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=kinds, task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, split.model, _ADAPTER)
        for name, module in split.model.named_modules():
            if isinstance(module, LoraLayer):
                factor_RI, factor_OR = module.lora_A[_ADAPTER].weight, module.lora_B[_ADAPTER].weight
                # Drawn here and in float32, so that they depend on the seed alone and not on device, precision or version.
                bound = module.in_features**-0.5
                factor_RI.data = torch.empty(factor_RI.shape).uniform_(-bound, bound).to(split.device)
                factor_OR.data = torch.zeros(factor_OR.shape, device=split.device)
                split.adapter |= {f"lora.{name}.A": factor_RI, f"lora.{name}.B": factor_OR}
    split.adapter_settings = settings


def save_adapter(split: SplitModel, folder: Path, *, in_full: Mapping[str, torch.Tensor] = MappingProxyType({})) -> None:
    """Write the adapter as a peft folder: adapter_config.json and adapter_model.safetensors, float32.

    `in_full` are tensors that take the place of the model's own; the settings' `modules_to_save` name their modules.
    """
    from peft import LoraConfig

    assert isinstance(split.adapter_settings, LoraConfig)
    tensors = {f"base_model.model.{name}": tensor.detach().to("cpu", torch.float32) for name, tensor in in_full.items()}
    for name, factor in split.adapter.items():
        module, side = name.removeprefix("lora.").rsplit(".", 1)
        tensors[f"base_model.model.{module}.lora_{side}.weight"] = factor.detach().to("cpu", torch.float32)
    with translated_errors(folder):
        folder.mkdir()
        split.adapter_settings.inference_mode = True
        split.adapter_settings.save_pretrained(str(folder))
        write_tensors(tensors, folder / _WEIGHTS_NAME)
