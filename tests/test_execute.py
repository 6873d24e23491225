"""Executing a run directory records what happened, whatever happened."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from lep_core import execute as execution
from lep_core import pipeline
from lep_core.config import GenerateConfig, TrainConfig
from lep_core.errors import ConfigError, JobError, TrainingError
from lep_core.execute import execute
from lep_core.failures import explained, redacted
from lep_core.files import read_json, write_json
from lep_core.pipeline import Verb
from lep_core.runs.workspace import Workspace


@dataclass(frozen=True)
class StepsReport:
    steps: int
    stopped: bool = False

    def to_json(self):
        return {"steps": self.steps, "stopped": self.stopped, "loss": float("nan")}


@pytest.fixture
def project(tmp_path):
    return Workspace(tmp_path / "workspace").create_project("p")


@pytest.fixture
def run_of(project, monkeypatch):
    """A train run whose stage is the given function."""

    def make(stage):
        monkeypatch.setitem(pipeline.VERBS, "train", Verb("train", TrainConfig, stage))
        return project.create_run("train", {"model": "m", "input": ["x"], "steps": 5})

    return make


def steps(config, reporter):
    reporter.stage("training")
    for step in range(1, config.steps + 1):
        reporter.progress(step, config.steps, "steps")
        reporter.metric({"step": step, "loss": 1 / step})
        if reporter.should_stop():
            return StepsReport(step, stopped=True)
    reporter.message("done with it")
    return StepsReport(config.steps)


def raising(error):
    def stage(config, reporter):
        raise error

    return stage


def test_success_leaves_status_metrics_report_and_log(run_of):
    run = run_of(steps)
    assert execute(run.path) == 0
    status = run.status()
    assert (status.state, status.stage, status.done, status.total, status.unit, status.step) == ("succeeded", "training", 5, 5, "steps", 5)
    assert status.message == "done with it"
    assert status.eta_seconds is None
    assert [record["step"] for record in run.metrics()] == [1, 2, 3, 4, 5]
    assert run.report() == {"steps": 5, "stopped": False, "loss": None}
    assert "training" in run.log_tail()


def test_a_run_that_succeeded_is_not_executed_again(run_of):
    run = run_of(steps)
    execute(run.path)
    with pytest.raises(JobError, match="ended already"):
        execute(run.path)
    assert run.status().state == "succeeded"


def test_a_stage_that_hears_the_stop_file_is_stopped(run_of):
    def stage(config, reporter):
        run.request_stop()
        return steps(config, reporter)

    run = run_of(stage)
    assert execute(run.path) == 130
    assert run.status().state == "stopped"
    assert run.report()["steps"] == 1


def test_a_run_stopped_before_it_began_does_nothing(run_of):
    run = run_of(raising(AssertionError("ran")))
    run.request_stop()
    assert execute(run.path) == 130
    assert run.status().state == "stopped"


def test_sigterm_asks_to_stop_and_restores_the_old_handler(run_of):
    def stage(config, reporter):
        os.kill(os.getpid(), signal.SIGTERM)
        return steps(config, reporter)

    before = signal.getsignal(signal.SIGTERM)
    assert execute(run_of(stage).path) == 130
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_interrupt_ends_a_stage_that_does_not_listen(run_of):
    def stage(config, reporter):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        raise AssertionError("not interrupted")

    run = run_of(stage)
    assert execute(run.path) == 130
    assert run.status().state == "stopped"


def test_a_stage_that_never_asks_is_interrupted_after_a_while(run_of, monkeypatch):
    monkeypatch.setattr(execution, "STOP_PATIENCE_SECONDS", 0.3)

    def stage(config, reporter):
        run.request_stop()
        time.sleep(30)

    run = run_of(stage)
    began = time.monotonic()
    assert execute(run.path) == 130
    assert time.monotonic() - began < 10
    assert run.status().state == "stopped"


def test_a_stage_that_cannot_be_interrupted_is_ended(run_of):
    run = run_of(steps)
    code = """
import sys, time
from lep_core import execute, pipeline
from lep_core.runs.run import Run
execute.STOP_PATIENCE_SECONDS = execute.END_PATIENCE_SECONDS = 0.3
def stage(config, reporter):
    Run(sys.argv[1]).request_stop()
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
old = pipeline.VERBS["train"]
pipeline.VERBS["train"] = pipeline.Verb("train", old.config, stage)
sys.exit(execute.execute(sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(run.path)], cwd=Path(__file__).parent.parent, timeout=60, check=False)
    assert done.returncode == 130
    assert run.status().state == "stopped"


