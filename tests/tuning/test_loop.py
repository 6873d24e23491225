"""A tuning from data to a plain model folder: merged weights, templates, resuming, and what is refused."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from lep_core.config import CalibrateConfig
from lep_core.errors import ConfigError, CorpusError, ModelError, ResourceError, TrainingError
from lep_core.models import inspect_model, load_tokenizer
from lep_core.training.checkpoint import TENSORS, checkpoint_folders
from lep_core.tuning import state as state_module
from lep_core.tuning.loop import tune
from lep_core.tuning.merge import MERGED_ADAPTER_FOLDER
from tests.factories import edit_json, load_weights
from tests.training.test_loop import Recorder
from tests.tuning.data import conversation, conversations

INPUT, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
FULL = {"scope": "full", "learning_rate": 2e-3}
LORA = {"scope": "lora", "lora_rank": 4, "lora_alpha": 8, "full_parts": ("none",), "learning_rate": 1e-2}


@pytest.fixture
def run(tmp_path):
    """`run(model, name, **settings)` tunes into tmp_path/name and returns (report, weights, recorder)."""

    def call(model, name="out", *, given=None, reporter=None, checkpoints=None, **settings):
        values = {"batch_size": 4, "steps": 4, "checkpoint_every": 2, "device": "cpu", "heldout_share": 0.2, "seed": 3}
        config = CalibrateConfig(model=str(model), data=("x",), output=str(tmp_path / name), **(values | settings))
        (tmp_path / name).mkdir()
        report = tune(
            config,
            conversations(20) if given is None else given,
            model=model,
            output=tmp_path / name,
            checkpoints=checkpoints or tmp_path / f"{name}.checkpoints",
            reporter=reporter or (reporter := Recorder()),
        )
        return report, load_weights(tmp_path / name), reporter

    return call


def test_answers_are_learned_and_the_folder_is_a_plain_model(tiny, run, tmp_path):
    from transformers import AutoModelForCausalLM

    model = tiny(chat=True, layers=3, padded=3)
    report, weights, recorder = run(model, steps=25, **FULL)
    assert report.loss_after < report.loss_before - 0.3
    assert report.answer_bits_per_byte_after < report.answer_bits_per_byte_before
    assert (report.conversations, report.heldout_conversations) == (20 - report.heldout_conversations, report.heldout_conversations)
    assert report.heldout_conversations >= 1
    losses = [record["loss"] for record in recorder.metrics if "loss" in record]
    assert losses[-1] < losses[0]
    assert {record["step"] for record in recorder.metrics if "heldout_loss" in record} == {0, 25}
    before = load_weights(model)
    assert weights.keys() == before.keys()
    assert all(not torch.equal(weights[name], before[name]) for name in before)
    for name in ("config.json", "generation_config.json"):
        assert json.loads((tmp_path / "out" / name).read_text()) == json.loads((model / name).read_text())
    assert load_tokenizer(tmp_path / "out").chat_template == load_tokenizer(model).chat_template
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert json.loads(json.dumps(report.to_json()))["template"] == "its own"
    assert 0 <= report.padding_share < 0.5
    assert report.tokens_per_second > 0


@pytest.mark.parametrize("tied", [False, True])
def test_merged_weights_are_those_of_base_and_adapter(tiny, run, tmp_path, tied):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = tiny(chat=True, layers=3, tied=tied)
    report, weights, _ = run(model, keep_adapter=True, steps=6, **{**LORA, "full_parts": ("none",)})
    before = load_weights(model)
    changed = {name for name in before if not torch.equal(weights[name], before[name])}
    assert changed == {name for name in before if "_proj" in name}
    adapter = tmp_path / "out" / MERGED_ADAPTER_FOLDER
    factors = load_file(adapter / "adapter_model.safetensors")
    for name in changed:
        a_RI, b_OR = (factors[f"base_model.model.{name.removesuffix('.weight')}.lora_{side}.weight"] for side in "AB")
        torch.testing.assert_close(weights[name], before[name] + 2.0 * (b_OR @ a_RI), rtol=1e-6, atol=1e-7)
    # What peft makes of base and adapter computes the same.
    reference = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter)
    merged, ids = AutoModelForCausalLM.from_pretrained(tmp_path / "out"), torch.arange(3, 40)[None]
    torch.testing.assert_close(merged(ids).logits, reference(ids).logits, rtol=1e-4, atol=1e-4)
    assert (report.lora_rank, report.lora_alpha, report.full_parts) == (4, 8, ())


def test_the_papers_parts_learn_in_full_beside_the_adapter(tiny, run, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = tiny(chat=True, layers=4)
    settings = {"preset": "self-calibration", "learning_rate": 1e-2, "lora_alpha": 16, "keep_adapter": True}
    report, weights, _ = run(model, **settings)
    before = load_weights(model)
    changed = {name for name in before if not torch.equal(weights[name], before[name])}
    outer = {name for name in before if ".layers.0." in name or ".layers.3." in name}
    inner = {name for name in before if "_proj" in name}
    assert changed == {INPUT, OUTPUT} | outer | inner
    assert report.full_parts == ("embeddings", "head", "outer-layers")
    adapter = tmp_path / "out" / MERGED_ADAPTER_FOLDER
    assert {key.split(".lora_")[0] for key in load_file(adapter / "adapter_model.safetensors") if ".lora_" in key} == {
        f"base_model.model.{name.removesuffix('.weight')}" for name in inner - outer
    }
    reference = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter)
    merged, ids = AutoModelForCausalLM.from_pretrained(tmp_path / "out"), torch.arange(3, 40)[None]
    torch.testing.assert_close(merged(ids).logits, reference(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_tied_model_stays_tied(tiny, run):
    model = tiny(chat=True, tied=True)
    _, weights, _ = run(model, preset="instruction-tuning", learning_rate=1e-2)
    assert OUTPUT not in weights
    assert not torch.equal(weights[INPUT], load_weights(model)[INPUT])


def test_a_bfloat16_model_is_written_in_bfloat16(tiny, run, tmp_path):
    model = tiny(chat=True, dtype="bfloat16")
    report, weights, _ = run(model, precision="bfloat16", steps=8, **{**FULL, "learning_rate": 1e-2})
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert report.loss_after < report.loss_before
    tensors = load_file(checkpoint_folders(tmp_path / "out.checkpoints")[0] / TENSORS)
    assert tensors["weight.model.norm.weight"].dtype == torch.float32


@pytest.mark.parametrize("settings", [FULL, LORA], ids=["full", "lora"])
def test_a_resumed_tuning_is_bit_equal_to_an_undisturbed_one(tiny, run, tmp_path, settings):
    model = tiny(chat=True)
    settings = {**settings, "steps": 7, "weight_decay": 0.1}
    _, whole, undisturbed = run(model, "whole", **settings)
    folder = tmp_path / "parts"
    report, _, _ = run(model, "first", checkpoints=folder, reporter=Recorder(stop_at=5), **settings)
    assert (report.stopped, report.steps, report.loss_after) == (True, 5, None)
    shutil.copytree(folder, tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "step-000005")
    losses = {record["step"]: record["loss"] for record in undisturbed.metrics if "loss" in record}
    for name, checkpoints in (("stopped", folder), ("crashed", tmp_path / "killed")):
        report, weights, resumed = run(model, name, checkpoints=checkpoints, resume=True, **settings)
        assert report.steps == 7
        assert report.loss_before is not None
        assert all(torch.equal(weights[key], whole[key]) for key in whole)
        assert all(losses[record["step"]] == record["loss"] for record in resumed.metrics if "loss" in record)


def test_what_would_change_the_result_is_refused_on_resume(tiny, run, tmp_path):
    model, folder = tiny(chat=True), tmp_path / "checkpoints"
    run(model, "first", checkpoints=folder, reporter=Recorder(stop_at=2), **FULL)
    for name, changes, reason in (
        ("a", {"learning_rate": 0.1}, "--learning-rate changed since the checkpoint: it was 0.002, now it is 0.1"),
        ("b", {"given": conversations(21)}, "the corpus changed since the checkpoint"),
        ("c", {"scope": "lora"}, "--scope changed"),
    ):
        with pytest.raises(TrainingError, match=reason):
            run(model, name, checkpoints=folder, resume=True, **{**FULL, **changes})
    with pytest.raises(TrainingError, match="belongs to another model"):
        run(tiny(chat=True, seed=5), "d", checkpoints=folder, resume=True, **FULL)


def test_a_loss_that_is_not_finite_stops_at_once_and_keeps_the_last_checkpoint(tiny, run, tmp_path, monkeypatch):
    true_loss, calls = state_module.loss_and_gradients, []

    def poisoned(hidden_ND, *arguments, **options):
        calls.append(1)
        return true_loss(hidden_ND * (math.nan if len(calls) == 4 else 1.0), *arguments, **options)

    monkeypatch.setattr(state_module, "loss_and_gradients", poisoned)
    with pytest.raises(TrainingError, match="the loss became nan at step 4"):
        run(tiny(chat=True), micro_batch_tokens=10_000, batch_size=1, steps=9, **FULL)
    assert checkpoint_folders(tmp_path / "out.checkpoints")[0].name == "step-000002"
    assert not list((tmp_path / "out").iterdir())


def test_a_base_model_gets_template_and_tokens_of_an_instruct_model(tiny, run, tmp_path):
    base = tiny()
    instruct = tiny(sibling_of=base, chat=True)
    report, weights, recorder = run(base, template_from=str(instruct), preset="traditional", learning_rate=1e-2)
    assert report.appended_tokens == ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
    folder, model = inspect_model(tmp_path / "out"), inspect_model(instruct)
    assert folder.special_tokens == model.special_tokens
    assert folder.eos_token_id == model.eos_token_id
    assert folder.generation_config == model.generation_config
    tokenizers = [load_tokenizer(path) for path in (tmp_path / "out", instruct)]
    assert tokenizers[0].chat_template == tokenizers[1].chat_template
    before = load_weights(base)
    assert len(weights[INPUT]) == len(weights[OUTPUT]) == len(before[INPUT]) + 4
    # A token that no conversation has keeps the row it began with, the mean.
    torch.testing.assert_close(weights[INPUT][folder.special_tokens["<|system|>"]], before[INPUT].mean(dim=0))
    assert not torch.equal(weights[INPUT][-1], before[INPUT].mean(dim=0))
    assert any("4 of its tokens are new to the model" in text for text in recorder.messages)


def test_a_template_whose_tokens_could_not_learn_is_refused(tiny, run):
    base = tiny()
    with pytest.raises(ConfigError, match="4 tokens are appended to the vocabulary, and their rows must learn"):
        run(base, template_from=str(tiny(sibling_of=base, chat=True)), **LORA)
    with pytest.raises(ConfigError, match="has no chat template"):
        run(base, "other", template_from=str(tiny()), **FULL)


def test_a_base_model_alone_gets_a_plain_template(tiny, run, tmp_path):
    report, _, recorder = run(tiny(), given=conversations(6), **FULL)
    assert report.template == "built-in"
    assert any("a plain one is built in" in text for text in recorder.messages)
    tokenizer = load_tokenizer(tmp_path / "out")
    shown = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False, add_generation_prompt=True)
    assert shown == "<s>User: a\nAssistant:"


def lora_trained(tiny, tmp_path):
    """A model with an adapter beside it, as `train --lora` leaves it, and the weights of both together."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = tiny(chat=True)
    torch.manual_seed(0)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(model / "adapter")
    return model, {name: value.clone() for name, value in adapted.merge_and_unload().state_dict().items()}


