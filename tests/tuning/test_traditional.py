"""The traditional way as one path: command line and `adapt` make an instruct model from the adapted base model and given data."""

from __future__ import annotations

import json

import pytest

from lep_core.adapt import adapt
from lep_core.cli import main
from lep_core.config import AdaptConfig
from lep_core.errors import ConfigError, CorpusError
from lep_core.models import inspect_model
from tests.factories import SENTENCES, edit_json
from tests.tuning.data import as_records, conversations, write_jsonl


def test_the_command_makes_an_instruct_model_of_a_base_model(tiny, tmp_path, capsys):
    base = tiny()
    instruct = tiny(sibling_of=base, chat=True)
    data = write_jsonl(tmp_path / "data.jsonl", as_records(conversations(12)))
    words = ["calibrate", "--model", base, "--data", data, "--template-from", instruct, "--preset", "traditional"]
    words += ["--steps", 2, "--batch-size", 4, "--device", "cpu", "--output", tmp_path / "out", "--json"]
    assert main([str(word) for word in words]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["steps"], report["preset"], report["template"]) == (2, "traditional", str(instruct))
    assert report["conversations"] + report["heldout_conversations"] == 12
    assert inspect_model(tmp_path / "out").has_chat_template
    record = json.loads((tmp_path / "out" / "report.json").read_text())
    assert record["verb"] == "calibrate"
    assert main([str(word) for word in words]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.fixture
def settings(tiny, tmp_path):
    base = tiny()
    values = {
        "base": str(base),
        "instruct": str(tiny(sibling_of=base, chat=True)),
        "input": (str(write_jsonl(tmp_path / "ru.jsonl", [{"text": " ".join(SENTENCES[6:]) + f" {n}"} for n in range(60)])),),
        "output": str(tmp_path / "out"),
        "instruction_data": (str(write_jsonl(tmp_path / "data.jsonl", as_records(conversations(12)))),),
        "instruction_preset": "laptop",
        "steps": 2,
        "batch_size": 2,
        "block_size": 32,
        "new_tokens": 20,
        "limit": 2,
        "device": "cpu",
    }
    return lambda **changes: AdaptConfig(**(values | changes))


def test_adapt_measures_the_traditional_result_with_the_others(settings, tmp_path):
    report = adapt(settings()).to_json()
    assert report["traditional"]["template"] == settings().instruct
    assert {"instruct-conversion", "traditional", "untrained"} < {row["model"] for row in report["results"]}
    assert {"instruct-conversion", "traditional"} < {row["model"] for row in report["speed"]}
    assert inspect_model(tmp_path / "out" / "traditional").has_chat_template
    again = adapt(settings(resume=True)).to_json()
    assert again["traditional"] == report["traditional"]


def test_what_cannot_work_is_refused_before_the_first_stage(settings, tiny, tmp_path):
    with pytest.raises(CorpusError, match="its keys are text"):
        adapt(settings(instruction_data=settings().input))
    edit_json(tmp_path / "model-1" / "tokenizer_config.json", chat_template=None)
    with pytest.raises(ConfigError, match="has no chat template, so there is no way to ask it"):
        adapt(settings())
    assert not (tmp_path / "out").exists()
