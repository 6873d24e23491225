"""Tiny but real model folders for tests: a Llama body with random weights and a small tokenizer trained in-process.

    base = tiny_model(tmp_path)                                        # byte-level BPE, untied, one safetensors file
    instruct = tiny_model(tmp_path, sibling_of=base, chat=True)        # perturbed weights, chat tokens at the end

The folders are written without transformers, so a model costs milliseconds, and open in plain transformers.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = (
    "The old house stands by the river, and the children play there every day.",
    "She reads a long letter from her brother, who lives in another town.",
    "In winter the wind is cold; people stay at home and drink hot tea.",
    "Where is the key? The key is on the table, next to the 12 red apples.",
    "He wrote 3 books in 1998 and 2 more in 2004, they say.",
    "We don't know what they'll do tomorrow, but we're ready.",
    "Старый дом стоит у реки, и дети играют там каждый день.",
    "Она читает длинное письмо от брата, который живёт в другом городе.",
    "Зимой дует холодный ветер; люди сидят дома и пьют горячий чай.",
    "Где ключ? Ключ лежит на столе рядом с красными яблоками.",
    "Он написал 3 книги в 1998 году и ещё 2 в 2004 году.",
    "Мы не знаем, что они будут делать завтра, но мы готовы.",
)
SPECIAL_TOKENS = ("<s>", "</s>", "<pad>")
CHAT_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def tiny_tokenizer(
    folder: Path, *, family: str = "byte-level", vocab_size: int = 400, texts: tuple[str, ...] = SENTENCES, chat: bool = False
) -> Path:
    """Write tokenizer.json and tokenizer_config.json of a small real tokenizer into `folder` (made if need be)."""
    tokenizer = Tokenizer.from_str(_trained(family, vocab_size, texts))
    save_tokenizer(tokenizer, folder, chat=chat)
    return folder


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, chat: bool = False) -> None:
    """Write a tokenizer with its config; `chat` appends the chat tokens and the chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    if chat:
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CHAT_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "bos_token": "<s>",
        "eos_token": "<|end|>" if chat else "</s>",
        "pad_token": "<pad>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if chat:
        config["chat_template"] = CHAT_TEMPLATE
    _write(folder / "tokenizer_config.json", config)


def tiny_model(
    tmp_path: Path,
    *,
    name: str | None = None,
    tokenizer: Path | None = None,
    family: str = "byte-level",
    vocab_size: int = 400,
    tied: bool = False,
    hidden: int = 32,
    layers: int = 2,
    seed: int = 0,
    padded: int = 0,
    dtype: str = "float32",
    chat: bool = False,
    shards: int = 1,
    sibling_of: Path | None = None,
    perturbation: float = 0.05,
    max_position_embeddings: int = 256,
) -> Path:
    """Write a Llama folder below `tmp_path` and return it.

    Args:
        name: name of the new folder; by default the first free `model-N`.
        tokenizer: folder whose tokenizer.json (and tokenizer_config.json) is taken; else one is trained (`family`, `vocab_size`).
        padded: rows of the embedding beyond the last token.
        chat: append chat tokens, a chat template and an eos list to the tokenizer.
        sibling_of: take weights (times `1 + perturbation * noise`), tokenizer and shape from this folder instead.
    """
    folder = tmp_path / name if name else next(p for n in range(10_000) if not (p := tmp_path / f"model-{n}").exists())
    folder.mkdir(parents=True)
    source = sibling_of or tokenizer
    if source is None:
        tiny_tokenizer(folder, family=family, vocab_size=vocab_size, chat=chat)
    else:
        _take_tokenizer(source, folder, chat=chat)
    loaded = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens = max(loaded.get_vocab(with_added_tokens=True).values()) + 1
    if sibling_of is not None:
        config = json.loads((sibling_of / "config.json").read_text())
        tied, dtype = config["tie_word_embeddings"], config["torch_dtype"]
        weights = _sibling_weights(sibling_of, rows=tokens + padded, seed=seed + 1, perturbation=perturbation)
        config["vocab_size"] = tokens + padded
    else:
        config = _config(hidden=hidden, layers=layers, rows=tokens + padded, tied=tied, dtype=dtype, positions=max_position_embeddings)
        weights = _random_weights(config, seed=seed)
    end = loaded.token_to_id("<|end|>")
    config["bos_token_id"], config["pad_token_id"] = loaded.token_to_id("<s>"), loaded.token_to_id("<pad>")
    config["eos_token_id"] = loaded.token_to_id("</s>") if end is None else end
    _write(folder / "config.json", config)
    generation: dict[str, Any] = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    if end is not None:
        generation |= {"eos_token_id": [end, loaded.token_to_id("</s>")], "do_sample": True, "temperature": 0.6, "top_p": 0.9}
    _write(folder / "generation_config.json", generation)
    save_weights(folder, {key: value.to(DTYPES[dtype]) for key, value in weights.items()}, shards=shards)
    return folder