def test_the_models_own_adapter_is_merged_first(tiny, run, tmp_path):
    model, together = lora_trained(tiny, tmp_path)
    report, weights, _ = run(model, learning_rate=1e-8, steps=1, **{key: LORA[key] for key in ("scope", "lora_rank", "lora_alpha")})
    assert report.merged_adapter == str(model / "adapter")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert (weights[name] - load_weights(model)[name]).abs().max() > 0.01
    torch.testing.assert_close(weights[name], together[name], rtol=1e-5, atol=1e-6)


def test_an_adapter_of_another_model_is_refused(tiny, run, tmp_path):
    model, _ = lora_trained(tiny, tmp_path)
    other = tiny(chat=True, hidden=16)
    with pytest.raises(ModelError, match=r"changes model\.layers\.0\.self_attn\.q_proj\.weight with shape"):
        run(other, adapter=str(model / "adapter"), **FULL)
    with pytest.raises(ModelError, match=r"has no adapter_config\.json"):
        run(other, "none", adapter=str(tmp_path), **FULL)
    with pytest.raises(ModelError, match="holds an adapter, not a model"):
        run(model / "adapter", "self", **FULL)


def test_answers_beyond_the_context_are_dropped_or_cut_with_a_count(tiny, run):
    model, long = tiny(chat=True, max_position_embeddings=64), "The old house stands by the river. " * 12
    given = [*(conversation(f"q{number}", "a") for number in range(6)), conversation("q", long), conversation("p", "a", "r", long)]
    report, _, recorder = run(model, given=given, heldout_share=0.0, **FULL)
    assert (report.conversations, report.cut, report.dropped, report.max_length) == (7, 1, 1, 64)
    assert any("lost their last turns" in text for text in recorder.messages)
    assert any("--max-length is lowered" in text for text in recorder.messages)
    report, _, _ = run(model, "drop", given=given, heldout_share=0.0, too_long="drop", **FULL)
    assert (report.conversations, report.cut, report.dropped) == (6, 0, 2)
    with pytest.raises(CorpusError, match="the first answers of all conversations to learn from end beyond 64 tokens"):
        run(model, "none", given=given[6:7], **FULL)


