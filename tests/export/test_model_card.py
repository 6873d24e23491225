"""Cards state only what files say: the whole lineage, measurements of this very model, and nothing of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lep_core.config import ExportConfig
from lep_core.errors import ConfigError
from lep_core.export.folder import export_model
from lep_core.export.lineage import read_lineage
from lep_core.export.measurements import find_measurements
from lep_core.inference.fingerprint import fingerprint
from tests.factories import edit_json

Tiny = Callable[..., Path]
ROW = {"model": "result", "task": "instruct/ru", "metric": "accuracy", "value": 0.5125, "low": 0.441, "high": 0.583, "n": 197}


def card_of(model: Path, output: Path, **settings: Any) -> str:
    output.mkdir()
    export_model(ExportConfig(model=str(model), output=str(output), **settings), output)
    return (output / "README.md").read_text(encoding="utf-8")


def write_report(folder: Path, verb: str, config: dict[str, Any], report: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps({"verb": verb, "version": "0", "config": config, "report": report}))


@pytest.fixture
def calibrated(tiny: Tiny, tmp_path: Path) -> Path:
    """A model that went the whole way: corpus, tokenizer, initialise, train, propagate, calibrate."""
    base, instruct, start, trained, swapped, result = (
        tiny(name=name) for name in ("the-base", "the-instruct", "initialized", "trained", "swapped", "result")
    )
    for number, folder in enumerate((trained, swapped, result)):
        edit_json(folder / "config.json", comment=f"another model {number}")
    corpus, tokenizer = tmp_path / "news", tmp_path / "tokenizer"
    corpus.mkdir()
    (corpus / "corpus.json").write_text(json.dumps({"sha256": "ab12" * 16, "documents": 321, "characters": 45_678}))
    write_report(tokenizer, "build-tokenizer", {"base": str(base), "input": [str(corpus)], "variant": "continued-bpe"}, {"new_tokens": 99})
    write_report(start, "initialize", {"base": str(base), "tokenizer": str(tokenizer), "method": "mean"}, {"averaged_tokens": 99})
    write_report(
        trained,
        "train",
        {"model": str(start), "steps": 20, "learning_rate": 2e-4, "input": [str(corpus)], "device": "cpu", "seed": 3, "output": "/x/y"},
        {"steps": 17, "stopped": True, "bits_per_byte_after": 0.4321},
    )
    fit = {"tokens": 431, "rank": 32, "relative_residual": 0.1234, "heldout_residual": 0.2345, "worst_tokens": []}
    write_report(
        swapped,
        "propagate",
        {"base": str(base), "adapted": str(trained), "instruct": str(instruct), "method": "conversion"},
        {"method": "conversion", "input": fit, "output": None, "vocab_size": 404},
    )
    write_report(
        result,
        "calibrate",
        {"model": str(swapped), "teacher": str(instruct), "data": ["/private/place/answers.jsonl"], "lora_rank": 8},
        {"steps": 50, "conversations": 777},
    )
    return result


def test_card_of_an_unknown_model_states_no_measurement(tiny: Tiny, tmp_path: Path) -> None:
    card = card_of(tiny(chat=True), tmp_path / "out")
    assert card.startswith("---\n# license:")
    for part in ("apply_chat_template", "vllm serve", "AutoModelForCausalLM", "To be stated by the publisher"):
        assert part in card
    for part in ("Measured", "How it was made", "model-index", str(tmp_path)):
        assert part not in card


def test_card_follows_the_whole_way_back_to_the_source_models(calibrated: Path, tmp_path: Path) -> None:
    card = card_of(calibrated, tmp_path / "out")
    for part in (
        "base model **the-base**", "instruct model **the-instruct**", "teacher model **the-instruct**", "steps = 20", "learning_rate = 0.0002",
        "seed = 3", "device = cpu", "lora_rank = 8", "0.4321", "0.1234", "0.2345", "conversations | 777",
        f"| corpus news | 321 documents, 45,678 characters, SHA-256 {'ab12' * 16} |", "| checkpoint | calibrate: the weights after step 50 |",
    ):  # fmt: skip
        assert part in card
    headings = [f"### {verb}" for verb in ("build-tokenizer", "initialize", "train", "propagate", "calibrate")]
    places = [card.index(heading) for heading in headings]
    assert places == sorted(places)
    assert "/private" not in card
    assert str(tmp_path) not in card
    assert read_lineage(calibrated.with_name("trained")).checkpoint == "train: the weights after step 17 of 20, stopped there"


def test_only_reports_that_measured_this_very_model_count(calibrated: Path, tmp_path: Path) -> None:
    mark, items = fingerprint(calibrated), ["/private/place/questions.jsonl"]
    named = [{"name": "result", "path": "/moved/away", "fingerprint": mark}, {"name": "original", "fingerprint": "0" * 12}]
    write_report(
        tmp_path / "right", "evaluate", {"items": items}, {"models": named, "results": [ROW, ROW | {"model": "original", "value": 0.7125}]}
    )
    other = [{"name": "result", "path": str(calibrated), "fingerprint": "f" * 12}]
    write_report(tmp_path / "wrong", "evaluate", {"model": [str(calibrated)]}, {"models": other, "results": [ROW | {"value": 0.9999}]})
    write_report(
        tmp_path / "by-path", "evaluate", {"model": [str(calibrated)]}, {"results": [ROW | {"task": "bits-per-byte", "value": 0.876}]}
    )
    write_report(
        tmp_path / "speed", "benchmark-speed", {}, {"models": [{"model": "result", "fingerprint": mark, "characters_per_second": 123.4}]}
    )
    fertility = {"tokenizers": [{"name": "old", "tokens": 900}, {"name": "new", "tokens": 500, "characters_per_token": 3.21}]}
    write_report(tmp_path / "fertility", "measure-fertility", {"tokenizer": ["/else", str(tmp_path / "tokenizer")]}, fertility)
    card = card_of(calibrated, tmp_path / "out")
    assert "| result | instruct/ru | accuracy | 0.5125 | 0.441 | 0.583 | 197 |" in card
    assert "| original | instruct/ru | accuracy | 0.7125 |" in card
    assert "On questions.jsonl." in card
    for number in ("0.876", "123.4", "3.21"):
        assert number in card
    assert "0.9999" not in card
    assert "/private" not in card


def test_runs_of_the_same_project_are_found(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "project" / "runs" / "propagate-1"
    run.mkdir(parents=True)
    model = tiny(name="made").rename(run / "output")
    measured = tmp_path / "project" / "runs" / "evaluate-1"
    measured.mkdir()
    (measured / "run.json").write_text(json.dumps({"verb": "evaluate", "config": {"model": [str(model)], "items": []}}))
    report = {"models": [{"name": "propagate-1/output", "fingerprint": fingerprint(model)}], "results": [ROW]}
    (measured / "report.json").write_text(json.dumps(report))
    found = find_measurements(model, read_lineage(model))
    assert [(one.name, one.place, one.rows) for one in found.results] == [("propagate-1/output", "evaluate-1", [ROW])]


def test_the_hub_can_read_the_card(calibrated: Path, tmp_path: Path) -> None:
    """Parsed by huggingface_hub itself: licence, base models and evaluation results."""
    from huggingface_hub import ModelCard

    edit = json.loads((calibrated.with_name("swapped") / "report.json").read_text())
    edit["config"] |= {"instruct": "some-owner/some-instruct"}
    (calibrated.with_name("swapped") / "report.json").write_text(json.dumps(edit))
    named = [{"name": "result", "fingerprint": fingerprint(calibrated)}]
    rows = [ROW, ROW | {"metric": "chrf", "value": 44.25, "low": None, "high": None}, ROW | {"value": None}]
    write_report(tmp_path / "right", "evaluate", {"items": ["q: 'x'\n- evil.jsonl"]}, {"models": named, "results": rows})
    card_of(calibrated, tmp_path / "out", license="apache-2.0")
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "transformers", "text-generation")
    assert data.base_model == ["some-owner/some-instruct"]
    assert data.model_name == "out"
    results = {result.metric_type: result for result in data.eval_results or []}
    assert results["accuracy"].metric_value == 0.5125
    assert results["accuracy"].task_type == "text-generation"
    assert "n = 197" in results["accuracy"].metric_name
    assert results["chrf"].metric_value == 44.25


def test_markup_in_names_cannot_break_the_card(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    write_report(model, "train", {"note": "<script>alert(1)</script>|`x`\n# head"}, {"steps": 1})
    card = card_of(model, tmp_path / "out")
    assert "<script>" not in card
    assert "\n# head" not in card


@pytest.mark.parametrize("license", ["Apache 2.0", "mit\nevil: yes", "", "a/b"])
def test_a_licence_that_the_hub_cannot_know_is_refused(license: str) -> None:
    with pytest.raises(ConfigError, match="license"):
        ExportConfig(model="m", output="o", license=license)


@pytest.mark.parametrize(
    "name", ["alone", "../up", "a/b/c", "-a/b", "a/b--c", "имя/x", "a/b c", "a/" + "b" * 100, "https://huggingface.co/a/b"]
)
def test_a_repository_that_cannot_exist_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="push-to"):
        ExportConfig(model="m", output="o", push_to=name)


def test_number_formats_belong_to_gguf() -> None:
    with pytest.raises(ConfigError, match="for GGUF files"):
        ExportConfig(model="m", output="o", quantization="q8_0")
