"""The check before a training: figures against a real training in another process, and every kind of problem named."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lep_core import pipeline
from lep_core.config import TrainConfig
from lep_core.console import summary
from lep_core.training import estimate, preflight
from lep_core.training.estimate import Shape, Speed
from tests.conftest import REPOSITORY
from tests.factories import SENTENCES


@pytest.fixture
def check(tmp_path, monkeypatch):
    """`check(model, **settings)` is the report of a check with a measured speed that takes no time."""
    monkeypatch.setattr(preflight, "measure_speed", lambda device, dtype: Speed(flops=1e11, bytes=1e10))
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES) * 40, encoding="utf-8")

    def call(model, **settings):
        values = {"input": (str(tmp_path / "text.txt"),), "output": str(tmp_path / "out"), "block_size": 32, "device": "cpu"}
        return pipeline.preflight(TrainConfig(model=str(model), **(values | settings)))

    return call


def child(verb: str, arguments: list[str]) -> tuple[dict, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "lep_core", verb, *arguments, "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout.splitlines()[-1]), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_memory_disk_and_time_are_those_of_a_real_training(tiny, tmp_path) -> None:
    """Memory within 25 % or 150 MB, disk within 10 %, CPU seconds within a factor of 3."""
    model = tiny(hidden=96, padded=20_000, layers=2)
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES) * 100, encoding="utf-8")
    # One thread, so that processor time is what an idle machine would take.
    settings = {"model": model, "input": tmp_path / "text.txt", "output": tmp_path / "out", "steps": 4, "block-size": 64, "batch-size": 8}
    settings |= {"micro-batch-size": 4, "device": "cpu", "precision": "float32", "threads": 1}
    arguments = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    values = {name.replace("-", "_"): str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    predicted = pipeline.preflight(TrainConfig(**{**values, "input": (values["input"],)})).to_json()
    report, cpu_seconds = child("train", arguments)
    assert predicted["fits"]
    assert predicted["memory_gib"] == pytest.approx(report["peak_memory_gib"], rel=0.25, abs=0.15)
    folders = (tmp_path / "out", tmp_path / "out.checkpoints")
    written = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    kept = predicted["disk_parts"]["checkpoints"] + predicted["disk_parts"]["output"]
    assert kept == pytest.approx(written / 2**30, rel=0.1)
    assert cpu_seconds / 3 < predicted["seconds"] < cpu_seconds * 3
    # Of so short a text one document in six is held out.
    assert predicted["corpus_tokens"] == pytest.approx(report["corpus_tokens"], rel=0.25)
    assert sum(predicted["parts"].values()) == pytest.approx(predicted["memory_gib"])


def test_a_check_leaves_nothing_behind_and_names_steps_of_one_pass(tiny, check, tmp_path) -> None:
    model = tiny(padded=3, tied=True)
    before = set(tmp_path.rglob("*"))
    report = check(model, batch_size=4)
    assert set(tmp_path.rglob("*")) == before
    assert report.fits
    assert report.steps == pytest.approx(report.corpus_tokens / (4 * 32), abs=1)
    assert [(problem.severity, problem.field) for problem in report.problems] == [("info", "model"), ("info", "model")]
    assert report.seconds > report.steps * 4 * 32 / report.tokens_per_second
    assert report.to_json()["problems"][0]["message"].startswith("input embedding and head are one matrix")


def test_every_problem_is_named_at_once_errors_first(tiny, check, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    (tmp_path / "out.checkpoints" / "step-000004").mkdir(parents=True)
    report = check(tiny(), block_size=1000, input=("nowhere.txt",), learning_rate=0.5)
    assert not report.fits
    found = {problem.field: problem for problem in report.problems}
    assert set(found) == {"output", "checkpoints", "block_size", "input", "learning_rate"}
    assert "reads at most 256 tokens" in found["block_size"].message
    assert "nowhere.txt does not exist" in found["input"].message
    assert report.problems[-1].severity == "warning"
    assert all(problem.hint for problem in report.problems)
    assert report.memory_gib > 0, "what can be estimated is estimated all the same"


def test_a_missing_model_is_a_problem_and_not_a_failure(check) -> None:
    report = check("no/such/model/folder")
    assert [problem.field for problem in report.problems] == ["model"]
    assert report.memory_gib is None
    assert not report.fits


def test_too_little_text_and_many_passes_are_said(tiny, check, tmp_path) -> None:
    (tmp_path / "short.txt").write_text("дом")
    assert "one block needs 32" in check(tiny(), input=(str(tmp_path / "short.txt"),)).problems[0].message
    report = check(tiny(), steps=100_000)
    assert report.fits
    assert [(problem.field, problem.severity) for problem in report.problems] == [("steps", "warning")]


def test_what_does_not_fit_into_memory_names_the_setting_to_lower(tiny, check, monkeypatch) -> None:
    model = tiny(hidden=64)
    fixed = check(model, micro_batch_size=1).memory_gib * 2**30
    large = check(model, micro_batch_size=16, batch_size=16).memory_gib * 2**30
    monkeypatch.setattr(preflight, "free_memory", lambda device: int((fixed + large) / 2))
    report = check(model, micro_batch_size=16, batch_size=16)
    assert not report.fits
    assert report.problems[0].field == "micro_batch_size"
    assert "--micro-batch-size to 8" in report.problems[0].hint
    monkeypatch.setattr(preflight, "free_memory", lambda device: 2**20)
    assert check(model, micro_batch_size=1).problems[0].field == "model"


def test_a_disk_that_is_too_small_is_said_with_both_numbers(tiny, check, monkeypatch) -> None:
    usage = type("Usage", (), {"free": 2**10})
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage)
    report = check(tiny())
    assert not report.fits
    assert report.problems[0].field == "output"
    assert "0.00 GiB free" in report.problems[0].message


@pytest.mark.parametrize("tied", [False, True])
def test_shapes_count_every_parameter_once(tiny, tied: bool) -> None:
    from lep_core.models import inspect_model

    folder = inspect_model(tiny(tied=tied))
    config = TrainConfig(model="m", input=("t",), output="o", lora=True, lora_rank=2)
    shape = Shape.of(config, folder, torch.float32, checkpointing=False)
    assert shape.body_parameters + shape.matrix_parameters == folder.parameters
    per_layer = 4 * 32 + 2 * (32 + 16) + 3 * (32 + 64)
    assert shape.adapter_parameters == 2 * 2 * per_layer
    halves = Shape.of(config, folder, torch.bfloat16, checkpointing=True)
    assert halves.body_bytes * 2 == shape.body_bytes
    assert halves.activation_bytes_per_token() < shape.activation_bytes_per_token()


def test_measured_speed_is_positive() -> None:
    speed = estimate.measure_speed(torch.device("cpu"), torch.float32, seconds=0.01)
    assert speed.flops > 1e8
    assert speed.bytes > 1e7
    assert 0 < estimate.free_memory(torch.device("cpu")) < 2**50


def test_the_short_form_shows_each_problem_whole(check, tiny) -> None:
    report = check(tiny(), block_size=1000, learning_rate=0.5)
    shown = summary(report.to_summary())
    assert len(report.problems) >= 2
    for problem in report.problems:
        assert f"{problem.severity} " in shown
        assert f": {problem.message}. {problem.hint}" in shown
