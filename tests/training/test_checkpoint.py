from __future__ import annotations

import errno
import json
import shutil
from collections import namedtuple

import pytest
import torch

from lep_core import files
from lep_core.errors import OutputError, ResourceError, TrainingError
from lep_core.training.checkpoint import (
    MANIFEST,
    STATE,
    TENSORS,
    check_same_training,
    checkpoint_folders,
    latest_sound_checkpoint,
    load_tensors,
    prepare_folder,
    save_checkpoint,
)

TENSORS_OF_TEST = {"input": torch.arange(12.0).reshape(4, 3), "input.step": torch.tensor(7.0)}


class Listener:
    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


def save(folder, *steps, keep=10):
    for step in steps:
        save_checkpoint(folder, step, TENSORS_OF_TEST, {"tokens_seen": step * 10}, keep=keep)


def test_a_checkpoint_gives_back_what_was_saved(tmp_path):
    save(tmp_path, 5, 500)
    checkpoint = latest_sound_checkpoint(tmp_path)
    assert (checkpoint.path.name, checkpoint.step, checkpoint.state["tokens_seen"]) == ("step-000500", 500, 5000)
    loaded = load_tensors(checkpoint, {"input": torch.Size([4, 3])})
    assert all(torch.equal(loaded[name], value) for name, value in TENSORS_OF_TEST.items())


def test_only_the_newest_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4, keep=2)
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step-000004", "step-000003"]


def truncate(path):
    (path / TENSORS).write_bytes((path / TENSORS).read_bytes()[:-1])


def flip(path):
    data = bytearray((path / TENSORS).read_bytes())
    data[-1] ^= 1
    (path / TENSORS).write_bytes(bytes(data))


def remove(name):
    return lambda path: (path / name).unlink()


def foreign(path):
    shutil.copytree(path.with_name("step-000001"), path, dirs_exist_ok=True)


def garbage(path):
    (path / MANIFEST).write_text(json.dumps([1, 2]))


@pytest.mark.parametrize("harm", [truncate, flip, remove(TENSORS), remove(STATE), remove(MANIFEST), foreign, garbage])
def test_a_damaged_checkpoint_is_named_and_skipped_and_nothing_is_deleted(tmp_path, harm):
    save(tmp_path, 1, 2)
    harm(tmp_path / "step-000002")
    before = sorted(tmp_path.rglob("*"))
    listener = Listener()
    assert latest_sound_checkpoint(tmp_path, listener).step == 1
    assert len(listener.messages) == 1
    assert "step-000002 is damaged" in listener.messages[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_checkpoint_makes_way_when_its_step_is_saved_again(tmp_path):
    save(tmp_path, 1, 2)
    flip(tmp_path / "step-000002")
    save(tmp_path, 2)
    assert latest_sound_checkpoint(tmp_path).step == 2
    assert (tmp_path / "step-000002.damaged-0").is_dir()


def test_no_checkpoint_is_none_and_only_damaged_ones_are_refused(tmp_path):
    assert latest_sound_checkpoint(tmp_path / "nothing") is None
    save(tmp_path, 1)
    flip(tmp_path / "step-000001")
    with pytest.raises(TrainingError, match=r"all 1 checkpoints .* damaged"):
        latest_sound_checkpoint(tmp_path, Listener())


def test_a_full_disk_keeps_the_older_checkpoint(tmp_path, monkeypatch):
    save(tmp_path, 1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage(10**6, 10**6, 0))
    with pytest.raises(ResourceError, match=r"needs 1\.0 MiB, 0\.0 MiB are free"):
        save(tmp_path, 2, keep=1)
    assert latest_sound_checkpoint(tmp_path).step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_a_fresh_training_does_not_mix_with_an_earlier_one(tmp_path):
    save(tmp_path, 1)
    (tmp_path / f"{files.PARTIAL_PREFIX}step-000002-x").mkdir()
    with pytest.raises(OutputError, match="step-000001"):
        prepare_folder(tmp_path, resume=False, overwrite=False)
    prepare_folder(tmp_path, resume=True, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    prepare_folder(tmp_path, resume=False, overwrite=True)
    assert not list(tmp_path.iterdir())


def test_another_text_setting_or_model_is_refused_with_both_values(tmp_path):
    saved = {"corpus_fingerprint": "a" * 64, "seed": 1}
    check_same_training(saved, dict(saved))
    with pytest.raises(TrainingError, match=r"corpus changed since the checkpoint.*b{12}.*a{12}"):
        check_same_training(saved, {"corpus_fingerprint": "b" * 64, "seed": 1})
    with pytest.raises(TrainingError, match="--seed changed since the checkpoint: it was 1, now it is 2"):
        check_same_training(saved, {"corpus_fingerprint": "a" * 64, "seed": 2})
    with pytest.raises(TrainingError, match=r"another model: its frozen weights hash to c{12}, those of --model to d{12}"):
        check_same_training({"frozen_sha256": "c" * 64}, {"frozen_sha256": "d" * 64})
    save(tmp_path, 1)
    with pytest.raises(TrainingError, match=r"\(4, 3\), the model's is \(5, 3\)"):
        load_tensors(latest_sound_checkpoint(tmp_path), {"input": torch.Size([5, 3])})


@pytest.mark.parametrize("when", ["tensors", "fsync"])
def test_a_disk_that_fills_up_while_saving_keeps_the_older_checkpoint_and_gives_both_numbers(tmp_path, monkeypatch, when):
    save(tmp_path, 1)

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "tensors":
        monkeypatch.setattr("safetensors.torch.save_file", full)
    else:
        monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ResourceError, match=r"a checkpoint needs 1\.0 MiB, [\d.,]+ MiB are free") as caught:
        save(tmp_path, 2, keep=1)
    assert "the last checkpoint is kept" in caught.value.hint
    monkeypatch.undo()
    assert latest_sound_checkpoint(tmp_path).step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_an_old_checkpoint_is_never_seen_half_deleted(tmp_path, monkeypatch):
    save(tmp_path, 1)
    seen = []
    true_rmtree = shutil.rmtree

    def killed_half_way(path, *arguments, **options):
        seen.append(path)
        (path / MANIFEST).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(files.shutil, "rmtree", killed_half_way)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2, keep=1)
    monkeypatch.setattr(files.shutil, "rmtree", true_rmtree)
    assert len(seen) == 1
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step-000002"]
    prepare_folder(tmp_path, resume=True, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000002"]
