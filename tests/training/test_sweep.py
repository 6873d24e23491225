"""The sweep over learning rates: what it finds, keeps, goes on from and passes by."""

from __future__ import annotations

import json

import pytest

from lep_core import pipeline
from lep_core.config import SweepConfig, TrainConfig
from lep_core.errors import ConfigError, OutputError
from tests.factories import SENTENCES, load_weights, save_weights
from tests.training.test_loop import OUTPUT, Recorder


class StopAfter(Recorder):
    """Asks to stop once so many rates have been measured at their end."""

    def __init__(self, rates: int) -> None:
        super().__init__()
        self.rates = rates

    def should_stop(self):
        return sum(record["step"] == 4 for record in self.metrics) >= self.rates


@pytest.fixture
def settings(tiny, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES) * 8, encoding="utf-8")
    (tmp_path / "heldout.txt").write_text("\n".join(SENTENCES[2:8]), encoding="utf-8")
    return {
        "model": str(tiny()),
        "input": (str(tmp_path / "text.txt"),),
        "heldout": (str(tmp_path / "heldout.txt"),),
        "output": str(tmp_path / "sweep"),
        "batch_size": 4,
        "block_size": 32,
        "steps": 20,
        "evaluate_every": 2,
        "device": "cpu",
    }


def test_each_rate_starts_from_the_same_model_and_the_best_is_named(settings, tmp_path) -> None:
    recorder = Recorder()
    report = pipeline.sweep_learning_rate(SweepConfig(**settings, rates=(1e-6, 5e-3)), recorder)
    slow, fast = report.rates
    assert report.steps == slow.steps == 4, "a fifth of 20"
    assert slow.bits_per_byte_before == fast.bits_per_byte_before
    assert fast.bits_per_byte_after < slow.bits_per_byte_after < slow.bits_per_byte_before
    assert report.best_learning_rate == 5e-3
    curves = [(record["learning_rate"], record["step"]) for record in recorder.metrics]
    assert curves == [(rate, step) for rate in (1e-6, 5e-3) for step in (0, 2, 4)]
    assert all(record.keys() == {"learning_rate", "step", "heldout_bits_per_byte"} for record in recorder.metrics)
    kept = sorted(str(path.relative_to(tmp_path / "sweep")) for path in (tmp_path / "sweep").rglob("*") if path.is_file())
    assert kept == ["rates/0.005.json", "rates/1e-06.json", "report.json"]
    direct = pipeline.train(TrainConfig(**{**settings, "output": str(tmp_path / "direct"), "steps": 4}, learning_rate=5e-3))
    assert direct.bits_per_byte_after == fast.bits_per_byte_after


def test_without_steps_a_share_of_one_pass_is_trained(settings, tmp_path) -> None:
    whole = pipeline.train(TrainConfig(**{**settings, "steps": None, "output": str(tmp_path / "whole")}))
    report = pipeline.sweep_learning_rate(SweepConfig(**{**settings, "steps": None}, rates=(1e-3,), share=0.1))
    assert report.steps == round(whole.steps * 0.1)


def test_a_stopped_sweep_goes_on_where_it_was(settings, tmp_path) -> None:
    config = SweepConfig(**settings, rates=(1e-4, 1e-3, 2e-3))
    first = pipeline.sweep_learning_rate(config, StopAfter(1))
    assert first.stopped
    assert [outcome.learning_rate for outcome in first.rates] == [1e-4]
    recorder = Recorder()
    second = pipeline.sweep_learning_rate(config.replace(resume=True), recorder)
    assert [outcome.learning_rate for outcome in second.rates] == [1e-4, 1e-3, 2e-3]
    assert not second.stopped
    assert second.rates[0] == first.rates[0]
    assert {record["learning_rate"] for record in recorder.metrics} == {1e-3, 2e-3}
    with pytest.raises(OutputError, match="batch_size was 4, now it is 8"):
        pipeline.sweep_learning_rate(config.replace(resume=True, batch_size=8))
    with pytest.raises(OutputError, match="not empty"):
        pipeline.sweep_learning_rate(config)


def test_a_rate_that_diverges_is_marked_and_the_others_go_on(settings, tmp_path, monkeypatch) -> None:
    from lep_core.training import state

    real = state.TrainingState.run_step

    def exploding(self, *arguments, learning_rate, **others):
        if learning_rate > 0.1:
            raise state.DivergedError("the loss became nan at step 1", "Lower it")
        return real(self, *arguments, learning_rate=learning_rate, **others)

    monkeypatch.setattr(state.TrainingState, "run_step", exploding)
    report = pipeline.sweep_learning_rate(SweepConfig(**settings, rates=(1.0, 1e-3)))
    assert [outcome.diverged for outcome in report.rates] == [True, False]
    assert report.rates[0].bits_per_byte_after is None
    assert report.rates[0].bits_per_byte_before == report.rates[1].bits_per_byte_before
    assert report.best_learning_rate == 1e-3
    record = json.loads((tmp_path / "sweep" / "report.json").read_text())
    assert record["report"]["rates"][0]["diverged"] is True


def test_a_training_whose_loss_is_not_finite_raises_what_the_sweep_waits_for(settings) -> None:
    """Weights so large that the first gradient overflows."""
    from pathlib import Path

    weights = load_weights(Path(settings["model"]))
    weights[OUTPUT] *= 1e37
    save_weights(Path(settings["model"]), weights)
    report = pipeline.sweep_learning_rate(SweepConfig(**settings, rates=(1e-3,)))
    assert report.rates[0].diverged
    assert report.best_learning_rate is None


def test_the_settings_have_no_learning_rate_of_their_own(settings) -> None:
    with pytest.raises(ConfigError, match="no setting called learning_rate"):
        SweepConfig.from_mapping({**settings, "learning_rate": 1e-3})
    with pytest.raises(ConfigError, match="runs in one process"):
        SweepConfig(**settings, processes=2)
    with pytest.raises(ConfigError, match=r"--rates is 2\.0"):
        SweepConfig(**settings, rates=(2.0,))
    with pytest.raises(ConfigError, match="--rates is empty"):
        SweepConfig(**settings, rates=())
    assert SweepConfig.from_mapping(json.loads(json.dumps(SweepConfig(**settings).to_mapping()))) == SweepConfig(**settings)
