"""A disk that fills up: every stage says so and leaves nothing half-written; a training keeps its last good checkpoint and goes on later."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
import torch

from lep_core.cli import main
from lep_core.training.checkpoint import checkpoint_folders, damage
from tests.factories import SENTENCES, load_weights

ROOM_BYTES = 8 * 2**10


@pytest.fixture
def small_disk(tmp_path):
    """`small_disk(mib)`: a folder that is a disk of its own."""
    mounted = []

    def mount(mib):
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("a small disk cannot be mounted here (needs root)")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.jsonl"
    documents = ["\n".join(SENTENCES[start % 12 :] + SENTENCES[: start % 5]) for start in range(200)]
    path.write_text("\n".join(json.dumps({"text": document}) for document in documents), encoding="utf-8")
    return path


@pytest.fixture
def chain(tiny, tmp_path, text):
    """Command lines of every stage that writes a folder, with inputs that are there."""
    base, instruct = tiny(name="base"), tiny(name="instruct", seed=1)
    tokenizer, rows = tmp_path / "tokenizer", tmp_path / "rows"
    done("build-tokenizer", "--base", base, "--input", text, "--new-tokens", 40, "--output", tokenizer)
    done("initialize", "--base", base, "--tokenizer", tokenizer, "--output", rows)
    return {
        "add-corpus": ("--input", text),
        "build-tokenizer": ("--base", base, "--input", text, "--new-tokens", 40),
        "initialize": ("--base", base, "--tokenizer", tokenizer),
        "propagate": ("--base", base, "--adapted", rows, "--instruct", instruct, "--method", "conversion"),
        "export": ("--model", rows),
    }


@pytest.mark.parametrize("verb", ["add-corpus", "build-tokenizer", "initialize", "propagate", "export"])
def test_a_stage_on_a_full_disk_says_so_and_leaves_nothing(verb, chain, small_disk, capsys):
    disk = small_disk(32)
    fill(disk)
    before = sorted(os.listdir(disk))
    code, complaint = failed(capsys, verb, *chain[verb], "--output", disk / "out")
    assert code == 2, complaint
    assert "disk" in complaint
    assert sorted(os.listdir(disk)) == before
    (disk / "ballast").unlink()
    done(verb, *chain[verb], "--output", disk / "out")
    assert (disk / "out").is_dir()


def test_a_training_whose_disk_fills_up_keeps_its_checkpoint_and_goes_on(tiny, tmp_path, text, small_disk, capsys, monkeypatch):
    from lep_core.training import checkpoint

    disk = small_disk(48)
    settings = ("--model", tiny(), "--input", text, "--batch-size", 2, "--block-size", 32, "--learning-rate", 5e-3, "--device", "cpu")
    settings += ("--threads", 1, "--seed", 7, "--steps", 12, "--checkpoint-every", 2, "--evaluate-every", 12)
    done("train", *settings, "--output", tmp_path / "undisturbed")
    # Somebody else's file takes the room at the moment of the third checkpoint.
    write, calls = checkpoint.check_free_space, []

    def crowded(folder, needed):
        calls.append(needed)
        write(folder, needed)
        if len(calls) == 4:
            fill(disk)

    monkeypatch.setattr(checkpoint, "check_free_space", crowded)
    code, complaint = failed(capsys, "train", *settings, "--output", disk / "out")
    monkeypatch.undo()
    assert code == 2, complaint
    assert "needs" in complaint
    assert "free" in complaint
    kept = checkpoint_folders(disk / "out.checkpoints")
    assert kept
    assert all(damage(path) is None for path in kept)
    assert not (disk / "out").exists()
    # Still full: refused again, the checkpoint stays.
    assert failed(capsys, "train", *settings, "--output", disk / "out", "--resume")[0] == 2
    assert checkpoint_folders(disk / "out.checkpoints") == kept
    (disk / "ballast").unlink()
    done("train", *settings, "--output", disk / "out", "--resume")
    expected = load_weights(tmp_path / "undisturbed")
    assert all(torch.equal(value, expected[name]) for name, value in load_weights(disk / "out").items())


def fill(disk):
    """Leave little room on the disk."""
    room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with open(disk / "ballast", "wb") as stream:
        stream.write(bytes(max(0, room - ROOM_BYTES)))


def done(*words):
    assert main([str(word) for word in words]) == 0


def failed(capsys, *words):
    """(exit code, the one line of complaint)."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    lines = capsys.readouterr().err.strip().splitlines()
    assert not any("Traceback" in line for line in lines), lines
    complaints = [line for line in lines if line.startswith("error: ")]
    assert len(complaints) == 1, lines
    return code, complaints[0]