def test_conversations_that_the_template_refuses_are_named_or_counted(tiny, run):
    model = tiny(chat=True)
    edit_json(
        model / "tokenizer_config.json",
        chat_template="{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
        + load_tokenizer(model).chat_template,
    )
    given = [*conversations(4), conversation("a", "b", system="s", source="file.jsonl:9")]
    with pytest.raises(CorpusError, match=r"file\.jsonl:9: .*no system here"):
        run(model, given=given, **FULL)
    report, _, _ = run(model, "skip", given=given, bad_conversations="skip", **FULL)
    assert report.unusable == 1


def test_equal_questions_are_on_one_side(tiny, run):
    given = [conversation(f"question {number % 5}", f"answer {number}") for number in range(30)]
    report, _, _ = run(tiny(chat=True), given=given, steps=1, heldout_share=0.4, **FULL)
    assert report.heldout_conversations % 6 == 0
    assert 0 < report.heldout_conversations < 30
    report, _, _ = run(tiny(chat=True), "none", given=given, steps=1, heldout_share=0.0, **FULL)
    assert (report.heldout_conversations, report.loss_before, report.loss_after) == (0, None, None)


def test_steps_follow_from_passes_and_small_data_makes_small_batches(tiny, run):
    report, _, _ = run(tiny(chat=True), given=conversations(9), heldout_share=0.0, steps=None, epochs=2, batch_size=4, **FULL)
    assert report.steps == 5
    report, _, _ = run(tiny(chat=True), "one", given=conversations(3), heldout_share=0.0, steps=None, batch_size=128, **FULL)
    assert (report.steps, report.batch_size) == (1, 3)


