"""What a model folder holds, read from config.json, safetensors headers and tokenizer.json only: no model is constructed.

`inspect_model` is the gate that every model passes first. transformers loads many damaged folders without a word (a missing head is
drawn at random); here each of these ends in a sentence that names the file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from lep_core.errors import ModelError, TokenizerError
from lep_core.models.safetensors_files import TensorSlot, equal_bytes, read_header
from lep_core.models.tokenizer_steps import check_steps

INPUT_NAME = "model.embed_tokens.weight"
OUTPUT_NAME = "lm_head.weight"
INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
JSON_LIMIT_BYTES = 200_000_000
# Up to here a model is loaded twice in float32 just to prove something about it.
SMALL_MODEL_BYTES = 2_000_000_000
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

# Decoders whose layers are known; others are accepted when they use the same two names and all their layers look alike.
KNOWN = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
KNOWN_LAYER = (
    *(f"self_attn.{part}_proj.weight" for part in "qkvo"),
    *(f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")),
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
)
LAYER = re.compile(r"^model\.layers\.(\d+)\.(.+)$")
# Recomputed by every model and saved by old ones only.
IGNORED = re.compile(r"\brotary_emb\.inv_freq$")


Vocabulary = tuple[Mapping[str, int], Mapping[str, int], Mapping[str, int]]


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A model folder as found on disk.

    `vocab_size` counts the rows of the embedding, `tokenizer_size` the ids of the tokenizer (0 without one), `padded_rows` their
    difference. `output_name` is None when the head is the input embedding itself.
    """

    path: Path
    config: dict[str, Any]
    generation_config: dict[str, Any] | None
    architecture: str
    model_type: str
    hidden_size: int
    layers: int
    tied: bool
    vocab_size: int
    tokenizer_size: int
    padded_rows: int
    dtype: str
    input_name: str
    output_name: str | None
    weight_files: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    parameters: int
    bytes: int
    has_chat_template: bool
    special_tokens: Mapping[str, int]
    added_tokens: Mapping[str, int]
    bos_token_id: int | None
    eos_token_id: int | list[int] | None
    pad_token_id: int | None
    slots: dict[str, TensorSlot] = field(repr=False)

    @property
    def embedding_names(self) -> frozenset[str]:
        """Names of embedding and head as they stand in the files (a tied folder may hold a copy of the head)."""
        return frozenset(name for name in (INPUT_NAME, OUTPUT_NAME) if name in self.slots)

    @property
    def frozen_slots(self) -> list[TensorSlot]:
        """All tensors but embedding and head."""
        return [slot for name, slot in self.slots.items() if name not in self.embedding_names and not IGNORED.search(name)]

    def to_json(self) -> dict[str, Any]:
        """The facts that a person wants to see."""
        names = (
            "architecture",
            "hidden_size",
            "layers",
            "tied",
            "vocab_size",
            "tokenizer_size",
            "padded_rows",
            "dtype",
            "parameters",
            "bytes",
        )
        return {"path": str(self.path), **{name: getattr(self, name) for name in names}, "has_chat_template": self.has_chat_template}


