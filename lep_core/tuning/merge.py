"""The tuned model as a plain Hugging Face folder: what was learned merged into the weights, everything else as it was.

config.json, generation config, tokenizer and template are edited copies of the original files, never rebuilt (`models.writing`).
`merged-adapter/` holds, when it is wanted, what was learned in the format of peft: on the model before tuning it gives the merged weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from lep_core.errors import ConfigError
from lep_core.files import write_json
from lep_core.models import ModelFolder, write_model
from lep_core.training.lora import save_adapter
from lep_core.tuning.learner import INPUT, OUTPUT, WEIGHT, Learner
from lep_core.tuning.template import ChatTokenizer

# Not `adapter`: what lies there counts as not yet merged, and the next stage would merge it a second time.
MERGED_ADAPTER_FOLDER = "merged-adapter"


def write_tuned(learner: Learner, folder: ModelFolder, chat: ChatTokenizer, output: Path) -> None:
    """Write the merged model into the existing empty folder `output`."""
    write_model(
        source=folder,
        embeddings=learner.trained_pair(),
        tokenizer_source=chat.folder,
        output=output,
        config_changes=chat.config_changes,
        tensor_changes=learner.tensor_changes(),
    )
    if chat.generation_config is not None:
        write_json(output / "generation_config.json", dict(chat.generation_config))


def check_adapter_can_be_kept(learner: Learner, chat: ChatTokenizer) -> None:
    """Raise ConfigError when peft could not put the adapter on the model before tuning."""
    if not learner.lora_modules():
        raise ConfigError("keep_adapter", "no layer has an adapter with these settings", "Leave --keep-adapter out")
    if chat.appended or learner.merged:
        what = f"{len(chat.appended)} tokens are appended to the vocabulary" if chat.appended else "another adapter is merged first"
        raise ConfigError(
            "keep_adapter", f"{what}, so an adapter would not fit the model before tuning", "Leave --keep-adapter out: the result is whole"
        )


def keep_adapter(learner: Learner, output: Path) -> None:
    """Write the LoRA factors, and the parts that learned in full, as a peft folder inside the result."""
    in_full = _in_full(learner)
    settings: Any = learner.split.adapter_settings
    settings.modules_to_save = sorted({_module_of(name) for name in in_full}) or None
    save_adapter(learner.split, output / MERGED_ADAPTER_FOLDER, in_full=in_full)


def _in_full(learner: Learner) -> dict[str, Tensor]:
    """Tensors that learned in full, by the name that they have in the model."""
    names = {INPUT: learner.split.folder.input_name, OUTPUT: learner.split.folder.output_name or ""}
    return {
        names.get(name, name.removeprefix(WEIGHT)): master
        for name, master in learner.masters.items()
        if name in names or name.startswith(WEIGHT)
    }


def _module_of(name: str) -> str:
    """The module that peft replaces as a whole: a matrix of the vocabulary, or a layer."""
    parts = name.split(".")
    layer = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    return ".".join(parts[: layer + 1]) if layer is not None else ".".join(parts[:-1])