def test_gradient_checkpointing_changes_nothing(tiny, run):
    model = tiny(chat=True)
    _, plain, _ = run(model, "plain", **LORA)
    _, again, _ = run(model, "again", gradient_checkpointing="on", **LORA)
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_a_failed_allocation_says_what_to_lower(tiny, run, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(state_module, "loss_and_gradients", fail)
    with pytest.raises(ResourceError, match="--micro-batch-tokens"):
        run(tiny(chat=True), **FULL)


def test_presets_give_the_papers_values_and_every_value_can_be_given():
    needed = {"model": "m", "output": "o"}
    own = CalibrateConfig(**needed, teacher="t", input=("text",)).resolved()
    assert (own.preset, own.scope, own.lora_rank, own.lora_alpha) == ("self-calibration", "lora", 8, 1)
    assert (own.learning_rate, own.weight_decay, own.max_length) == (2.5e-5, 0.1, 8096)
    assert own.full_parts == ("embeddings", "head", "outer-layers")
    given = CalibrateConfig(**needed, data=("d",), lora_rank=3, full_parts=("none",)).resolved()
    assert (given.preset, given.lora_rank, given.lora_alpha, given.learning_rate) == ("instruction-tuning", 3, 16, 5e-5)
    assert (given.weight_decay, given.max_length, given.batch_size, given.full_parts) == (0.05, 4096, 128, ("none",))
    for changes, field in (({}, "data"), ({"data": ("d",), "full_parts": ("none", "head")}, "full_parts")):
        with pytest.raises(ConfigError) as caught:
            CalibrateConfig(**needed, **changes)
        assert caught.value.field == field
    with pytest.raises(ConfigError, match="there is no adapter"):
        CalibrateConfig(**needed, data=("d",), preset="laptop", keep_adapter=True)