def resolve(source: str | Path) -> Path:
    """The folder of a model: `source` itself, or the snapshot of a hub id (downloaded unless HF_HUB_OFFLINE is set)."""
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(f"{source} is a file, not a model folder", "Give the folder that holds config.json")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", str(source)):
        raise ModelError(f"there is no folder {source}", "Give an existing model folder or a hub id such as OWNER/NAME")
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # The library of HTTP under huggingface_hub has changed its name before: its error is a base of this one.
    http_errors: Any = HfHubHTTPError.__bases__
    try:
        patterns = ["*.json", "*.safetensors", "*.jinja", "LICENSE*", "NOTICE*"]
        return Path(snapshot_download(str(source), allow_patterns=patterns, local_files_only=offline))
    except (*http_errors, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reach = "reachable offline" if offline else f"reachable ({type(error).__name__})"
        raise ModelError(
            f"there is no folder {source} and it is no hub id {reach}", "Give an existing model folder, or check the name"
        ) from error


def inspect_model(source: str | Path) -> ModelFolder:
    """Read and check a model folder.

    Raises:
        ModelError: missing folder or config, no decoder, pickle-only or incomplete weights, contradictory tie flag, tokenizer larger
            than the embedding.
    """
    path = resolve(source)
    config = _read_config(path)
    architecture = _architecture(path, config)
    slots = read_slots(path)
    layers, hidden = (_positive(path, config, key) for key in ("num_hidden_layers", "hidden_size"))
    _check_embedding(path, architecture, slots, hidden)
    _check_layers(path, slots, layers, known=architecture in KNOWN)
    if architecture in KNOWN:
        _check_known(path, config, slots, hidden)
    tied = _tied(path, config, slots)
    rows = slots[INPUT_NAME].shape[0]
    vocabulary, added, special = read_vocabulary(path) if (path / "tokenizer.json").is_file() else ({}, {}, {})
    size = max(vocabulary.values(), default=-1) + 1
    if size > rows:
        raise ModelError(
            f"the tokenizer of {path} has {size} tokens and the embedding {rows} rows", "Give the tokenizer that belongs to this model"
        )
    stated = config.get("vocab_size")
    if stated is not None and stated != rows:
        raise ModelError(
            f"config.json of {path} says vocab_size {stated} and the embedding has {rows} rows", "Mend vocab_size or the weights"
        )
    generation = read_json_object(path / "generation_config.json") if (path / "generation_config.json").is_file() else None
    ids = {
        key: _token_ids(path, key, (generation or {}).get(key, config.get(key))) for key in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    return ModelFolder(
        path=path,
        config=config,
        generation_config=generation,
        architecture=architecture,
        model_type=str(config.get("model_type", "")),
        hidden_size=hidden,
        layers=layers,
        tied=tied,
        vocab_size=rows,
        tokenizer_size=size,
        padded_rows=rows - size if size else 0,
        dtype=DTYPES[slots[INPUT_NAME].dtype],
        input_name=INPUT_NAME,
        output_name=None if tied else OUTPUT_NAME,
        weight_files={name: slot.path.name for name, slot in slots.items()},
        shapes={name: slot.shape for name, slot in slots.items()},
        parameters=sum(_elements(slot.shape) for slot in slots.values()),
        bytes=sum(slot.bytes for slot in slots.values()),
        has_chat_template=_has_chat_template(path),
        special_tokens=special,
        added_tokens=added,
        **ids,
        slots=slots,
    )


def read_slots(path: Path) -> dict[str, TensorSlot]:
    """Tensor slots of all weight files of a folder, in the order in which transformers looks for them."""
    if (path / SINGLE_NAME).is_file():
        return read_header(path / SINGLE_NAME)
    if (path / INDEX_NAME).is_file():
        weight_map = read_json_object(path / INDEX_NAME).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(file, str) and Path(file).name == file for file in weight_map.values()):
            raise ModelError(f"{path / INDEX_NAME} has no proper weight_map", "Download the model again")
        missing = sorted({file for file in weight_map.values() if not (path / file).is_file()})
        if missing:
            raise ModelError(f"the model {path} lacks its weight file {missing[0]} ({len(missing)} missing)", "Download the model again")
        headers = {file: read_header(path / file) for file in sorted(set(weight_map.values()))}
        for name, file in weight_map.items():
            if name not in headers[file]:
                raise ModelError(f"{INDEX_NAME} of {path} promises {name} in {file}, which does not hold it", "Download the model again")
        return {name: headers[file][name] for name, file in weight_map.items()}
    if (path / "adapter_config.json").is_file():
        raise ModelError(f"{path} holds an adapter, not a model", "Merge the adapter into its base model first (peft: merge_and_unload)")
    pickles = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
    if pickles:
        raise ModelError(
            f"{path} has only pickle weights ({pickles[0]})",
            "Convert them to safetensors first (transformers: save_pretrained), pickle files can run code and are never opened",
        )
    raise ModelError(f"{path} has no safetensors weights", "Give a folder with model.safetensors or its shards and index")


def read_vocabulary(path: Path) -> Vocabulary:
    """Token -> id of tokenizer.json: all tokens, added tokens, special tokens among these. Shared between callers: not to be changed.

    Raises:
        TokenizerError: no tokenizer.json, or one that is damaged or has an id twice.
    """
    file = path / "tokenizer.json"
    if not file.is_file():
        raise TokenizerError(
            f"{path} has no tokenizer.json (no fast backend)",
            "Convert it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        )
    state = file.stat()
    return _read_vocabulary(file.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _read_vocabulary(file: Path, _changed_ns: int, _size: int) -> Vocabulary:
    """Large tokenizers take a second to parse and are asked for often: one reading per state of the file."""
    definition = read_json_object(file)
    vocabulary = vocabulary_of(definition, str(file))
    check_steps(definition, vocabulary[0], str(file))
    return vocabulary


def vocabulary_of(definition: Mapping[str, Any], name: str = "the tokenizer") -> Vocabulary:
    """`read_vocabulary` of parsed tokenizer.json content."""
    try:
        entries = definition["model"]["vocab"]
        vocabulary = dict(entries) if isinstance(entries, dict) else {str(piece): number for number, (piece, _) in enumerate(entries)}
        added = {str(item["content"]): int(item["id"]) for item in definition.get("added_tokens") or []}
        special = {str(item["content"]): int(item["id"]) for item in definition.get("added_tokens") or [] if item.get("special")}
        vocabulary |= added
        distinct = set(vocabulary.values())
        sound = set(map(type, distinct)) <= {int} and min(distinct, default=0) >= 0
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise TokenizerError(f"{name} is damaged ({type(error).__name__}: {error})", "Download the tokenizer again") from error
    if not sound or len(distinct) != len(vocabulary):
        raise TokenizerError(f"{name} gives one id to several tokens, or an id that is no number", "Give a tokenizer with one id per token")
    return vocabulary, added, special


def check_own_files(folder: Path, *names: str) -> None:
    """Refuse links that lead out of a model folder: what is copied into a result, and so published, must be the model's own.

    The cache of the hub keeps its files in `blobs` beside `snapshots/REVISION`, and links to them.
    """
    home = folder.resolve()
    homes = [home, *([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])]
    for name in names:
        for path in (folder / name, *((folder / name).rglob("*") if (folder / name).is_dir() else ())):
            real = path.resolve()
            if path.exists() and not any(real.is_relative_to(place) for place in homes):
                raise ModelError(f"{path} is a link to {real}, outside the model's folder", "Put the file itself there, or remove the link")


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder; ModelError when it is anything else."""
    if path.stat().st_size > JSON_LIMIT_BYTES:
        raise ModelError(f"{path} is larger than {JSON_LIMIT_BYTES // 10**6} MB", "Give a real model folder")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no JSON ({error})", "Download the model again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object", "Download the model again")
    return value


def _read_config(path: Path) -> dict[str, Any]:
    if not (path / "config.json").is_file():
        if (path / "adapter_config.json").is_file():
            raise ModelError(
                f"{path} holds an adapter, not a model", "Merge the adapter into its base model first (peft: merge_and_unload)"
            )
        raise ModelError(f"{path} has no config.json", "Give the folder of a Hugging Face model")
    if (path / "adapter_config.json").is_file():
        raise ModelError(f"{path} holds adapter_config.json beside the model", "Merge the adapter, or remove that file if it is a leftover")
    return read_json_object(path / "config.json")


def _architecture(path: Path, config: Mapping[str, Any]) -> str:
    names = config.get("architectures") or []
    name = names[0] if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str) else None
    if name is None:
        raise ModelError(f"config.json of {path} names no single architecture ({names})", f"Give a decoder such as {', '.join(KNOWN)}")
    if config.get("is_encoder_decoder") or not name.endswith("ForCausalLM"):
        raise ModelError(f"{path} is a {name}, not a decoder (causal language model)", f"Give a decoder such as {', '.join(KNOWN)}")
    if "auto_map" in config and (name not in KNOWN or f"{config.get('model_type')}forcausallm" != name.lower()):
        raise ModelError(f"{path} ({name}) brings its own code, which is never run", "Give a model that transformers knows by itself")
    if config.get("quantization_config"):
        raise ModelError(f"{path} is quantized", "Give the weights in float32, float16 or bfloat16")
    return name


def _token_ids(path: Path, key: str, value: Any) -> Any:
    """An id, a list of ids or None, as config.json or generation_config.json gives it."""
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(number) is int for number in listed):
        raise ModelError(f"{path} says {key} = {value!r}, which is no token id", "Mend config.json or generation_config.json")
    return value


def _positive(path: Path, config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(
            f"config.json of {path} says {key} = {value!r}", "Give an unchanged config.json; the architecture may not be supported"
        )
    return value


def _check_embedding(path: Path, architecture: str, slots: Mapping[str, TensorSlot], hidden: int) -> None:
    if INPUT_NAME not in slots:
        if architecture in KNOWN:
            raise ModelError(f"the weights of {path} lack {INPUT_NAME}", "Download the model again")
        raise ModelError(
            f"the architecture {architecture} of {path} is not supported: it has no tensor {INPUT_NAME}",
            f"Supported: {', '.join(KNOWN)} and alike",
        )
    for name in (INPUT_NAME, OUTPUT_NAME):
        slot = slots.get(name)
        if slot is None:
            continue
        if len(slot.shape) != 2 or slot.shape[1] != hidden or slot.shape[0] == 0:
            raise ModelError(f"{name} of {path} has shape {list(slot.shape)}, config.json says hidden_size {hidden}", "Give matching files")
        if slot.dtype not in DTYPES:
            raise ModelError(f"{name} of {path} is stored as {slot.dtype}", "Give weights in float32, float16 or bfloat16")
    if OUTPUT_NAME in slots and slots[OUTPUT_NAME].shape != slots[INPUT_NAME].shape:
        shapes = f"{list(slots[INPUT_NAME].shape)} and {list(slots[OUTPUT_NAME].shape)}"
        raise ModelError(f"embedding and head of {path} have different shapes ({shapes})", "Give matching files")


def _check_layers(path: Path, slots: Mapping[str, TensorSlot], layers: int, *, known: bool) -> None:
    found: dict[int, set[str]] = {}
    for name in slots:
        if (match := LAYER.match(name)) and not IGNORED.search(name):
            found.setdefault(int(match[1]), set()).add(match[2])
    expected = set().union(*found.values(), KNOWN_LAYER if known else ())
    if not found:
        raise ModelError(
            f"the weights of {path} hold no model.layers.*: this architecture is not supported", f"Supported: {', '.join(KNOWN)} and alike"
        )
    for layer in range(layers):
        lacking = sorted(expected - found.get(layer, set()))
        if lacking:
            raise ModelError(
                f"the weights of {path} lack model.layers.{layer}.{lacking[0]} (config.json says {layers} layers)",
                "Download the model again",
            )
    if max(found) >= layers:
        raise ModelError(f"the weights of {path} hold layer {max(found)}, config.json says {layers} layers", "Give matching files")
    if known and "model.norm.weight" not in slots:
        raise ModelError(f"the weights of {path} lack model.norm.weight", "Download the model again")


def _check_known(path: Path, config: Mapping[str, Any], slots: Mapping[str, TensorSlot], hidden: int) -> None:
    """Refuse tensors that the architecture has no place for, and matrices whose shape is not the one that config.json gives."""
    strange = sorted(
        name
        for name in slots
        if not LAYER.match(name) and name not in (INPUT_NAME, OUTPUT_NAME, "model.norm.weight") and not IGNORED.search(name)
    )
    if strange:
        raise ModelError(
            f"the weights of {path} hold {strange[0]}, which does not belong to this architecture ({len(strange)} such tensors)",
            "Give the model as it was published, with adapters merged",
        )
    heads, inner = (_positive(path, config, key) for key in ("num_attention_heads", "intermediate_size"))
    groups = heads if config.get("num_key_value_heads") is None else _positive(path, config, "num_key_value_heads")
    width = hidden // heads if config.get("head_dim") is None else _positive(path, config, "head_dim")
    shapes = {
        "self_attn.q_proj.weight": (heads * width, hidden),
        "self_attn.k_proj.weight": (groups * width, hidden),
        "self_attn.v_proj.weight": (groups * width, hidden),
        "self_attn.o_proj.weight": (hidden, heads * width),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    for name, slot in slots.items():
        match = LAYER.match(name)
        expected = (hidden,) if name == "model.norm.weight" else shapes.get(match[2]) if match else None
        if expected is not None and slot.shape != expected:
            raise ModelError(
                f"{name} of {path} has the shape {list(slot.shape)}, config.json gives {list(expected)}", "Give matching files"
            )
    if heads % groups:
        raise ModelError(
            f"config.json of {path} says num_attention_heads {heads} and num_key_value_heads {groups}, which does not divide it",
            "Give an unchanged config.json",
        )


def _tied(path: Path, config: Mapping[str, Any], slots: Mapping[str, TensorSlot]) -> bool:
    """Whether head and embedding are one matrix; contradictions between flag and files are refused."""
    present = OUTPUT_NAME in slots
    # Llama, Mistral and Qwen say "untied" by default; for others an absent flag is read off the files.
    stated = config.get("tie_word_embeddings", False if config.get("architectures") in [[name] for name in KNOWN] else not present)
    if stated and present and not equal_bytes(slots[INPUT_NAME], slots[OUTPUT_NAME]):
        raise ModelError(
            f"config.json of {path} says tie_word_embeddings, yet {OUTPUT_NAME} differs from {INPUT_NAME}",
            "Set tie_word_embeddings to false if the head is meant to be separate, or remove it from the weights",
        )
    if not stated and not present:
        raise ModelError(
            f"the weights of {path} lack {OUTPUT_NAME} and config.json does not say tie_word_embeddings", "Give matching files"
        )
    return bool(stated)


def _has_chat_template(path: Path) -> bool:
    if (path / "chat_template.jinja").is_file():
        return True
    file = path / "tokenizer_config.json"
    return file.is_file() and bool(read_json_object(file).get("chat_template"))


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