def save_weights(folder: Path, weights: dict[str, torch.Tensor], *, shards: int = 1) -> None:
    """Write tensors as model.safetensors, or as `shards` files with an index."""
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(weights)
    size = -(-len(names) // shards)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        part = {name: weights[name] for name in names[number * size : (number + 1) * size]}
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(value.nbytes for value in weights.values())
    _write(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, whatever its files."""
    weights: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
    return weights


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes a key."""
    value = json.loads(path.read_text()) | changes
    _write(path, {key: item for key, item in value.items() if item is not None})


def _config(*, hidden: int, layers: int, rows: int, tied: bool, dtype: str, positions: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": hidden // 4,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "max_position_embeddings": positions,
        "rms_norm_eps": 1e-5,
        "rope_theta": 50000.0,
        "rope_scaling": None,
        "tie_word_embeddings": tied,
        "torch_dtype": dtype,
        "vocab_size": rows,
    }


def _random_weights(config: dict[str, Any], *, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden, inner, rows = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    small = config["head_dim"] * config["num_key_value_heads"]

    def random(*shape: int, scale: float = 0.08) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * scale

    weights = {"model.embed_tokens.weight": random(rows, hidden, scale=0.5)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for part, shape in {"q": (hidden, hidden), "k": (small, hidden), "v": (small, hidden), "o": (hidden, hidden)}.items():
            weights[f"{prefix}self_attn.{part}_proj.weight"] = random(*shape)
        for part, shape in {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}.items():
            weights[f"{prefix}mlp.{part}_proj.weight"] = random(*shape)
        weights[f"{prefix}input_layernorm.weight"] = 1 + random(hidden)
        weights[f"{prefix}post_attention_layernorm.weight"] = 1 + random(hidden)
    weights["model.norm.weight"] = 1 + random(hidden)
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = random(rows, hidden, scale=0.3)
    return weights


def _sibling_weights(source: Path, *, rows: int, seed: int, perturbation: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}
    for name, value in load_weights(source).items():
        value = value.float()
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            fresh = torch.randn((max(0, rows - len(value)), value.shape[1]), generator=generator) * 0.4
            value = torch.cat([value[:rows], fresh])
        weights[name] = value * (1 + perturbation * torch.randn(value.shape, generator=generator))
    return weights


def _take_tokenizer(source: Path, folder: Path, *, chat: bool) -> None:
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    if chat or not (source / "tokenizer_config.json").is_file():
        save_tokenizer(tokenizer, folder, chat=chat)
    else:
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text((source / "tokenizer_config.json").read_text())


@cache
def _trained(family: str, vocab_size: int, texts: tuple[str, ...]) -> str:
    if family == "byte-level":
        return _byte_level(vocab_size, texts)
    if family == "sentencepiece":
        return _sentencepiece(vocab_size, texts)
    raise ValueError(f"no tokenizer family {family}")


def _byte_level(vocab_size: int, texts: tuple[str, ...]) -> str:
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = _begin_with_bos(tokenizer)
    return tokenizer.to_str()


def _sentencepiece(vocab_size: int, texts: tuple[str, ...]) -> str:
    """BPE with byte fallback and `▁`, laid out as in Mistral: <unk> <s> </s>, 256 bytes, merged pieces, characters."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace()
    learned.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=max(100, vocab_size - 260), show_progress=False))
    trained = json.loads(learned.to_str())["model"]
    merges = [tuple(merge) for merge in trained["merges"]]
    characters = sorted({piece for piece in trained["vocab"] if len(piece) == 1})
    control = ["<unk>", "<s>", "</s>", "<pad>"]
    pieces = dict.fromkeys([*control, *(f"<0x{byte:02X}>" for byte in range(256)), *(a + b for a, b in merges), *characters])
    tokenizer = Tokenizer(models.BPE({p: n for n, p in enumerate(pieces)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.post_processor = _begin_with_bos(tokenizer)
    return tokenizer.to_str()


def _begin_with_bos(tokenizer: Tokenizer) -> processors.TemplateProcessing:
    bos = tokenizer.token_to_id("<s>")
    return processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", bos)])


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
