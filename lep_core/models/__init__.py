"""Models and tokenizers as the stages see them: inspect, load strictly, take embeddings out, put embeddings in, compare siblings.

    folder = inspect_model("path/or/hub-id")         # headers only
    pair = load_embeddings(folder)                   # V rows (vocabulary, padding included), D hidden
    write_model(source=folder, embeddings=pair, tokenizer_source=folder.path, output=empty_folder)

Everything is local and safetensors only; no code of a model folder is ever run. Names are looked up when they are used, so that
inspecting a folder does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lep_core.models.devices import choose_device, choose_precision, choose_threads
    from lep_core.models.folder import ModelFolder, inspect_model, resolve
    from lep_core.models.siblings import SiblingReport, check_same_shape, check_siblings
    from lep_core.models.weights import (
        check_finite,
        frozen_sha256,
        frozen_sha256_of_module,
        load_embeddings,
        load_model,
        load_tokenizer,
    )
    from lep_core.models.writing import EmbeddingPair, WriteReport, write_model

__all__ = [
    "EmbeddingPair",
    "ModelFolder",
    "SiblingReport",
    "WriteReport",
    "check_finite",
    "check_same_shape",
    "check_siblings",
    "choose_device",
    "choose_precision",
    "choose_threads",
    "frozen_sha256",
    "frozen_sha256_of_module",
    "inspect_model",
    "load_embeddings",
    "load_model",
    "load_tokenizer",
    "resolve",
    "write_model",
]

_HOMES = {
    "devices": ("choose_device", "choose_precision", "choose_threads"),
    "folder": ("ModelFolder", "inspect_model", "resolve"),
    "siblings": ("SiblingReport", "check_same_shape", "check_siblings"),
    "writing": ("EmbeddingPair", "WriteReport", "write_model"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF.get(name, 'weights')}"), name)
