"""Several processes train as one does: same losses, one writer, one stop, and an error that names the process that failed."""

from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pytest
import torch

from lep_core import ranks
from lep_core.config import TrainConfig
from lep_core.errors import ConfigError, TrainingError
from lep_core.execute import execute
from lep_core.files import read_json
from lep_core.models import inspect_model
from lep_core.runs.workspace import Workspace
from lep_core.training import state as state_module
from lep_core.training.checkpoint import checkpoint_folders
from lep_core.training.sharding import load_sharded
from lep_core.training.team import ALONE, Team, join
from tests.factories import SENTENCES, load_weights
from tests.forks import ranks as run_ranks
from tests.forks import start_ranks

INPUT, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture
def new_run(tiny, tmp_path):
    """`new_run(processes, **settings)`: a run directory for that many processes over one tiny model and text."""
    model = tiny()
    text = tmp_path / "text.jsonl"
    documents = ["\n".join(SENTENCES[start % 12 :] + SENTENCES[: start % 5]) for start in range(40)]
    text.write_text("\n".join(json.dumps({"text": document}) for document in documents))
    project = Workspace(tmp_path / "workspace").create_project("p")

    def make(processes, **settings):
        values = {"batch_size": 5, "block_size": 32, "steps": 6, "learning_rate": 5e-3, "evaluate_every": 3, "checkpoint_every": 2}
        values |= {"model": str(model), "input": [str(text)], "device": "cpu", "processes": processes}
        return project.create_run("train", {**values, **settings})

    return make


def losses(run):
    return {record["step"]: record["loss"] for record in run.metrics() if "loss" in record}


def heldout(run):
    return [record["heldout_bits_per_byte"] for record in run.metrics() if "heldout_bits_per_byte" in record]


def test_two_processes_give_the_losses_of_one(new_run):
    alone = new_run(1)
    assert run_ranks(1, execute, alone.path) == [0]
    # 5 sequences do not divide by 2, and a micro-batch of 2 not by 3.
    together = {strategy: new_run(2, strategy=strategy, micro_batch_size=2) for strategy in ("ddp", "fsdp")}
    for strategy, run in together.items():
        assert run_ranks(2, execute, run.path) == [0, 0], run.log_tail()
        assert losses(run) == pytest.approx(losses(alone), rel=1e-5)
        assert heldout(run) == pytest.approx(heldout(alone), rel=1e-5)
        assert len(losses(run)) == 6
        report = run.report()
        assert (report["processes"], report["strategy"], report["tokens_seen"]) == (2, strategy, alone.report()["tokens_seen"])
        assert report["frozen_sha256_before"] == report["frozen_sha256_after"] == alone.report()["frozen_sha256_after"]
        assert not list((run.path / "errors").glob("*"))
        for name in (INPUT, OUTPUT):
            # Adam turns rounding of tiny gradients into visible steps, so most rows are compared, not the worst one.
            assert (load_weights(run.output)[name] - load_weights(alone.output)[name]).abs().mean() < 1e-5
    assert losses(together["fsdp"]) == pytest.approx(losses(together["ddp"]), rel=1e-6)


def holds_half_of_the_body(model):
    from torch.distributed.tensor import DTensor

    team, folder = join("cpu"), inspect_model(model)
    split = load_sharded(folder, team, device=torch.device("cpu"), dtype=torch.float32)
    shards = [parameter for parameter in split.body.parameters() if isinstance(parameter, DTensor)]
    own, whole = sum(shard.to_local().numel() for shard in shards), sum(shard.numel() for shard in shards)
    team.wait()
    return 0 if own * 2 == whole > 0.9 * (folder.parameters - 2 * split.input_VD.numel()) else 9


def test_a_sharded_body_lies_in_parts_in_the_processes(tiny):
    assert run_ranks(2, holds_half_of_the_body, tiny()) == [0, 0]


@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
def test_a_training_goes_on_with_another_number_of_processes(tiny, new_run, tmp_path, first, second):
    whole, begun, resumed = new_run(1), new_run(first), new_run(second)
    assert run_ranks(1, execute, whole.path) == [0]
    assert run_ranks(first, execute, begun.path) == [0] * first
    newest = checkpoint_folders(begun.checkpoints)
    assert [path.name for path in newest] == ["step-000006", "step-000004"]
    resumed.checkpoints.mkdir()
    newest[1].rename(resumed.checkpoints / "step-000004")
    record = read_json(resumed.path / "run.json")
    record["config"]["resume"] = True
    (resumed.path / "run.json").write_text(json.dumps(record))
    assert run_ranks(second, execute, resumed.path) == [0] * second, resumed.log_tail()
    assert sorted(losses(resumed)) == [5, 6]
    assert losses(resumed) == pytest.approx({step: losses(whole)[step] for step in (5, 6)}, rel=1e-5)


