"""Model folders: what is refused, what is read, and that written folders hold exactly what they should."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from lep_core.errors import ModelError, ResourceError, SiblingError, TokenizerError
from lep_core.models import (
    EmbeddingPair,
    check_finite,
    check_siblings,
    choose_device,
    choose_precision,
    choose_threads,
    frozen_sha256,
    frozen_sha256_of_module,
    inspect_model,
    load_embeddings,
    load_model,
    load_tokenizer,
    resolve,
    write_model,
)
from tests.factories import CHAT_TOKENS, edit_json, load_weights, save_weights, tiny_tokenizer

Tiny = Callable[..., Path]
INPUT, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None], *, shards: int = 1) -> None:
    weights = load_weights(folder)
    change(weights)
    for path in folder.glob("model*.safetensors*"):
        path.unlink()
    save_weights(folder, weights, shards=shards)


def written(source: Path, tmp_path: Path, pair: EmbeddingPair | None = None, **options: object) -> Path:
    folder = inspect_model(source)
    output = tmp_path / "written"
    output.mkdir()
    write_model(source=folder, embeddings=pair or load_embeddings(folder), tokenizer_source=source, output=output, **options)
    return output


@pytest.mark.parametrize("options", [{}, {"tied": True}, {"shards": 3}, {"dtype": "bfloat16"}, {"family": "sentencepiece", "padded": 5}])
def test_folder_facts_are_those_of_the_files(tiny: Tiny, options: dict) -> None:
    path = tiny(**options)
    folder = inspect_model(path)
    weights = load_weights(path)
    assert folder.vocab_size == len(weights[INPUT])
    assert folder.tokenizer_size == Tokenizer.from_file(str(path / "tokenizer.json")).get_vocab_size()
    assert folder.padded_rows == options.get("padded", 0)
    assert folder.tied == options.get("tied", False) == (folder.output_name is None)
    assert folder.dtype == options.get("dtype", "float32")
    assert folder.shapes == {name: tuple(value.shape) for name, value in weights.items()}
    assert folder.parameters == sum(value.numel() for value in weights.values())
    assert folder.bytes == sum(value.nbytes for value in weights.values())


def test_embeddings_are_the_files_tensors(tiny: Tiny) -> None:
    path = tiny(shards=2, dtype="bfloat16")
    pair, weights = load_embeddings(inspect_model(path)), load_weights(path)
    assert torch.equal(pair.input_VD, weights[INPUT])
    assert torch.equal(pair.output_VD, weights[OUTPUT])
    assert load_embeddings(inspect_model(tiny(tied=True))).output_VD is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "config.json").unlink(), "no config.json"),
        (lambda p: (p / "config.json").write_text("{"), "is no JSON"),
        (lambda p: edit_json(p / "config.json", architectures=["BertForMaskedLM"]), "not a decoder"),
        (lambda p: edit_json(p / "config.json", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True), "not a decoder"),
        (lambda p: edit_json(p / "config.json", architectures=["OddForCausalLM"], auto_map={"AutoModel": "x.Y"}), "its own code"),
        (lambda p: edit_json(p / "config.json", quantization_config={"bits": 4}), "quantized"),
        (lambda p: edit_json(p / "config.json", num_hidden_layers=3), "lack model.layers.2"),
        (lambda p: edit_json(p / "config.json", num_hidden_layers=1), "hold layer 1"),
        (lambda p: edit_json(p / "config.json", num_hidden_layers="two"), "num_hidden_layers = 'two'"),
        (lambda p: edit_json(p / "config.json", hidden_size=48), "says hidden_size 48"),
        (lambda p: edit_json(p / "config.json", vocab_size=7), "vocab_size 7 and the embedding has"),
        (lambda p: edit_json(p / "config.json", tie_word_embeddings=True), "differs from"),
        (lambda p: edit_json(p / "generation_config.json", eos_token_id="</s>"), "eos_token_id = '</s>', which is no token id"),
        (lambda p: edit_json(p / "generation_config.json", eos_token_id=[1, None]), "which is no token id"),
        (lambda p: (p / "adapter_config.json").write_text("{}"), "adapter_config.json"),
        (lambda p: (p / "model.safetensors").rename(p / "pytorch_model.bin"), "only pickle weights"),
        (lambda p: (p / "model.safetensors").unlink(), "no safetensors weights"),
        (lambda p: (p / "model.safetensors").write_bytes((p / "model.safetensors").read_bytes()[:-1]), "truncated or damaged"),
        (lambda p: (p / "model.safetensors").write_bytes(b"\xff" * 64), "no safetensors file"),
        (lambda p: (p / "model.safetensors").write_bytes((9).to_bytes(8, "little") + b'{"a": 1}  '), "damaged safetensors header"),
        (lambda p: rewrite(p, lambda w: w.pop(INPUT)), f"lack {INPUT}"),
        (lambda p: rewrite(p, lambda w: w.pop(OUTPUT)), f"lack {OUTPUT}"),
        (lambda p: rewrite(p, lambda w: w.pop("model.norm.weight")), "lack model.norm.weight"),
        (lambda p: rewrite(p, lambda w: w.pop("model.layers.1.mlp.up_proj.weight")), "lack model.layers.1.mlp.up_proj.weight"),
        (lambda p: rewrite(p, lambda w: w.update({OUTPUT: w[OUTPUT][:-1].clone()})), "different shapes"),
        (lambda p: tiny_tokenizer(p, vocab_size=450), "the tokenizer of"),
    ],
)
def test_unsound_folder_is_refused_with_its_reason(tiny: Tiny, spoil: Callable[[Path], object], message: str) -> None:
    path = tiny()
    spoil(path)
    with pytest.raises(ModelError, match=message):
        inspect_model(path)


def test_missing_shard_is_named(tiny: Tiny) -> None:
    path = tiny(shards=3)
    (path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelError, match="model-00002-of-00003"):
        inspect_model(path)


def test_unknown_architecture_without_the_usual_names_is_not_supported(tiny: Tiny) -> None:
    path = tiny()
    edit_json(path / "config.json", architectures=["GPT2LMHeadForCausalLM"])
    rewrite(path, lambda w: w.update({"transformer.wte.weight": w.pop(INPUT)}))
    with pytest.raises(ModelError, match=r"architecture GPT2LMHeadForCausalLM .* is not supported"):
        inspect_model(path)


def test_missing_folder_is_told_from_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="no folder"):
        resolve(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="no hub id reachable offline"):
        resolve("nobody-here/no-such-model")


def test_tied_copy_of_the_head_is_accepted_and_dropped_on_writing(tiny: Tiny, tmp_path: Path) -> None:
    path = tiny(tied=True)
    rewrite(path, lambda w: w.update({OUTPUT: w[INPUT].clone()}))
    folder = inspect_model(path)
    assert folder.tied
    assert folder.output_name is None
    assert OUTPUT not in inspect_model(written(path, tmp_path)).shapes


def test_loading_is_strict_about_unexpected_tensors(tiny: Tiny) -> None:
    path = tiny()
    rewrite(path, lambda w: w.update({"model.odd.weight": torch.zeros(3)}))
    with pytest.raises(ModelError, match=r"model\.odd\.weight"):
        inspect_model(path)
    # Within a layer only transformers knows what may be there.
    rewrite(path, lambda w: w.pop("model.odd.weight"))
    rewrite(path, lambda w: w.update({f"model.layers.{layer}.odd.weight": torch.zeros(3) for layer in range(2)}))
    inspect_model(path)
    with pytest.raises(ModelError, match="unexpected keys"):
        load_model(path)


def test_loading_is_strict_about_shapes(tiny: Tiny) -> None:
    path = tiny()
    rewrite(path, lambda w: w.update({"model.norm.weight": torch.ones(16)}))
    with pytest.raises(ModelError, match=r"model\.norm\.weight .* \[16\]"):
        inspect_model(path)


@pytest.mark.parametrize("changes", [{"num_attention_heads": 7}, {"intermediate_size": 65}, {"num_key_value_heads": 4}, {"head_dim": 7}])
def test_a_config_that_does_not_give_the_shapes_of_the_layers_is_refused(tiny: Tiny, changes: dict) -> None:
    path = tiny()
    edit_json(path / "config.json", **changes)
    with pytest.raises(ModelError, match=r"config\.json gives"):
        inspect_model(path)


@pytest.mark.parametrize("change", [{"model_type": "unheard-of"}, {"rope_theta": "x"}])
def test_a_config_that_transformers_refuses_ends_in_a_sentence(tiny: Tiny, change: dict) -> None:
    path = tiny()
    edit_json(path / "config.json", **change)
    with pytest.raises(ModelError, match="transformers cannot load"):
        load_model(path)


@pytest.mark.parametrize("source", ["~no-such-user/model", "~no-such-user"])
def test_the_home_of_an_unknown_user_is_no_folder(source: str) -> None:
    with pytest.raises(ModelError, match="there is no folder ~no-such-user"):
        resolve(source)


@pytest.mark.parametrize("options", [{}, {"tied": True, "dtype": "bfloat16"}, {"shards": 2}])
def test_frozen_hash_of_files_and_of_the_loaded_model_agree(tiny: Tiny, options: dict) -> None:
    path = tiny(**options)
    model = load_model(path, dtype=options.get("dtype", "float32"))
    expected = frozen_sha256(path)
    assert frozen_sha256_of_module(model) == expected
    with torch.no_grad():
        model.get_input_embeddings().weight += 1
    assert frozen_sha256_of_module(model) == expected
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    assert frozen_sha256_of_module(model) != expected


def test_frozen_hash_does_not_depend_on_sharding(tiny: Tiny) -> None:
    path = tiny()
    before = frozen_sha256(path)
    rewrite(path, lambda w: None, shards=4)
    assert frozen_sha256(path) == before


def test_tokenizer_is_exactly_tokenizer_json(tiny: Tiny) -> None:
    path = tiny(family="sentencepiece", chat=True)
    edit_json(path / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    text = "Где ключ?  12 apples"
    assert load_tokenizer(path)(text).input_ids == Tokenizer.from_file(str(path / "tokenizer.json")).encode(text).ids


def test_slow_tokenizer_is_refused_with_the_remedy(tiny: Tiny) -> None:
    path = tiny()
    (path / "tokenizer.json").rename(path / "tokenizer.model")
    with pytest.raises(TokenizerError, match=r"no fast backend.*Convert it with transformers"):
        load_tokenizer(path)


@pytest.mark.parametrize(
    "damage", [{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}, {"model": None}, {"decoder": {"type": "No"}}]
)
def test_damaged_tokenizer_ends_in_a_sentence(tiny: Tiny, damage: dict) -> None:
    path = tiny()
    value = json.loads((path / "tokenizer.json").read_text()) | damage
    (path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(TokenizerError):
        load_tokenizer(path)


def test_damaged_tokenizer_config_is_named(tiny: Tiny) -> None:
    path = tiny()
    (path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json holds no JSON object"):
        load_tokenizer(path)


def test_duplicate_token_ids_are_refused(tiny: Tiny) -> None:
    path = tiny()
    value = json.loads((path / "tokenizer.json").read_text())
    first, second = list(value["model"]["vocab"])[10:12]
    value["model"]["vocab"][first] = value["model"]["vocab"][second]
    (path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(TokenizerError, match="one id to several tokens"):
        inspect_model(path)


def test_sibling_with_chat_tokens_at_the_end_is_accepted(tiny: Tiny) -> None:
    base = tiny()
    report = check_siblings(inspect_model(base), inspect_model(tiny(sibling_of=base, chat=True)))
    assert tuple(report.extra_tokens) == CHAT_TOKENS
    assert report.shared_tokens == inspect_model(base).tokenizer_size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 16}, "hidden size .* 32 and 16"),
        ({"layers": 1}, "number of layers .* 2 and 1"),
        ({"tied": True}, "instruct model has one matrix .*tied.*, the base model has two"),
        ({"family": "sentencepiece"}, "token"),
        ({"vocab_size": 380}, "missing in the instruct model's tokenizer"),
        ({"vocab_size": 450}, "ordinary tokens more"),
    ],
)
def test_strangers_are_refused_as_siblings(tiny: Tiny, options: dict, message: str) -> None:
    with pytest.raises(SiblingError, match=message):
        check_siblings(inspect_model(tiny()), inspect_model(tiny(**options)))


def test_other_architecture_is_refused_as_sibling(tiny: Tiny) -> None:
    base, other = tiny(), tiny()
    edit_json(other / "config.json", architectures=["MistralForCausalLM"], model_type="mistral")
    with pytest.raises(SiblingError, match="LlamaForCausalLM and MistralForCausalLM"):
        check_siblings(inspect_model(base), inspect_model(other))


def test_nan_row_is_named() -> None:
    matrix = torch.zeros(20_000, 4, dtype=torch.bfloat16)
    check_finite(matrix, "embedding")
    matrix[12_345, 2] = torch.nan
    with pytest.raises(ModelError, match="row 12345"):
        check_finite(matrix, "embedding")


@pytest.mark.parametrize("options", [{}, {"shards": 3}, {"tied": True}, {"dtype": "bfloat16", "shards": 2}])
def test_written_model_computes_the_same_logits(tiny: Tiny, tmp_path: Path, options: dict) -> None:
    path = tiny(chat=True, **options)
    output = written(path, tmp_path)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        assert torch.equal(load_model(output)(ids).logits, load_model(path)(ids).logits)
    assert frozen_sha256(output) == frozen_sha256(path)


def test_shards_without_embeddings_are_hard_linked(tiny: Tiny, tmp_path: Path) -> None:
    path = tiny(shards=4)
    folder = inspect_model(path)
    (tmp_path / "written").mkdir()
    report = write_model(source=folder, embeddings=load_embeddings(folder), tokenizer_source=path, output=tmp_path / "written")
    assert (report.shards_linked, report.shards_copied, report.shards_rewritten) == (2, 0, 2)
    for name in ("model-00002-of-00004.safetensors", "model-00003-of-00004.safetensors"):
        assert (tmp_path / "written" / name).stat().st_ino == (path / name).stat().st_ino
    again = inspect_model(tmp_path / "written")
    (tmp_path / "again").mkdir()
    second = write_model(source=again, embeddings=load_embeddings(again), tokenizer_source=path, output=tmp_path / "again")
    assert (second.shards_linked, second.shards_rewritten) == (4, 0), "embeddings in their own shard make the next change link-only"
    pair = load_embeddings(again)
    assert second.bytes_written <= 1.05 * (pair.input_VD.nbytes + pair.output_VD.nbytes)


def test_shards_are_copied_where_links_are_impossible(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    path = tiny(shards=4)
    monkeypatch.setattr(os, "link", refuse)
    output = written(path, tmp_path)
    assert frozen_sha256(output) == frozen_sha256(path)
    assert (output / "model-00002-of-00004.safetensors").stat().st_nlink == 1


def test_no_written_shard_holds_a_stale_embedding(tiny: Tiny, tmp_path: Path) -> None:
    output = written(tiny(shards=3), tmp_path)
    index = json.loads((output / "model.safetensors.index.json").read_text())["weight_map"]
    from safetensors import safe_open

    for file in set(index.values()):
        with safe_open(output / file, "pt") as stream:
            assert set(stream.keys()) == {name for name, where in index.items() if where == file}
            assert stream.metadata() == {"format": "pt"}
    assert set(index) == set(load_weights(output))


def test_config_is_edited_not_rebuilt(tiny: Tiny, tmp_path: Path) -> None:
    path = tiny(chat=True)
    edit_json(path / "config.json", rope_scaling={"rope_type": "linear", "factor": 2.0}, custom_note="kept")
    before = json.loads((path / "config.json").read_text())
    output = written(path, tmp_path)
    assert json.loads((output / "config.json").read_text()) == before
    assert (output / "generation_config.json").read_text() == (path / "generation_config.json").read_text()
    assert json.loads((output / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_ids_follow_tokens_and_an_eos_list_stays_a_list(tiny: Tiny, tmp_path: Path) -> None:
    path = tiny(chat=True)
    larger = tiny_tokenizer(tmp_path / "larger", vocab_size=430, chat=True)
    new = Tokenizer.from_file(str(larger / "tokenizer.json"))
    rows = new.get_vocab_size()
    pair = EmbeddingPair(input_VD=torch.zeros(rows, 32), output_VD=torch.ones(rows, 32))
    output = tmp_path / "out"
    output.mkdir()
    write_model(source=inspect_model(path), embeddings=pair, tokenizer_source=larger, output=output)
    generation = json.loads((output / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [new.token_to_id("<|end|>"), new.token_to_id("</s>")]
    assert (generation["temperature"], generation["do_sample"]) == (0.6, True)
    config = json.loads((output / "config.json").read_text())
    assert config["vocab_size"] == rows
    assert config["eos_token_id"] == new.token_to_id("<|end|>")


def test_implied_ids_are_spelt_out_once_they_move(tiny: Tiny, tmp_path: Path) -> None:
    path = tiny(family="sentencepiece")
    edit_json(path / "config.json", bos_token_id=None, eos_token_id=None, pad_token_id=None)
    value = json.loads((path / "tokenizer.json").read_text())
    for item in [*value["added_tokens"], *value["post_processor"]["special_tokens"].values()]:
        if item.get("content") in ("<s>", "</s>"):
            item["id"] = 3 - item["id"]
    value["model"]["vocab"] |= {"<s>": 2, "</s>": 1}
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    (swapped / "tokenizer.json").write_text(json.dumps(value))
    output = tmp_path / "out"
    output.mkdir()
    folder = inspect_model(path)
    write_model(source=folder, embeddings=load_embeddings(folder), tokenizer_source=swapped, output=output)
    config = json.loads((output / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (2, 1)
    assert Tokenizer.from_file(str(output / "tokenizer.json")).encode("a").ids[0] == 2


@pytest.mark.parametrize("form", ["tokenizer_config", "jinja"])
def test_chat_template_is_kept_in_either_form(tiny: Tiny, tmp_path: Path, form: str) -> None:
    path = tiny(chat=True)
    if form == "jinja":
        template = json.loads((path / "tokenizer_config.json").read_text())["chat_template"]
        edit_json(path / "tokenizer_config.json", chat_template=None)
        (path / "chat_template.jinja").write_text(template)
    assert inspect_model(path).has_chat_template
    output = written(path, tmp_path)
    from transformers import AutoTokenizer

    messages = [{"role": "user", "content": "hi"}]
    text = AutoTokenizer.from_pretrained(output).apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<s><|user|>hi<|end|><|assistant|>"


@pytest.mark.parametrize("add_bos", [True, False])
def test_bos_flag_of_the_config_holds_in_every_reader(tiny: Tiny, tmp_path: Path, add_bos: bool) -> None:
    path = tiny(family="sentencepiece")
    edit_json(path / "tokenizer_config.json", add_bos_token=add_bos, add_eos_token=False, tokenizer_class="LlamaTokenizer")
    output = written(path, tmp_path)
    from transformers import AutoTokenizer

    ids = Tokenizer.from_file(str(output / "tokenizer.json")).encode("дом").ids
    assert AutoTokenizer.from_pretrained(output)("дом").input_ids == ids
    assert (ids[0] == 1) == add_bos


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("family", ["byte-level", "sentencepiece"])
def test_auto_tokenizer_gives_the_ids_of_tokenizer_json(tiny: Tiny, tmp_path: Path, model_type: str, family: str) -> None:
    if model_type == "qwen2":
        # transformers rebuilds this type's tokenizer with Qwen's own normaliser and regex whatever the file says; other files differ,
        # which the export gate refuses.
        if family == "sentencepiece":
            pytest.skip("Qwen tokenizers are byte-level")
        as_qwen = json.loads((tiny_tokenizer(tmp_path / "qwen", chat=True) / "tokenizer.json").read_text())
        as_qwen["normalizer"] = {"type": "NFC"}
        split = as_qwen["pre_tokenizer"]["pretokenizers"][0]
        split["pattern"] = {"Regex": split["pattern"]["Regex"].replace(r"\p{N}{1,3}", r"\p{N}")}
        as_qwen["post_processor"] = None
        (tmp_path / "qwen" / "tokenizer.json").write_text(json.dumps(as_qwen))
        path = tiny(tokenizer=tmp_path / "qwen")
    else:
        path = tiny(family=family, chat=True)
    output = written(path, tmp_path, config_changes={"model_type": model_type})
    from transformers import AutoTokenizer

    text = "Где  ключ? 12 apples\n\tnaïve <|end|> 🙂"
    plain = Tokenizer.from_file(str(output / "tokenizer.json"))
    assert AutoTokenizer.from_pretrained(output)(text).input_ids == plain.encode(text).ids


def test_tokenizer_larger_than_the_embedding_is_not_written(tiny: Tiny, tmp_path: Path) -> None:
    path = tiny()
    with pytest.raises(ModelError, match="400 tokens and the embedding 399 rows"):
        written(path, tmp_path, EmbeddingPair(input_VD=torch.zeros(399, 32), output_VD=torch.zeros(399, 32)))


def test_full_disk_is_refused_before_weights_are_written(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(ResourceError, match="GiB free"):
        written(path, tmp_path)


def test_defaults_for_device_precision_and_threads() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_precision("bfloat16", "cpu") == torch.bfloat16
    assert choose_precision("auto", "cpu") in (torch.bfloat16, torch.float32)
    assert choose_threads(None, 1_000_000) == 1
    assert choose_threads(3, 1_000_000) == 3
    assert choose_threads(None, 10**9) >= 1
