from __future__ import annotations

import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from lep_core.config import TrainConfig
from lep_core.errors import ConfigError, CorpusError, ModelError, ResourceError, TokenizerError, TrainingError
from lep_core.models import frozen_sha256
from lep_core.training import state as state_module
from lep_core.training.checkpoint import TENSORS, checkpoint_folders
from lep_core.training.loop import train
from tests.factories import SENTENCES, edit_json, load_weights, save_weights, tiny_tokenizer

DOCUMENTS = ["\n".join(SENTENCES[start % 12 :] + SENTENCES[: start % 5]) for start in range(24)]
INPUT, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


class Recorder:
    """Keeps what was reported; asks to stop once `stop_at` steps were reported."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.metrics, self.messages, self.stages, self.stop_at, self.step = [], [], [], stop_at, 0

    def stage(self, name):
        self.stages.append(name)

    def progress(self, done, total=None, unit=""):
        if unit == "steps":
            self.step = done

    def metric(self, record):
        self.metrics.append(dict(record))

    def message(self, text):
        self.messages.append(text)

    def should_stop(self):
        return self.stop_at is not None and self.step >= self.stop_at

    @property
    def losses(self):
        return {record["step"]: record["loss"] for record in self.metrics if "loss" in record}


@pytest.fixture
def run(tmp_path):
    """`run(model, name, **settings)` trains into tmp_path/name and returns (report, weights, recorder)."""

    def call(model, name="out", *, reporter=None, texts=DOCUMENTS, heldout=SENTENCES[:4], replay=None, checkpoints=None, **settings):
        values = {
            "batch_size": 4,
            "block_size": 32,
            "steps": 6,
            "learning_rate": 5e-3,
            "evaluate_every": 3,
            "checkpoint_every": 2,
            "device": "cpu",
        }
        config = TrainConfig(model=str(model), input=("texts",), output=str(tmp_path / name), **(values | settings))
        reporter = reporter or Recorder()
        (tmp_path / name).mkdir()
        report = train(
            config,
            texts=lambda: iter(texts),
            heldout=lambda: iter(heldout),
            replay=None if replay is None else lambda: iter(replay),
            output=tmp_path / name,
            checkpoints=checkpoints or tmp_path / f"{name}.checkpoints",
            reporter=reporter,
        )
        return report, load_weights(tmp_path / name), reporter

    return call


def test_embeddings_learn_and_the_body_stays_as_it_was(tiny, run):
    model = tiny(padded=3)
    report, weights, recorder = run(model, steps=25, sample_prompt="The old")
    before = load_weights(model)
    assert report.frozen_sha256_before == report.frozen_sha256_after == frozen_sha256(model)
    assert all(torch.equal(weights[name], value) for name, value in before.items() if name not in (INPUT, OUTPUT))
    assert not torch.equal(weights[INPUT], before[INPUT])
    assert not torch.equal(weights[OUTPUT], before[OUTPUT])
    assert report.bits_per_byte_after < report.bits_per_byte_before - 0.2
    assert recorder.losses[25] < recorder.losses[1]
    assert report.samples_before[0].startswith("The old")
    assert report.samples_before != report.samples_after
    assert [record["step"] for record in recorder.metrics if "heldout_bits_per_byte" in record] == [*range(0, 25, 3), 25]
    assert report.to_json()["steps"] == report.steps == 25
    assert report.tokens_per_second > 0


def test_rows_of_tokens_that_never_occur_stay_bit_equal(tiny, run):
    model = tiny(padded=3)
    _, weights, _ = run(model, texts=["the key is on the table\n" * 40], weight_decay=0.1)
    same_V = (weights[INPUT] == load_weights(model)[INPUT]).all(dim=1)
    assert same_V[-3:].all()
    assert same_V.sum() > len(same_V) - 40
    assert not same_V.all()


def test_a_tied_model_learns_one_matrix_and_its_gradient_is_that_of_autograd(tiny, run):
    from transformers import AutoModelForCausalLM

    from lep_core.models import inspect_model
    from lep_core.training.freeze import load_split
    from lep_core.training.optimizer import RowAdamW

    model = tiny(tied=True)
    report, weights, _ = run(model)
    assert OUTPUT not in weights
    assert report.frozen_sha256_before == report.frozen_sha256_after
    split = load_split(inspect_model(model), device=torch.device("cpu"), dtype=torch.float32)
    ids = torch.randint(5, 300, (3, 17), generator=torch.Generator().manual_seed(0))
    optimizer = RowAdamW(split.matrices, weight_decay=0.0, gradient_clip=0.0)
    trained = state_module.TrainingState(split=split, optimizer=optimizer, micro_batch_size=2, token_bytes_V=torch.ones(400).numpy())
    trained._add_gradients(ids[:, :-1], ids[:, 1:], scale=1 / 48)
    reference = AutoModelForCausalLM.from_pretrained(model)
    reference(input_ids=ids, labels=ids).loss.backward()
    torch.testing.assert_close(optimizer.gradients["input"], reference.get_input_embeddings().weight.grad, rtol=1e-4, atol=1e-7)


def test_the_micro_batch_changes_nothing_but_rounding(tiny, run):
    model = tiny()
    _, whole, first = run(model, "whole", micro_batch_size=4, gradient_clip=0.5)
    _, parts, second = run(model, "parts", micro_batch_size=1, gradient_clip=0.5)
    assert list(first.losses.values()) == pytest.approx(list(second.losses.values()), rel=1e-5)
    # Adam turns rounding of tiny gradients into visible steps, so most rows are compared, not the worst one.
    assert (whole[INPUT] - parts[INPUT]).abs().mean() < 1e-5


def test_a_resumed_training_is_bit_equal_to_an_undisturbed_one(tiny, run, tmp_path):
    model, replay = tiny(), ["\n".join(SENTENCES)] * 3
    settings = {"steps": 9, "replay_share": 0.3, "weight_decay": 0.01}
    _, whole, undisturbed = run(model, "whole", replay=replay, **settings)
    checkpoints = tmp_path / "parts"
    report, _, _ = run(model, "first", replay=replay, checkpoints=checkpoints, reporter=Recorder(stop_at=5), **settings)
    assert (report.stopped, report.steps, report.bits_per_byte_after) == (True, 5, None)
    shutil.copytree(checkpoints, tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "step-000005")
    for name, folder in (("stopped", checkpoints), ("crashed", tmp_path / "killed")):
        report, weights, resumed = run(model, name, replay=replay, checkpoints=folder, resume=True, **settings)
        assert report.steps == 9
        assert report.tokens_seen == undisturbed.metrics[-2]["tokens_seen"]
        assert all(torch.equal(weights[key], whole[key]) for key in whole)
        assert all(undisturbed.losses[step] == loss for step, loss in resumed.losses.items())


def test_a_damaged_checkpoint_is_skipped_on_resume(tiny, run, tmp_path):
    model, checkpoints = tiny(), tmp_path / "c"
    run(model, "first", checkpoints=checkpoints, reporter=Recorder(stop_at=4))
    path = checkpoints / "step-000004" / TENSORS
    path.write_bytes(path.read_bytes()[:-10])
    report, _, recorder = run(model, "second", checkpoints=checkpoints, resume=True)
    assert any("step-000004 is damaged" in text for text in recorder.messages)
    assert min(recorder.losses) == 3
    assert report.steps == 6


def test_a_stopped_training_leaves_a_checkpoint_and_a_model_that_loads(tiny, run, tmp_path):
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    report, weights, _ = run(tiny(), reporter=Recorder(stop_at=3), steps=100, micro_batch_size=1)
    assert (report.stopped, report.steps) == (True, 3)
    newest = checkpoint_folders(tmp_path / "out.checkpoints")[0]
    assert newest.name == "step-000003"
    assert torch.equal(load_file(newest / TENSORS)["input"], weights[INPUT])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = PreTrainedTokenizerFast.from_pretrained(tmp_path / "out")("Где ключ?", return_tensors="pt").input_ids
    assert model(ids).logits.isfinite().all()


def test_a_stop_in_the_middle_of_a_step_leaves_the_state_before_it(tiny, run, monkeypatch):
    recorder = Recorder()
    calls = {"left": 5}

    def after_some_micro_batches():
        calls["left"] -= recorder.step >= 2
        return calls["left"] <= 0

    monkeypatch.setattr(recorder, "should_stop", after_some_micro_batches)
    model = tiny()
    report, stopped, _ = run(model, "stopped", reporter=recorder, micro_batch_size=1, schedule="constant", warmup_steps=0, steps=20)
    _, whole, _ = run(model, "whole", micro_batch_size=1, schedule="constant", warmup_steps=0, steps=report.steps)
    assert report.stopped
    assert all(torch.equal(stopped[key], whole[key]) for key in whole)


def test_a_stop_before_the_first_step_is_an_interruption(tiny, run):
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), reporter=Recorder(stop_at=0))


def test_a_loss_that_is_not_finite_stops_at_once_and_keeps_the_last_checkpoint(tiny, run, tmp_path, monkeypatch):
    true_loss, calls = state_module.loss_and_gradients, []

    def poisoned(hidden_ND, *arguments, **options):
        calls.append(1)
        return true_loss(hidden_ND * (math.nan if len(calls) == 4 else 1.0), *arguments, **options)

    monkeypatch.setattr(state_module, "loss_and_gradients", poisoned)
    with pytest.raises(TrainingError, match="the loss became nan at step 4"):
        run(tiny())
    newest = checkpoint_folders(tmp_path / "out.checkpoints")[0]
    assert newest.name == "step-000002"
    assert load_file(newest / TENSORS)["input"].isfinite().all()
    assert not list((tmp_path / "out").iterdir())


def test_only_new_rows_learn_when_asked(tiny, run, tmp_path):
    pytest.importorskip("lep_core.tokenizer.mapping")
    old, new = tiny(vocab_size=330), tiny(vocab_size=400)
    _, weights, _ = run(new, new_rows_only=True, initial=str(old), weight_decay=0.1, steps=20)
    before = load_weights(new)
    from lep_core.models import load_tokenizer

    old_tokens = set(load_tokenizer(old).get_vocab())
    shared = [index for token, index in load_tokenizer(new).get_vocab().items() if token in old_tokens]
    for name in (INPUT, OUTPUT):
        assert torch.equal(weights[name][shared], before[name][shared])
        assert not torch.equal(weights[name], before[name])
    with pytest.raises(ConfigError, match="no row would learn"):
        run(old, "same", new_rows_only=True, initial=str(old))


def test_an_anchor_holds_rows_near_their_start_and_the_report_says_how_far_they_moved(tiny, run):
    old, new = tiny(vocab_size=330), tiny(vocab_size=400)
    settings = {"initial": str(old), "steps": 10}
    free, free_weights, _ = run(new, "free", **settings)
    _, off_weights, _ = run(new, "off", anchor=0.0, anchor_rows="all", **settings)
    assert all(torch.equal(off_weights[name], value) for name, value in free_weights.items())
    held, weights, recorder = run(new, "held", anchor=100.0, anchor_rows="all", **settings)
    shared, _, _ = run(new, "shared", anchor=100.0, **settings)
    before = load_weights(new)
    moves = {
        name: {(move["matrix"], move["rows"]): move for move in report.moves}
        for name, report in (("free", free), ("held", held), ("shared", shared))
    }
    assert set(moves["free"]) == {(matrix, rows) for matrix in ("input", "output") for rows in ("shared", "new")}
    for key in moves["free"]:
        assert moves["held"][key]["relative"] < 0.9 * moves["free"][key]["relative"]
        assert (moves["shared"][key]["relative"] < 0.9 * moves["free"][key]["relative"]) == (key[1] == "shared")
    from lep_core.models import load_tokenizer

    old_tokens = set(load_tokenizer(old).get_vocab())
    new_ids = [index for token, index in load_tokenizer(new).get_vocab().items() if token not in old_tokens]
    move = moves["held"]["output", "new"]
    difference = torch.linalg.vector_norm((weights[OUTPUT] - before[OUTPUT])[new_ids]) / torch.linalg.vector_norm(before[OUTPUT][new_ids])
    assert move["count"] == len(new_ids)
    assert move["relative"] == pytest.approx(float(difference), rel=1e-4)
    logged = [record for record in recorder.metrics if "moved_output_new" in record]
    assert [record["step"] for record in logged] == [0, 3, 6, 9, 10]
    assert (logged[0]["moved_output_new"], logged[-1]["moved_output_new"]) == (0.0, move["relative"])
    assert held.to_json()["anchor"] == 100.0
    with pytest.raises(ConfigError, match="anchor-rows shared"):
        run(new, "unknown", anchor=1.0)


def test_an_anchored_training_is_resumed_bit_equal_and_only_with_the_same_anchor(tiny, run, tmp_path):
    model, settings = tiny(dtype="bfloat16"), {"anchor": 5.0, "anchor_rows": "all", "steps": 6}
    _, whole, _ = run(model, "whole", **settings)
    checkpoints = tmp_path / "parts"
    run(model, "first", checkpoints=checkpoints, reporter=Recorder(stop_at=3), **settings)
    with pytest.raises(TrainingError, match=r"--anchor changed since the checkpoint: it was 5.0, now it is 0.0"):
        run(model, "other", checkpoints=checkpoints, resume=True, steps=6)
    _, resumed, _ = run(model, "resumed", checkpoints=checkpoints, resume=True, **settings)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_a_bfloat16_model_is_written_in_bfloat16_and_learns_in_float32(tiny, run, tmp_path):
    model = tiny(dtype="bfloat16")
    report, weights, _ = run(model, precision="bfloat16", steps=12, learning_rate=1e-2)
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert load_file(checkpoint_folders(tmp_path / "out.checkpoints")[0] / TENSORS)["input"].dtype == torch.float32
    assert report.precision == "bfloat16"
    assert report.bits_per_byte_after < report.bits_per_byte_before


def test_without_steps_the_text_is_read_once_and_without_heldout_nothing_is_measured(tiny, run):
    report, _, recorder = run(tiny(), steps=None, heldout=())
    assert report.corpus_tokens / 128 < report.steps < 2 * report.corpus_tokens / 128 + 1
    assert report.bits_per_byte_before is report.bits_per_byte_after is None
    assert any("no held-out text" in text for text in recorder.messages)


def test_a_changed_corpus_or_setting_is_refused_on_resume(tiny, run, tmp_path):
    model, checkpoints = tiny(), tmp_path / "c"
    run(model, "first", checkpoints=checkpoints, reporter=Recorder(stop_at=2))
    with pytest.raises(TrainingError, match="the corpus changed since the checkpoint"):
        run(model, "second", checkpoints=checkpoints, resume=True, texts=[*DOCUMENTS, "more"])
    with pytest.raises(TrainingError, match=r"--learning-rate changed since the checkpoint: it was 0.005, now it is 0.1"):
        run(model, "third", checkpoints=checkpoints, resume=True, learning_rate=0.1)


def test_a_named_token_that_is_none_is_refused_before_the_training(tiny, run):
    model, recorder = tiny(), Recorder()
    edit_json(model / "tokenizer_config.json", eos_token="<|fresh|>")
    with pytest.raises(TokenizerError, match=r"adds the token '<\|fresh\|>', which tokenizer\.json does not have"):
        run(model, reporter=recorder)
    assert not recorder.metrics


def test_a_block_longer_than_the_model_reads_is_refused_with_both_numbers(tiny, run):
    with pytest.raises(ConfigError, match="--block-size is 512, the model reads at most 256 tokens") as caught:
        run(tiny(), block_size=512)
    assert caught.value.field == "block_size"


def test_too_little_text_is_refused_and_leaves_no_scratch_files(tiny, run, tmp_path):
    with pytest.raises(CorpusError, match="one block needs 32"):
        run(tiny(), texts=["a"])
    assert not list((tmp_path / "out.checkpoints").iterdir())


def test_a_model_that_scales_its_logits_is_refused(tiny, run):
    model = tiny()
    weights = load_weights(model)
    edit_json(
        model / "config.json", model_type="granite", architectures=["GraniteForCausalLM"], logits_scaling=4.0, embedding_multiplier=2.0
    )
    save_weights(model, weights)
    with pytest.raises(ModelError, match="scales, caps or shifts"):
        run(model)


def test_a_failed_allocation_says_what_to_lower(tiny, run, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(state_module, "loss_and_gradients", fail)
    with pytest.raises(ResourceError, match="Set --micro-batch-size to 2"):
        run(tiny(), micro_batch_size=4)


def test_a_held_out_score_equals_that_of_transformers(tiny, run):
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    model = tiny()
    report, _, _ = run(model, steps=1, heldout=SENTENCES[:3], block_size=64)
    tokenizer, reference = PreTrainedTokenizerFast.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    nats = 0.0
    for text in SENTENCES[:3]:
        ids = tokenizer(text, return_tensors="pt").input_ids
        assert 2 < ids.shape[1] <= 65
        nats += float(reference(ids, labels=ids).loss.detach()) * (ids.shape[1] - 1)
    assert report.bits_per_byte_before == pytest.approx(nats / math.log(2) / sum(len(text.encode()) for text in SENTENCES[:3]), rel=1e-5)
    assert report.heldout_bytes == sum(len(text.encode()) for text in SENTENCES[:3])


def test_without_bos_and_eos_the_first_token_of_a_document_and_its_bytes_are_left_out(tiny):
    from lep_core.models import load_tokenizer
    from lep_core.training.measure import prepare_heldout
    from lep_core.training.packing import Encoder

    model = tiny()
    edit_json(model / "tokenizer.json", post_processor=None)
    edit_json(model / "tokenizer_config.json", bos_token=None, eos_token=None)
    encoder = Encoder(load_tokenizer(model), rows=400, eos=None)
    heldout = prepare_heldout(SENTENCES[6:8], encoder, block_size=256, budget_bytes=10_000)
    firsts = [encoder.encode([text])[0][0] for text in SENTENCES[6:8]]
    assert heldout.text_bytes == sum(len(text.encode()) for text in SENTENCES[6:8]) - encoder.token_bytes_V[firsts].sum()


def test_a_rate_that_no_recipe_uses_is_said_before_the_work(tiny, run):
    model = tiny()
    _, _, high = run(model, "high", learning_rate=0.5, steps=1)
    _, _, usual = run(model, "usual", learning_rate=1e-2, steps=1)
    assert "learning rate 0.5 is far above" in high.messages[0]
    assert not any("far above" in text for text in usual.messages)


def test_a_mistake_in_the_settings_does_not_cost_earlier_checkpoints(tiny, run, tmp_path):
    model = tiny()
    run(model)
    before = checkpoint_folders(tmp_path / "out.checkpoints")
    with pytest.raises(ConfigError, match="CUDA"):
        run(model, "again", checkpoints=tmp_path / "out.checkpoints", overwrite=True, quantize="8bit")
    assert checkpoint_folders(tmp_path / "out.checkpoints") == before


def test_other_new_rows_than_at_the_checkpoint_are_refused(tiny, run, tmp_path):
    model = tiny()
    old = tiny_tokenizer(tmp_path / "old", vocab_size=330)
    older = tiny_tokenizer(tmp_path / "older", vocab_size=300)
    run(model, new_rows_only=True, initial=str(old))
    with pytest.raises(TrainingError, match="vocabulary of --initial changed"):
        run(model, "again", checkpoints=tmp_path / "out.checkpoints", resume=True, new_rows_only=True, initial=str(older))
