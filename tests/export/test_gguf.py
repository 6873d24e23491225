"""GGUF files: readable by the gguf package and transformers, equal to their source, refused where llama.cpp cannot follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lep_core.config import ExportConfig
from lep_core.errors import ConfigError, LepError, ModelError, TokenizerError
from lep_core.export.folder import export_model
from lep_core.export.gguf_check import RULES, check_weights, has_llama_cpp
from lep_core.export.gguf_file import rope_of
from lep_core.export.gguf_tensors import planned_tensors, rope_factors
from lep_core.export.gguf_vocabulary import gguf_vocabulary
from lep_core.export.outlook import export_outlook
from lep_core.export.report import ExportReport
from lep_core.models import inspect_model
from tests.export.models import family_model, scaled_model
from tests.factories import edit_json, load_weights, save_weights

gguf = pytest.importorskip("gguf")
Tiny = Callable[..., Path]
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def run(model: Path, output: Path, **settings: Any) -> ExportReport:
    output.mkdir()
    return export_model(ExportConfig(model=str(model), output=str(output), format="gguf", **settings), output)


def fields_of(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items() if not name.startswith("GGUF.")}


MADE: dict[str, Callable[[Path, Tiny], Path]] = {
    "llama": lambda folder, tiny: tiny(chat=True, padded=3, shards=3),
    "llama-tied-bf16": lambda folder, tiny: tiny(family="sentencepiece", tied=True, dtype="bfloat16", chat=True, padded=5),
    "mistral": lambda folder, tiny: family_model(folder, "mistral", family="sentencepiece"),
    "qwen2": lambda folder, tiny: family_model(folder, "qwen2", dtype="float16"),
    "qwen3": lambda folder, tiny: family_model(folder, "qwen3", tied=True),
}


@pytest.mark.parametrize("kind", list(MADE))
def test_a_file_in_the_models_own_format_holds_the_same_model(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    model = MADE[kind](tmp_path, tiny)
    report = run(model, tmp_path / "out")
    assert report.weights_equal is True
    assert report.largest_rounding == 0.0
    assert report.ids_equal is True
    assert report.tokenizer_lines_differing == 0
    if not has_llama_cpp():
        assert report.tokenizer_checked_with == RULES
    if kind != "qwen3":  # transformers takes a head size of its own for Qwen3.
        assert report.logits_equal is True
        assert report.max_logit_difference == 0.0
    (file,) = (tmp_path / "out").glob("*.gguf")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {file.name, "README.md", "Modelfile", "config.json"} == set(report.files)
    assert len(fields_of(file)["tokenizer.ggml.tokens"]) == inspect_model(model).vocab_size


def test_query_and_key_rows_are_in_llama_cpps_order(tiny: Tiny, tmp_path: Path) -> None:
    """Row 2i+j of a head there is row i of its half j here: checked against the weights, not against the code."""
    model = tiny()
    run(model, tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.gguf")
    written = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}
    weights = load_weights(model)
    for name, heads in (("q", 4), ("k", 2)):
        source = weights[f"model.layers.1.self_attn.{name}_proj.weight"].numpy().reshape(heads, 2, 4, 32)
        found = written[f"blk.1.attn_{name}.weight"].reshape(heads, 4, 2, 32)
        for head in range(heads):
            for half in range(2):
                assert np.array_equal(found[head, :, half], source[head, half])
    assert np.array_equal(written["blk.1.attn_v.weight"], weights["model.layers.1.self_attn.v_proj.weight"].numpy())


@pytest.mark.parametrize(("quantization", "most"), [("f16", 2.0**-11), ("bf16", 2.0**-8), ("q8_0", 0.0045)])
def test_rounded_files_are_within_their_formats_rounding(quantization: str, most: float, tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    report = run(model, tmp_path / "out", quantization=quantization)
    assert report.weights_equal is False
    assert 0 < (report.largest_rounding or 0) <= most
    assert report.logits_equal is False
    assert 0 < (report.max_logit_difference or 0) < 0.5
    assert report.quantization == quantization
    assert any("rounded" in remark for remark in report.remarks)
    assert f"-{quantization.upper()}.gguf" in " ".join(report.files)


def test_a_damaged_file_is_noticed(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    run(model, tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.gguf")
    data = bytearray(file.read_bytes())
    data[-3] ^= 0x40
    file.write_bytes(data)
    with pytest.raises(ModelError, match="is off by"):
        check_weights(file, planned_tensors(inspect_model(model), "auto"))


@pytest.mark.parametrize("rope", ["llama3", "linear", "yarn"])
def test_scaled_positions_are_written_as_llama_cpp_reads_them(rope: str, tmp_path: Path) -> None:
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    model = scaled_model(tmp_path, rope)
    run(model, tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.gguf")
    fields = fields_of(file)
    assert fields["llama.rope.freq_base"] == 50_000.0
    if rope != "llama3":
        assert (fields["llama.rope.scaling.type"], fields["llama.rope.scaling.factor"]) == (rope, 4.0)
        return
    # transformers' own frequencies, plain ones divided by what the file says.
    scaled = ROPE_INIT_FUNCTIONS["llama3"](AutoConfig.from_pretrained(model), device="cpu")[0]
    plain = 1 / 50_000.0 ** (torch.arange(0, 8, 2) / 8)
    factors = next(tensor.data for tensor in gguf.GGUFReader(file).tensors if tensor.name == "rope_freqs.weight")
    assert torch.allclose(plain / torch.tensor(factors), scaled)
    assert max(rope_factors(dimensions=8, theta=5e4, scaling=rope_of(inspect_model(model).config))) == 8.0


def test_metadata_names_special_tokens_template_and_sources(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny(chat=True)
    run(model, tmp_path / "my model", license="apache-2.0")
    fields = fields_of(tmp_path / "my model" / "my-model-F32.gguf")
    ids = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    added = {token["content"]: token["id"] for token in json.loads((model / "tokenizer.json").read_text())["added_tokens"]}
    assert fields["general.architecture"] == "llama"
    assert fields["general.license"] == "apache-2.0"
    assert fields["tokenizer.ggml.bos_token_id"] == ids["<s>"]
    assert fields["tokenizer.ggml.eos_token_id"] == added["<|end|>"]
    assert fields["tokenizer.ggml.eot_token_id"] == ids["</s>"]
    assert fields["tokenizer.ggml.add_bos_token"] is True
    assert fields["tokenizer.ggml.add_eos_token"] is False
    assert fields["tokenizer.ggml.pre"] == "smaug-bpe"  # LLaMA-3's words, but merges decide
    assert "<|assistant|>" in fields["tokenizer.chat_template"]
    assert fields["llama.attention.head_count_kv"] == 2
    stops = [line for line in (tmp_path / "my model" / "Modelfile").read_text().splitlines() if line.startswith("PARAMETER stop")]
    assert stops == ['PARAMETER stop "<|end|>"', 'PARAMETER stop "</s>"']


def refused(model: Path, reason: str) -> None:
    """The same words before the work and at its beginning, and nothing is written."""
    outlook = export_outlook(model, "gguf")
    assert not outlook.possible
    assert reason in outlook.message
    assert "--format hf" in outlook.hint
    output = model.with_name("refused")
    with pytest.raises(LepError, match=reason.replace("(", r"\(").replace(")", r"\)")):
        run(model, output)
    assert not list(output.glob("*.gguf"))


def edit_tokenizer(folder: Path, **changes: Any) -> Path:
    edit_json(folder / "tokenizer.json", **changes)
    return folder


def test_a_pre_tokenizer_that_llama_cpp_lacks_is_refused(tiny: Tiny) -> None:
    split = {"type": "Split", "pattern": {"Regex": r"\p{L}+|[^\p{L}]+"}, "behavior": "Isolated", "invert": False}
    refused(
        edit_tokenizer(tiny(), pre_tokenizer={"type": "Sequence", "pretokenizers": [split, LEVEL]}),
        "a pre-tokenizer that llama.cpp does not have",
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "a normaliser (Lowercase)"),
        ({"pre_tokenizer": LEVEL | {"add_prefix_space": True, "use_regex": True}}, "add_prefix_space"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "a pre-tokenizer of the kind Whitespace"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_byte_level_tokenizers_are_refused_with_the_reason(changes: dict[str, Any], reason: str, tiny: Tiny) -> None:
    refused(edit_tokenizer(tiny(), **changes), reason)


def test_a_unigram_tokenizer_is_refused(tiny: Tiny) -> None:
    model = tiny(family="sentencepiece")
    data = json.loads((model / "tokenizer.json").read_text())
    vocab = [[token, -float(number)] for token, number in data["model"]["vocab"].items()]
    refused(edit_tokenizer(model, model={"type": "Unigram", "unk_id": 0, "byte_fallback": True, "vocab": vocab}), "a Unigram tokenizer")


def test_merges_in_an_order_that_scores_cannot_follow_are_refused(tiny: Tiny) -> None:
    """The same vocabulary, where most ways to join have been taken away: llama.cpp would still join."""
    model = tiny(family="sentencepiece")
    data = json.loads((model / "tokenizer.json").read_text())
    data["model"]["merges"] = data["model"]["merges"][::3]
    refused(edit_tokenizer(model, model=data["model"]), "merges in an order that llama.cpp cannot follow")


def test_composed_accents_are_remarked_before_the_work(tiny: Tiny) -> None:
    model = edit_tokenizer(tiny(), normalizer={"type": "NFC"})
    outlook = export_outlook(model, "gguf")
    assert outlook.possible
    assert {remark.code for remark in outlook.remarks if remark.warns} == {"nfc"}


def test_a_tokenizer_that_takes_whole_words_gets_the_pre_tokenizer_that_does(tiny: Tiny) -> None:
    model = tiny()
    data = json.loads((model / "tokenizer.json").read_text())
    edit_tokenizer(model, model=data["model"] | {"ignore_merges": True})
    assert gguf_vocabulary(inspect_model(model)).pre == "llama-bpe"


def test_an_unknown_architecture_and_a_tensor_without_a_place_are_refused(tiny: Tiny) -> None:
    model = tiny()
    edit_json(model / "config.json", architectures=["PhiForCausalLM"], model_type="phi")
    refused(model, "GGUF files are written for")
    other = tiny()
    weights = load_weights(other)
    for layer in range(2):
        weights[f"model.layers.{layer}.self_attn.sinks"] = torch.zeros(4)
    save_weights(other, weights)
    assert "model.layers.0.self_attn.sinks" in export_outlook(other, "gguf").message


def test_weights_beyond_the_range_of_f16_are_named(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    weights = load_weights(model)
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 70_000.0
    save_weights(model, weights)
    with pytest.raises(ModelError, match=r"blk\.0\.ffn_up\.weight is 70000, which f16 cannot hold"):
        run(model, tmp_path / "out", quantization="f16")


def test_q8_0_wants_rows_of_32(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="blocks of 32"):
        run(tiny(hidden=16), tmp_path / "out", quantization="q8_0")


def test_without_a_tokenizer_there_is_no_file(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    (model / "tokenizer.json").unlink()
    assert "tokenizer.json" in export_outlook(model, "gguf").message
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        run(model, tmp_path / "out")


@pytest.mark.skipif(not has_llama_cpp(), reason="llama-cpp-python is not installed")
def test_llama_cpp_itself_agrees(tiny: Tiny, tmp_path: Path) -> None:
    report = run(tiny(chat=True), tmp_path / "out")
    assert report.tokenizer_checked_with == "llama.cpp"
    assert report.logits_checked_with == "transformers and llama.cpp"
    assert (report.llama_cpp_logit_difference or 1) < 1e-4
