"""Model folders that share one body: a tiny model with the embeddings and the tokenizer of another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from tests.factories import edit_json, load_weights, save_weights, tiny_model

EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")


def variant_of(original: Path, *, name: str, linked: bool = False, **options: Any) -> Path:
    """A folder with the body of `original` and embeddings of its own; `linked` puts the body into a file shared by a hard link."""
    hidden = json.loads((original / "config.json").read_text())["hidden_size"]
    layers = json.loads((original / "config.json").read_text())["num_hidden_layers"]
    positions = json.loads((original / "config.json").read_text())["max_position_embeddings"]
    folder = tiny_model(original.parent, name=name, hidden=hidden, layers=layers, max_position_embeddings=positions, **options)
    own, body = load_weights(folder), load_weights(original)
    pair = {key: value for key, value in own.items() if key in EMBEDDINGS}
    rest = {key: value for key, value in body.items() if key not in EMBEDDINGS}
    (folder / "model.safetensors").unlink()
    if not linked:
        save_weights(folder, {**pair, **rest})
        return folder
    save_weights(folder, pair)
    (folder / "model.safetensors").rename(folder / "pair.safetensors")
    shared = original.parent / "body.safetensors"
    if not shared.exists():
        save_weights(original.parent, rest)
        (original.parent / "model.safetensors").rename(shared)
    os.link(shared, folder / "body.safetensors")
    weight_map = dict.fromkeys(pair, "pair.safetensors") | dict.fromkeys(rest, "body.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def family(root: Path, *, padded: int = 0, **options: Any) -> list[Path]:
    """An original and three variants: SentencePiece, tied, padded; all answer differently."""
    original = tiny_model(root, name="original", chat=True, padded=padded, **options)
    return [
        original,
        variant_of(original, name="sentencepiece", family="sentencepiece", chat=True, seed=11, padded=padded),
        variant_of(original, name="tied", tied=True, vocab_size=350, seed=12, padded=padded),
        variant_of(original, name="padded", padded=16 + padded, chat=True, seed=13),
    ]


def endless(folder: Path) -> Path:
    """A padded model whose answers never end by themselves: its end token is a row that is never chosen."""
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    for name in ("config.json", "generation_config.json"):
        edit_json(folder / name, eos_token_id=rows - 1)
    return folder


def rescaled(folder: Path, *, name: str, by: float) -> None:
    """Change one tensor of a folder by a factor."""
    weights = load_weights(folder)
    weights[name] = weights[name] * torch.tensor(by, dtype=weights[name].dtype)
    save_weights(folder, weights)
