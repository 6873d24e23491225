"""A tuning that is killed at any stage (reading, rendering, loading, steps, saving, writing) and resumed ends with the same weights."""

from __future__ import annotations

import random
import signal
import time

import pytest
import torch

from lep_core.execute import execute
from lep_core.runs.workspace import Workspace
from lep_core.training.checkpoint import checkpoint_folders, damage
from tests.factories import load_weights
from tests.forks import start
from tests.tuning.data import as_records, conversations, write_jsonl


@pytest.fixture
def values(tiny, tmp_path):
    base = tiny()
    return {
        "model": str(base),
        "template_from": str(tiny(sibling_of=base, chat=True)),
        "data": [str(write_jsonl(tmp_path / "data.jsonl", as_records(conversations(60))))],
        "preset": "laptop",
        "batch_size": 4,
        "checkpoint_every": 1,
        "evaluate_every": 10,
        "device": "cpu",
        "threads": 1,
        "seed": 7,
    }


def kill_and_resume(tmp_path, values, *, kills, steps, seed):
    project = Workspace(tmp_path / "workspace").create_project("p")
    whole, run = (project.create_run("calibrate", {**values, "steps": steps}) for _ in range(2))
    undisturbed = start(execute, whole.path)
    randoms, stages = random.Random(seed), set()
    for number in range(kills):
        process = start(execute, run.path)
        if number % 4 == 0:
            # During the start, before any step.
            process.join(0.2 + 1.5 * randoms.random())
        else:
            aim = len(run.metrics()) + randoms.randint(1, 6)
            while len(run.metrics()) < aim and process.is_alive():
                time.sleep(0.002)
            time.sleep(randoms.random() * 0.02)
        stages.add(run.status().stage)
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            break
        for path in checkpoint_folders(run.checkpoints):
            assert damage(path) is None, path
        assert not run.output.exists()
    else:
        last = start(execute, run.path)
        last.join(120)
        assert last.exitcode == 0, run.log_tail()
    undisturbed.join(120)
    assert undisturbed.exitcode == 0, whole.log_tail()
    for name in ("loss", "heldout_loss"):
        curves = [{record["step"]: record[name] for record in one.metrics() if name in record} for one in (run, whole)]
        assert curves[0] == curves[1], name
    weights = load_weights(whole.output)
    assert all(torch.equal(value, weights[name]) for name, value in load_weights(run.output).items())
    assert not list(run.path.rglob(".partial-*-*/*"))
    return stages


@pytest.mark.slow
def test_kills_at_every_stage_leave_no_trace_in_the_weights(tmp_path, values):
    stages = kill_and_resume(tmp_path, values, kills=12, steps=60, seed=1)
    assert {"tuning"} < stages


def test_a_kill_leaves_no_trace_in_the_weights(tmp_path, values):
    kill_and_resume(tmp_path, values, kills=1, steps=6, seed=2)
