"""Speeds are measured in turn on the same prompts, and stand beside what the models' shapes predict."""

from __future__ import annotations

import json

import pytest

from lep_core.config import BenchmarkSpeedConfig
from lep_core.errors import CorpusError
from lep_core.evaluation.cost import gain, model_cost
from lep_core.evaluation.speed import benchmark_speed, choose_prompts, cost_of, tokens_of
from lep_core.inference.generator import Generator
from lep_core.progress import SilentReporter
from tests.factories import SENTENCES, tiny_model

PARAGRAPHS = [" ".join(SENTENCES[start : start + 4]) for start in (0, 4, 8)]


class Recorder(SilentReporter):
    def __init__(self):
        self.metrics = []

    def metric(self, record):
        self.metrics.append(dict(record))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    small = tiny_model(place, name="small")
    return [small, tiny_model(place, name="again"), tiny_model(place, name="large", vocab_size=700)]


@pytest.fixture(scope="module")
def report(folders):
    config = BenchmarkSpeedConfig(
        model=tuple(map(str, folders)), input=("given",), prompts=2, characters=20, repeats=2, device="cpu", threads=1
    )
    reporter = Recorder()
    report = benchmark_speed(config, PARAGRAPHS, reporter=reporter).to_json()
    assert reporter.metrics == report["models"]
    return report


def test_speed_is_measured_for_all_models_on_the_same_prompts(report):
    json.dumps(report, allow_nan=False)
    assert report["prompts"] == 2
    assert [row["model"] for row in report["models"]] == ["small", "again", "large"]
    for row in report["models"]:
        assert row["repeats"] == 2
        assert row["characters_per_second_min"] <= row["characters_per_second"] <= row["characters_per_second_max"]
        assert row["time_to_first_token_seconds"] > 0
        assert row["tokens_per_second"] > 0
        assert row["generated_characters"] / row["generated_tokens"] == row["characters_per_token"]
        assert row["measured_speedup_low"] <= row["measured_speedup"] <= row["measured_speedup_high"]
    assert len({row["prompt_characters"] for row in report["models"]}) == 1


def test_the_first_model_is_the_measure_of_all_speedups(report):
    first = report["models"][0]
    assert first["measured_speedup"] == first["predicted_speedup"] == first["predicted_compute_speedup"] == first["relative_cost"] == 1


def test_predictions_follow_from_shapes_and_tokens(report, folders):
    models = [Generator.load(folder, device="cpu", threads=1) for folder in folders]
    prompts = choose_prompts(PARAGRAPHS, 2)
    small, large = (model_cost(json.loads((folders[at] / "config.json").read_text())) for at in (0, 2))
    assert [cost_of(models[0]), cost_of(models[2])] == [small, large]
    rows = report["models"]
    turns = 2 * len(prompts)
    attended = (rows[0]["prompt_tokens"] + rows[0]["generated_tokens"] / 2) / turns
    expected = gain(large, tokens_of(models[2], prompts), small, tokens_of(models[0], prompts), attended=attended, weight_bytes=(4, 4))
    assert rows[2]["predicted_speedup"] == pytest.approx(expected.bandwidth_speedup)
    assert rows[2]["relative_cost"] == pytest.approx(expected.relative_cost)
    assert rows[2]["relative_head_cost"] > rows[2]["relative_body_cost"]
    per_character = tokens_of(models[0], prompts) / sum(map(len, prompts))
    assert rows[0]["flops_per_token"] == pytest.approx(small.flops_per_token(attended))
    assert rows[0]["gflop_per_1000_characters"] == pytest.approx(rows[0]["flops_per_token"] * per_character / 1e6)


def test_prompts_are_distinct_beginnings_cut_at_words():
    prompts = choose_prompts(["word " * 2000, "short text"], 4)
    assert "short text" in prompts
    assert all(len(prompt) <= 200 and prompt.split()[-1] in ("word", "text") for prompt in prompts)
    assert len(choose_prompts([f"{number} " * 3000 for number in range(3)], 5)) >= 3
    with pytest.raises(CorpusError, match="no text"):
        choose_prompts(["  "], 2)
