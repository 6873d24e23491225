"""Tiny models of other families than Llama, and with scaled positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.factories import edit_json, load_weights, save_weights, tiny_model

HEAD = 8
ROPES: dict[str, dict[str, Any]] = {
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    "linear": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
}


def family_model(folder: Path, kind: str, **options: Any) -> Path:
    """A tiny model of the family "mistral", "qwen2" (biases) or "qwen3" (norms on query and key)."""
    model = tiny_model(folder, **options)
    weights = load_weights(model)
    generator = torch.Generator().manual_seed(5)
    for name in list(weights):
        if kind == "qwen2" and name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            weights[name.replace("weight", "bias")] = torch.randn(len(weights[name]), generator=generator) * 0.3
        if kind == "qwen3" and name.endswith(("q_proj.weight", "k_proj.weight")):
            weights[name.replace("_proj.", "_norm.")] = torch.rand(HEAD, generator=generator) + 0.5
    save_weights(model, weights)
    edit_json(model / "config.json", model_type=kind, architectures=[f"{kind.capitalize()}ForCausalLM"])
    return model


def scaled_model(folder: Path, rope: str) -> Path:
    """A tiny Llama with scaled rotary positions."""
    model = tiny_model(folder, max_position_embeddings=512)
    edit_json(model / "config.json", rope_scaling={"rope_type": rope, **ROPES[rope]})
    return model
