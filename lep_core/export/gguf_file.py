"""Write one GGUF file with the gguf package of the llama.cpp project: weights streamed, tokenizer and settings as llama.cpp reads them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lep_core import files
from lep_core.errors import ConfigError, ModelError, ResourceError
from lep_core.export.gguf_tensors import (
    ROPE_FACTORS,
    PlannedTensor,
    StreamedTensor,
    architecture_of,
    main_format,
    planned_tensors,
    rope_factors,
)
from lep_core.export.gguf_vocabulary import GgufVocabulary
from lep_core.export.remarks import Remark
from lep_core.models.folder import ModelFolder, read_json_object
from lep_core.models.writing import TEMPLATE_FILE, TEMPLATE_FOLDER
from lep_core.progress import SILENT, Reporter

SCALINGS = ("default", "linear", "yarn", "llama3", "dynamic")
ROPE_DEFAULT_THETA = 10_000.0


@dataclass(frozen=True, kw_only=True)
class About:
    """What the file says about itself."""

    name: str
    license: str | None = None
    base_models: tuple[str, ...] = ()


def check_package() -> None:
    """Raise ResourceError unless the gguf package is there."""
    if importlib.util.find_spec("gguf") is None:
        raise ResourceError("GGUF files need the package gguf, which is not installed", "Run: pip install 'gguf>=0.19,<1'")


def shape_remarks(folder: ModelFolder, quantization: str) -> list[Remark]:
    """What llama.cpp does differently with the model itself.

    Raises:
        ModelError: it cannot compute the model.
    """
    architecture_of(folder)
    config, rope = folder.config, rope_of(folder.config)
    if config.get("hidden_act", "silu") != "silu":
        raise ModelError(
            f"{folder.path} uses {config['hidden_act']}, llama.cpp computes this architecture with silu", "Export with --format hf"
        )
    if rope["rope_type"] not in SCALINGS or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError(
            f"{folder.path} scales positions by {rope['rope_type']!r}, for which no GGUF is written here", "Export with --format hf"
        )
    remarks = []
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        remarks.append(Remark(code="window", values={"window": config["sliding_window"]}))
    if rope["rope_type"] == "dynamic":
        remarks.append(Remark(code="dynamic_rope", values={"positions": config.get("max_position_embeddings", 0)}))
    target = main_format(folder, quantization)
    kept = {"F32": ("float32", "float16", "bfloat16"), "F16": ("float16",), "BF16": ("bfloat16",)}.get(target, ())
    if folder.dtype not in kept:
        remarks.append(Remark(code="rounded", values={"dtype": folder.dtype, "quantization": target.lower()}))
    return remarks


def rope_of(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of the rotary positions, whichever transformers wrote them."""
    rope = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    rope.setdefault("rope_theta", config.get("rope_theta", ROPE_DEFAULT_THETA))
    return rope


def write_gguf(
    folder: ModelFolder, vocabulary: GgufVocabulary, output: Path, *, quantization: str, about: About, reporter: Reporter = SILENT
) -> list[PlannedTensor]:
    """Write the file `output`; returns what is in it.

    Raises:
        ModelError: a tensor or a weight that the file cannot hold.
        ResourceError: the disk is too small.
    """
    from gguf import GGUFWriter

    planned = planned_tensors(folder, quantization)
    files.check_free_space(output, sum(tensor.nbytes for tensor in planned) + (1 << 25))
    writer = GGUFWriter(output, architecture_of(folder))
    try:
        _describe(writer, folder, quantization, about)
        _describe_shape(writer, folder)
        _describe_tokenizer(writer, folder, vocabulary)
        _write_tensors(writer, folder, planned, reporter)
    finally:
        writer.close()
    return planned


