from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from lep_core import pipeline
from lep_core.config import GenerateConfig, TrainConfig
from lep_core.errors import ConfigError, TrainingError
from lep_core.models import frozen_sha256, inspect_model
from lep_core.models.adapters import ADAPTER_FOLDER
from lep_core.training.checkpoint import TENSORS, checkpoint_folders
from tests.factories import load_weights
from tests.training import test_loop
from tests.training.test_loop import Recorder

INPUT = "model.embed_tokens.weight"
run = test_loop.run
SETTINGS = {"lora": True, "lora_rank": 4, "steps": 8}


def test_the_body_stays_as_it_was_and_the_adapter_beside_it_is_what_was_measured(tiny, run, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = tiny()
    report, weights, _ = run(model, **SETTINGS)
    assert report.frozen_sha256_after == report.frozen_sha256_before == frozen_sha256(model)
    assert (report.adapter, report.adapter_parameters) == (
        ADAPTER_FOLDER,
        sum(v.numel() for v in adapter_tensors(tmp_path / "out").values()),
    )
    assert not torch.equal(weights[INPUT], load_weights(model)[INPUT])
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.arange(5, 40)[None]
    without = plain(ids).logits.detach()
    adapted = PeftModel.from_pretrained(plain, tmp_path / "out" / ADAPTER_FOLDER)
    assert not torch.allclose(adapted(ids).logits, without, atol=1e-4)
    # Measured without the adapter, the folder's own weights score otherwise.
    again, _, _ = run(tmp_path / "out", "again", steps=1)
    assert again.bits_per_byte_before != pytest.approx(report.bits_per_byte_after, rel=1e-6)


def test_the_adapter_is_one_that_propagation_merges(tiny, run, tmp_path):
    from lep_core.propagation.adapter import find_adapter, read_adapter

    model = tiny()
    run(model, **SETTINGS)
    folder = find_adapter(tmp_path / "out", None)
    changes = read_adapter(folder, inspect_model(model), scale=1.0)
    assert len(changes) == 2 * 7
    assert all(change.scaling == 16 / 4 and change.b_OR.abs().max() > 0 for change in changes.values())
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (4, 16, "LORA")


def test_the_first_step_computes_the_unchanged_model_and_the_seed_decides_the_rest(tiny, run, tmp_path):
    model = tiny()
    plain, _, _ = run(model, "plain", steps=1)
    first, _, _ = run(model, "first", **SETTINGS)
    run(model, "same", **SETTINGS)
    run(model, "other", **SETTINGS, seed=1)
    assert first.bits_per_byte_before == pytest.approx(plain.bits_per_byte_before, rel=1e-6)
    a, b, c = (adapter_tensors(tmp_path / name) for name in ("first", "same", "other"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not any(torch.equal(a[name], c[name]) for name in a)


@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": "on"}], ids=["kept", "recomputed"])
def test_a_resumed_training_with_an_adapter_is_bit_equal(tiny, run, tmp_path, more):
    model, settings = tiny(), {**SETTINGS, **more, "weight_decay": 0.01}
    _, whole, undisturbed = run(model, "whole", **settings)
    checkpoints = tmp_path / "parts"
    run(model, "first", checkpoints=checkpoints, reporter=Recorder(stop_at=5), **settings)
    saved = load_file(checkpoint_folders(checkpoints)[0] / TENSORS)
    assert sum(name.startswith("lora.") and name.endswith(".A.exp_avg") for name in saved) == 14
    report, weights, resumed = run(model, "second", checkpoints=checkpoints, resume=True, **settings)
    assert report.steps == 8
    assert all(torch.equal(weights[key], whole[key]) for key in whole)
    assert all(undisturbed.losses[step] == loss for step, loss in resumed.losses.items())
    first, second = adapter_tensors(tmp_path / "whole"), adapter_tensors(tmp_path / "second")
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(TrainingError, match="lora changed since the checkpoint: it was true, now it is false"):
        shutil.rmtree(tmp_path / "second")
        run(model, "second", checkpoints=checkpoints, resume=True, **{**settings, "lora": False})


def test_lora_and_a_shared_out_body_exclude_each_other():
    with pytest.raises(ConfigError, match="--strategy fsdp") as caught:
        TrainConfig(model="m", input=("t",), output="o", lora=True, strategy="fsdp")
    assert caught.value.field == "strategy"


def adapter_tensors(folder):
    return load_file(folder / ADAPTER_FOLDER / "adapter_model.safetensors")


def test_whoever_reads_the_folder_without_its_adapter_says_so(tiny, run, tmp_path):
    run(tiny(), **SETTINGS)
    folder, recorder = str(tmp_path / "out"), Recorder()
    pipeline.generate(GenerateConfig(model=(folder,), prompt="дом", max_new_tokens=1, device="cpu"), recorder)
    assert [text for text in recorder.messages if "adapter" in text] == [
        f"{folder}: the LoRA adapter in adapter/ is left out here; propagate merges it into an instruct model"
    ]