def until(condition, seconds=40):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited too long"
        time.sleep(0.02)


def test_a_signal_to_one_process_stops_all_after_the_same_step_with_a_checkpoint(new_run):
    run = new_run(2, steps=100_000, checkpoint_every=100_000)
    processes = start_ranks(2, execute, run.path)
    until(lambda: losses(run))
    os.kill(processes[1].pid, signal.SIGTERM)
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [130, 130]
    assert run.status().state == "stopped"
    assert [path.name for path in checkpoint_folders(run.checkpoints)] == [f"step-{max(losses(run)):06d}"]
    assert run.report()["stopped"]


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others_soon_and_is_named(new_run, killed):
    run = new_run(2, steps=100_000)
    processes = start_ranks(2, execute, run.path)
    until(lambda: checkpoint_folders(run.checkpoints))
    began = time.monotonic()
    processes[killed].kill()
    processes[1 - killed].join(30)
    assert time.monotonic() - began < 15
    assert processes[1 - killed].exitcode == 2
    error = read_json(run.path / "errors" / f"rank-{1 - killed}.json")
    assert f"process {killed} of 2" in error["message"]
    assert "memory" in error["message"]
    if killed == 1:
        assert run.status().state == "failed"
        assert run.status().error.message == error["message"]


def execute_poisoned(path):
    """Rank 1 meets an error in its third step."""
    true_step, calls = state_module.TrainingState._add_gradients, []

    def poisoned(*arguments, **options):
        calls.append(1)
        if ranks.rank() == 1 and len(calls) == 3:
            raise TrainingError("the third step failed", "Look at it")
        return true_step(*arguments, **options)

    state_module.TrainingState._add_gradients = poisoned
    return execute(path)


def test_the_run_fails_with_the_words_of_the_process_that_failed(new_run):
    run = new_run(2, batch_size=2)
    assert run_ranks(2, execute_poisoned, run.path) == [2, 2]
    assert (run.status().state, run.status().error.message, run.status().error.hint) == ("failed", "the third step failed", "Look at it")
    assert [path.name for path in (run.path / "errors").iterdir()] == ["rank-1.json"]
    assert [path.name for path in checkpoint_folders(run.checkpoints)] == ["step-000002"]


def test_a_wrong_number_of_processes_is_refused_at_once(new_run):
    run = new_run(3)
    assert run_ranks(2, execute, run.path) == [2, 2]
    assert "meant for 3 processes, and 2 were started" in run.status().error.message
    assert run.status().error.field == "processes"
    with pytest.raises(ConfigError, match="meant for 2 processes, and 1 was started"):
        ranks.check_world_size(TrainConfig(model="m", input=("x",), output="o", processes=2).processes)


def test_a_run_that_is_executed_already_is_refused_to_a_team_too(new_run):
    run = new_run(2)
    with run.lock():
        processes = start_ranks(2, execute_refused, run.path)
        processes[0].join(30)
        assert processes[0].exitcode == 7
        assert processes[1].exitcode is None
        processes[1].terminate()
        processes[1].join(30)
    assert run.status().state == "queued"
    assert not (run.path / "errors").exists()


def execute_refused(path):
    from lep_core.errors import JobError

    try:
        return execute(path)
    except JobError:
        return 7


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 5, 6])
def test_shares_are_equally_long_and_cover_everything_once(size, count):
    covered = []
    for rank in range(size):
        own, missing = Team(rank=rank, size=size).share(count)
        taken = list(range(count))[own]
        assert len(taken) + missing == -(-count // size)
        covered += taken
    assert covered == list(range(count))


def test_a_team_of_one_does_nothing():
    tensor = torch.ones(3)
    ALONE.sum(tensor)
    assert torch.equal(tensor, torch.ones(3))
    assert (ALONE.any(True), ALONE.any(False), ALONE.smallest(5), ALONE.from_first(lambda: "x"), ALONE.gone()) == (
        True,
        False,
        5,
        "x",
        None,
    )
    assert np.array_equal(np.arange(4)[ALONE.share(4)[0]], np.arange(4))
