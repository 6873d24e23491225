"""A LoRA adapter that was trained beside the embeddings, merged into the instruct model's projections (method, section 3).

    W_new = W_instruct + scale * (alpha / r) * B A        in float32, cast to the model's dtype

`train --lora` leaves such an adapter in `adapter/` of its result, in the format of peft (adapter_config.json and
adapter_model.safetensors). It is read here without peft; whatever is more than a plain LoRA on linear layers is refused.
Shapes: R rank of the adapter, I inputs and O outputs of a layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lep_core.errors import ModelError
from lep_core.models import ModelFolder, check_finite
from lep_core.models.adapters import ADAPTER_FOLDER, CONFIG_NAME
from lep_core.models.folder import DTYPES, read_json_object
from lep_core.models.safetensors_files import TensorSlot, read_header
from lep_core.models.weights import load_slot

WEIGHTS_NAME = "adapter_model.safetensors"
FACTOR = re.compile(r"^base_model\.model\.(.+)\.lora_([AB])\.weight$")
# These begin from changed weights of the base model, which the adapter file does not hold.
LONGEST_PATTERN, MOST_REPETITIONS = 300, 3
CHANGED_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True, kw_only=True)
class LoraChange:
    """What an adapter adds to one matrix."""

    a_RI: Tensor
    b_OR: Tensor
    scaling: float

    def __call__(self, weight_OI: Tensor) -> Tensor:
        """The changed matrix in float32."""
        return weight_OI.float() + (self.b_OR @ self.a_RI) * self.scaling


def find_adapter(adapted: Path, given: str | None) -> Path | None:
    """The folder of the adapter to merge: the given one, else that of the adapted model if it has one.

    Raises:
        ModelError: the given folder holds no adapter.
    """
    folder = adapted / ADAPTER_FOLDER if given is None else Path(given)
    if (folder / CONFIG_NAME).is_file():
        return folder
    if given is None:
        return None
    raise ModelError(f"{folder} has no {CONFIG_NAME}", "Give the folder of a peft adapter")


def read_adapter(folder: Path, model: ModelFolder, *, scale: float) -> dict[str, LoraChange]:
    """What the adapter adds to each tensor of `model`, by the tensor's name.

    Raises:
        ModelError: no plain LoRA, pickle weights, or factors that do not fit the model.
    """
    config = read_json_object(folder / CONFIG_NAME)
    _check_plain(folder, config)
    if not (folder / WEIGHTS_NAME).is_file():
        raise ModelError(f"the adapter {folder} has no {WEIGHTS_NAME}", "Save it as safetensors; pickle files are never opened")
    patterns = _patterns(folder, config.get("alpha_pattern"))
    changes: dict[str, LoraChange] = {}
    for module, factors in _factors(folder).items():
        name = f"{module}.weight"
        a_RI, b_OR = (_load_factor(factors[side], f"lora_{side} of {module} in {folder}") for side in "AB")
        _check_fit(folder, model, name, a_RI, b_OR)
        alpha = _pattern_value(patterns, module, config.get("lora_alpha"))
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
            raise ModelError(f"{folder / CONFIG_NAME} says lora_alpha = {alpha!r}", "Give an unchanged adapter")
        rank = len(a_RI)
        scaling = scale * alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        changes[name] = LoraChange(a_RI=a_RI, b_OR=b_OR, scaling=scaling)
    return changes


def _check_plain(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse what a sum of B A cannot express."""
    init = config.get("init_lora_weights")
    further = sorted(key for key, value in config.items() if key.startswith("use_") and key != "use_rslora" and value)
    reasons = {
        f"is of type {config.get('peft_type')!r}, not LORA": config.get("peft_type") != "LORA",
        f"uses {', '.join(further)}": bool(further),
        "learned biases": config.get("bias", "none") != "none" or bool(config.get("lora_bias")),
        f"replaces whole modules ({config.get('modules_to_save')})": bool(config.get("modules_to_save")),
        "is for layers that store their weights transposed": bool(config.get("fan_in_fan_out")),
        f"began from changed base weights ({init})": isinstance(init, str) and init.lower().startswith(CHANGED_BASES),
        "changes only some tokens (aLoRA)": bool(config.get("alora_invocation_tokens")),
    }
    for reason, applies in reasons.items():
        if applies:
            raise ModelError(
                f"the adapter {folder} {reason}", "Only a plain LoRA on linear layers can be merged; --adapter-scale 0 leaves it out"
            )


def _factors(folder: Path) -> dict[str, dict[str, TensorSlot]]:
    found: dict[str, dict[str, TensorSlot]] = {}
    for key, slot in read_header(folder / WEIGHTS_NAME).items():
        match = FACTOR.match(key)
        if match is None or slot.dtype not in DTYPES or len(slot.shape) != 2 or 0 in slot.shape:
            raise ModelError(
                f"the adapter {folder} holds {key} ({slot.dtype}, {list(slot.shape)}), which is no factor of a linear layer",
                "Only a plain LoRA on linear layers can be merged; --adapter-scale 0 leaves it out",
            )
        found.setdefault(match[1], {})[match[2]] = slot
    if not found:
        raise ModelError(f"the adapter {folder} is empty", "Give a trained adapter")
    for module, factors in found.items():
        if len(factors) != 2:
            raise ModelError(f"the adapter {folder} has only one of the two factors of {module}", "Save or download the adapter again")
    return found


def _load_factor(slot: TensorSlot, name: str) -> Tensor:
    factor = load_slot(slot)
    check_finite(factor, name)
    return factor.float()


def _check_fit(folder: Path, model: ModelFolder, name: str, a_RI: Tensor, b_OR: Tensor) -> None:
    hint = f"Give the adapter that was trained on a model of this family and size ({model.architecture}, {model.layers} layers)"
    slot = model.slots.get(name)
    if slot is None or name in model.embedding_names or slot.dtype not in DTYPES:
        raise ModelError(f"the adapter {folder} changes {name}, which {model.path} has no body matrix for", hint)
    shape = (len(b_OR), a_RI.shape[1])
    if len(a_RI) != b_OR.shape[1] or slot.shape != shape:
        raise ModelError(f"the adapter {folder} changes {name} with shape {list(shape)}, in {model.path} it has {list(slot.shape)}", hint)


def _patterns(folder: Path, given: Any) -> dict[re.Pattern[str], Any]:
    """Patterns of module names with their values, as peft reads them; one that could be matched for ever is refused."""
    wrong = ModelError(
        f"{folder / CONFIG_NAME} has an alpha_pattern that is no table of module names",
        "Give an adapter whose patterns are names of modules",
    )
    if not isinstance(given or {}, dict):
        raise wrong
    found: dict[re.Pattern[str], Any] = {}
    for pattern, value in (given or {}).items():
        # Repeated groups and many repetitions take time without bounds.
        if len(pattern) > LONGEST_PATTERN or re.search(r"\)\s*[*+?{]", pattern) or len(re.findall(r"[*+{]", pattern)) > MOST_REPETITIONS:
            raise wrong
        try:
            found[re.compile(rf"(.*\.)?({pattern})$")] = value
        except re.error as error:
            raise wrong from error
    return found


def _pattern_value(patterns: Mapping[re.Pattern[str], Any], module: str, default: Any) -> Any:
    """The value that peft takes for a module: the first pattern that is the end of its name, whole parts only."""
    return next((value for pattern, value in patterns.items() if pattern.match(module)), default)