def test_a_mendable_error_is_kept_without_traceback(run_of, capsys):
    run = run_of(raising(TrainingError("the loss became NaN", "Lower the learning rate")))
    assert execute(run.path) == 2
    error = run.status().error
    assert (error.kind, error.message, error.hint, error.traceback) == (
        "TrainingError",
        "the loss became NaN",
        "Lower the learning rate",
        None,
    )
    assert read_json(run.path / "errors" / "rank-0.json")["message"] == "the loss became NaN"
    assert "error: the loss became NaN. Lower the learning rate" in capsys.readouterr().err


def test_a_config_error_names_its_field(run_of):
    run = run_of(raising(ConfigError("block_size", "the block is longer than the model's context", "Shorten it")))
    assert execute(run.path) == 2
    assert run.status().error.field == "block_size"


class PanicException(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError("surprise"), PanicException("index out of range"), SystemExit(0)])
def test_a_bug_keeps_its_traceback(run_of, error):
    run = run_of(raising(error))
    assert execute(run.path) == 1
    shown = run.status()
    assert shown.state == "failed"
    assert shown.error.kind == type(error).__name__
    assert "raise error" in shown.error.traceback


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory ran out"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried 2 GiB"), "Tried 2 GiB"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "memory ran out"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk is full"),
    ],
)
def test_missing_memory_or_disk_is_explained_with_advice(run_of, error, words):
    run = run_of(raising(error))
    assert execute(run.path) == 2
    assert run.status().error.kind == "ResourceError"
    assert words in run.status().error.message
    assert explained(ValueError("x")) is None


def test_tokens_never_reach_the_files(run_of, monkeypatch):
    secret = "hf_" + "a1B2" * 8
    monkeypatch.setenv("HF_TOKEN", "my-own-secret")

    def stage(config, reporter):
        reporter.message(f"using {secret}")
        raise ValueError(f"401 for {secret} and my-own-secret")

    run = run_of(stage)
    execute(run.path)
    text = "".join(path.read_text() for path in run.path.rglob("*") if path.is_file())
    assert secret not in text
    assert "my-own-secret" not in text
    assert redacted(f"x {secret}") == "x hf_***"


def test_a_killed_attempt_is_put_aside_and_gone_on_with(run_of):
    seen = []

    def stage(config, reporter):
        seen.append(config.resume)
        return steps(config, reporter)

    run = run_of(stage)
    write_json(run.path / "status.json", {"state": "running", "pid": 1, "process_start": "gone", "host": "x"})
    (run.path / ".partial-output-1").mkdir()
    assert execute(run.path) == 0
    assert seen == [True]
    assert run.attempts == 1
    assert not list(run.path.glob(".partial-*"))


def test_a_run_is_never_executed_twice_at_once(run_of):
    def stage(config, reporter):
        with pytest.raises(JobError, match=f"executed by process {os.getpid()}"):
            execute(run.path)
        return steps(config, reporter)

    run = run_of(stage)
    assert execute(run.path) == 0


def test_several_processes_are_refused_where_one_is_meant(project, monkeypatch):
    run = project.create_run("generate", {"model": ["m"], "prompt": "x"})
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(JobError, match="one process, but 2"):
        execute(run.path)
    assert read_json(run.path / "errors" / "rank-1.json")["kind"] == "JobError"
    assert run.status().state == "queued"


def test_the_status_shows_progress_and_the_time_left_while_it_runs(run_of):
    shown = []

    def stage(config, reporter):
        reporter.stage("waiting")
        for done in range(12):
            reporter.progress(done, 100, "items")
            time.sleep(0.15)
        shown.append(run.status())
        return StepsReport(1)

    run = run_of(stage)
    execute(run.path)
    (status,) = shown
    assert (status.state, status.stage, status.total) == ("running", "waiting", 100)
    assert 4 <= status.done <= 11
    assert 5 < status.eta_seconds < 40
    assert time.time() - status.heartbeat < 60


def test_execute_works_outside_the_main_thread(run_of):
    run, codes = run_of(steps), []
    thread = threading.Thread(target=lambda: codes.append(execute(run.path)))
    thread.start()
    thread.join(20)
    assert codes == [0]


def test_settings_that_no_longer_fit_fail_with_the_field(project, monkeypatch):
    run = project.create_run("generate", {"model": ["m"], "prompt": "x"})
    monkeypatch.setitem(pipeline.VERBS, "generate", Verb("generate", TrainConfig, steps))
    assert GenerateConfig is not TrainConfig
    assert execute(run.path) == 2
    assert run.status().error.field == "prompt"