def _write_tensors(writer: Any, folder: ModelFolder, planned: list[PlannedTensor], reporter: Reporter) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType

    rope = rope_of(folder.config)
    extra = None
    if rope["rope_type"] == "llama3":
        extra = np.array(rope_factors(dimensions=_head_size(folder), theta=rope["rope_theta"], scaling=rope), dtype=np.float32)
        writer.add_tensor_info(ROPE_FACTORS, extra.shape, extra.dtype, extra.nbytes)
    for tensor in planned:
        # A dtype that the writer does not look at: the shape is given in weights, not in bytes.
        writer.add_tensor_info(
            tensor.name, tensor.slot.shape, np.dtype(np.float32), tensor.nbytes, raw_dtype=GGMLQuantizationType[tensor.format]
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if extra is not None:
        writer.write_tensor_data(extra)
    total, done = sum(tensor.nbytes for tensor in planned), 0
    for tensor in planned:
        writer.write_tensor_data(StreamedTensor(tensor))
        done += tensor.nbytes
        reporter.progress(done, total, "bytes")


def _describe(writer: Any, folder: ModelFolder, quantization: str, about: About) -> None:
    from gguf import GGML_QUANT_VERSION, GGUFType, LlamaFileType

    kinds = {
        "F32": LlamaFileType.ALL_F32,
        "F16": LlamaFileType.MOSTLY_F16,
        "BF16": LlamaFileType.MOSTLY_BF16,
        "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    }
    writer.add_type(GGUFType.MODEL)
    writer.add_name(about.name)
    if about.license:
        writer.add_license(about.license)
    if about.base_models:
        writer.add_base_model_count(len(about.base_models))
        for number, name in enumerate(about.base_models):
            writer.add_base_model_name(number, name.split("/")[-1])
            if "/" in name:
                writer.add_base_model_organization(number, name.split("/")[0])
                writer.add_base_model_repo_url(number, f"https://huggingface.co/{name}")
    writer.add_file_type(kinds[main_format(folder, quantization)])
    writer.add_quantization_version(GGML_QUANT_VERSION)


def _describe_shape(writer: Any, folder: ModelFolder) -> None:
    from gguf import RopeScalingType

    config, rope = folder.config, rope_of(folder.config)
    try:
        writer.add_block_count(folder.layers)
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_embedding_length(folder.hidden_size)
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(config["num_attention_heads"])
        writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
        writer.add_key_length(_head_size(folder))
        writer.add_value_length(_head_size(folder))
        writer.add_rope_dimension_count(_head_size(folder))
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))
        writer.add_vocab_size(folder.vocab_size)
        if rope["rope_type"] in ("linear", "yarn"):
            writer.add_rope_scaling_type(RopeScalingType.LINEAR if rope["rope_type"] == "linear" else RopeScalingType.YARN)
            writer.add_rope_scaling_factor(rope["factor"])
        if rope["rope_type"] == "yarn":
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
            for key, add in (
                ("attention_factor", writer.add_rope_scaling_yarn_attn_factor),
                ("beta_fast", writer.add_rope_scaling_yarn_beta_fast),
                ("beta_slow", writer.add_rope_scaling_yarn_beta_slow),
            ):
                if rope.get(key) is not None:
                    add(rope[key])
    except KeyError as error:
        raise ModelError(f"config.json of {folder.path} lacks {error}", "Give an unchanged config.json") from error


def _head_size(folder: ModelFolder) -> int:
    return folder.config.get("head_dim") or folder.hidden_size // folder.config["num_attention_heads"]


def _describe_tokenizer(writer: Any, folder: ModelFolder, vocabulary: GgufVocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    for name, number in vocabulary.special.items():
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    writer.add_add_space_prefix(vocabulary.add_space_prefix)
    if template := chat_templates(folder.path):
        writer.add_chat_template(template)


def chat_templates(path: Path) -> str | list[dict[str, str]] | None:
    """The chat template of a folder, or its named templates."""
    if (path / TEMPLATE_FILE).is_file():
        default = (path / TEMPLATE_FILE).read_text(encoding="utf-8")
        more = sorted((path / TEMPLATE_FOLDER).glob("*.jinja")) if (path / TEMPLATE_FOLDER).is_dir() else []
        named = [{"name": file.stem, "template": file.read_text(encoding="utf-8")} for file in more]
        return [{"name": "default", "template": default}, *named] if named else default
    file = path / "tokenizer_config.json"
    return (read_json_object(file).get("chat_template") if file.is_file() else None) or None


def check_quantization(folder: ModelFolder, quantization: str) -> None:
    """Raise ConfigError for a number format that no matrix of the model could have."""
    if quantization == "q8_0" and folder.hidden_size % 32:
        raise ConfigError(
            "quantization",
            f"--quantization q8_0 works on blocks of 32 weights, the hidden size is {folder.hidden_size}",
            "Choose f16 or bf16",
        )
