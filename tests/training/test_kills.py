"""A training that is killed again and again, also in the middle of saving, ends with the very weights of an undisturbed one."""

from __future__ import annotations

import json
import random
import signal
import time

import pytest
import torch

from lep_core.cli import main
from lep_core.execute import execute
from lep_core.runs.workspace import Workspace
from lep_core.training.checkpoint import checkpoint_folders, damage
from tests.factories import SENTENCES, load_weights
from tests.forks import start

# Killed after this many new checkpoints and up to that many seconds more; None = during the start, before any checkpoint.
MOST_NEW_CHECKPOINTS, MOST_SECONDS_MORE, STARTS_SECONDS = 3, 0.02, 0.6


@pytest.fixture
def values(tiny, tmp_path):
    """Settings of a training that saves after every step."""
    text = tmp_path / "text.jsonl"
    documents = ["\n".join(SENTENCES[start % 12 :] + SENTENCES[: start % 5]) for start in range(40)]
    text.write_text("\n".join(json.dumps({"text": document}) for document in documents))
    return {
        "model": str(tiny()),
        "input": [str(text)],
        "batch_size": 2,
        "block_size": 32,
        "learning_rate": 5e-3,
        "evaluate_every": 20,
        "checkpoint_every": 1,
        "keep_checkpoints": 2,
        "device": "cpu",
        "threads": 1,
        "seed": 7,
    }


def newest(folder):
    return int(found[0].name.removeprefix("step-")) if (found := checkpoint_folders(folder)) else 0


def kill_at_a_random_moment(process, checkpoints, randoms):
    """True when the process was killed, False when it had ended before."""
    if randoms.random() < 0.2:
        process.join(randoms.random() * STARTS_SECONDS)
    else:
        aim = newest(checkpoints) + randoms.randint(1, MOST_NEW_CHECKPOINTS)
        while newest(checkpoints) < aim and process.is_alive():
            time.sleep(0.001)
        time.sleep(randoms.random() * MOST_SECONDS_MORE)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def kill_and_resume(tmp_path, values, *, kills, steps, seed):
    """How many of the kills hit a save; everything else is asserted."""
    project = Workspace(tmp_path / "workspace").create_project("p")
    whole = project.create_run("train", {**values, "steps": steps})
    undisturbed = start(execute, whole.path)
    run = project.create_run("train", {**values, "steps": steps})
    randoms, in_saves, killed = random.Random(seed), 0, 0
    while killed < kills:
        process = start(execute, run.path)
        assert kill_at_a_random_moment(process, run.checkpoints, randoms), f"ended by itself with {process.exitcode}: {run.log_tail()}"
        killed += 1
        in_saves += any(run.checkpoints.glob(".partial-step-*"))
        for path in checkpoint_folders(run.checkpoints):
            assert damage(path) is None, path
        assert run.output is not None
        assert not run.output.exists()
    last = start(execute, run.path)
    last.join(120)
    undisturbed.join(120)
    assert (last.exitcode, undisturbed.exitcode) == (0, 0), run.log_tail()
    # A process that was killed before its first word made no attempt.
    assert kills / 2 < run.attempts <= kills
    assert run.metrics()[-1].keys() == whole.metrics()[-1].keys()
    for name in ("loss", "learning_rate", "tokens_seen", "heldout_bits_per_byte"):
        curves = [{record["step"]: record[name] for record in one.metrics() if name in record} for one in (run, whole)]
        assert curves[0] == curves[1], name
    assert len({record["step"] for record in run.metrics()}) == steps + 1
    weights = load_weights(whole.output)
    assert all(torch.equal(value, weights[name]) for name, value in load_weights(run.output).items())
    assert not list(run.path.rglob(".partial-*-*/*"))
    return in_saves


def test_kills_leave_no_trace_in_the_weights(tmp_path, values):
    kill_and_resume(tmp_path, values, kills=4, steps=30, seed=1)


@pytest.mark.faults
def test_a_hundred_kills_leave_no_trace_in_the_weights(tmp_path, values):
    in_saves = kill_and_resume(tmp_path, values, kills=100, steps=600, seed=3)
    assert in_saves >= 15


@pytest.mark.slow
def test_twenty_kills_leave_no_trace_in_the_weights(tmp_path, values):
    in_saves = kill_and_resume(tmp_path, values, kills=20, steps=120, seed=2)
    assert in_saves >= 3


def train_by_hand(words):
    return main(words)


def test_a_killed_command_line_leaves_nothing_that_its_next_start_does_not_remove(tmp_path, values):
    settings = {**values, "steps": 40}
    words = ["train", "--output", str(tmp_path / "out")]
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    checkpoints = tmp_path / "out.checkpoints"
    process = start(train_by_hand, words)
    while newest(checkpoints) < 5:
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    process.join()
    assert len(list(tmp_path.glob(".partial-out-*"))) == 1
    again = start(train_by_hand, [*words, "--resume"])
    again.join(60)
    assert again.exitcode == 0
    assert (tmp_path / "out" / "config.json").is_file()
    assert not list(tmp_path.glob(".partial-*"))
    assert not list(checkpoints.glob(".partial-*"))
