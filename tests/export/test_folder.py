"""Exported folders: same model, readable by others, with a card that states only what files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lep_core.config import ExportConfig
from lep_core.errors import LepError, ModelError, OutputError
from lep_core.export.folder import ExportReport, export_model, portable_fields
from lep_core.models import frozen_sha256, load_model
from lep_core.models.proof import logits_sha256
from tests.factories import edit_json, load_weights, save_weights

Tiny = Callable[..., Path]


def run(model: Path, output: Path) -> ExportReport:
    output.mkdir()
    return export_model(ExportConfig(model=str(model), output=str(output)), output)


@pytest.mark.parametrize(
    "options", [{}, {"shards": 3, "chat": True}, {"tied": True, "family": "sentencepiece", "dtype": "bfloat16", "padded": 4}], ids=str
)
def test_exported_folder_holds_the_same_model(tiny: Tiny, tmp_path: Path, options: dict) -> None:
    model = tiny(**options)
    (model / "run.log").write_text("private")
    (model / "LICENSE").write_text("terms")
    report = run(model, tmp_path / "out")
    assert (report.logits_equal, report.max_logit_difference, report.ids_equal) == (True, 0.0, True)
    before, after = load_weights(model), load_weights(tmp_path / "out")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert frozen_sha256(tmp_path / "out") == frozen_sha256(model)
    assert logits_sha256(tmp_path / "out") == logits_sha256(model)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "run.log" not in names
    assert {"README.md", "LICENSE", "config.json", "tokenizer.json"} <= names
    assert set(report.files) == names
    assert report.files_linked == options.get("shards", 1)


def test_weights_are_linked_not_copied(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    run(model, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").samefile(model / "model.safetensors")


def test_config_saved_by_transformers_5_is_readable_by_4(tiny: Tiny, tmp_path: Path) -> None:
    model, saved = tiny(chat=True), tmp_path / "saved"
    load_model(model).save_pretrained(saved)
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(model).save_pretrained(saved)
    assert "rope_theta" not in json.loads((saved / "config.json").read_text())
    run(saved, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["rope_theta"], config["torch_dtype"]) == (50000.0, "float32")
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_rope_scaling_is_put_back_too() -> None:
    rope = {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0}
    assert portable_fields({"rope_parameters": rope}) == {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}
    assert portable_fields({"rope_theta": 1e4, "torch_dtype": "bfloat16", "dtype": "bfloat16"}) == {}


def test_card_of_an_unknown_model_states_no_measurement(tiny: Tiny, tmp_path: Path) -> None:
    run(tiny(chat=True), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\n")
    assert "# license:" in card
    assert "apply_chat_template" in card
    assert "vllm serve" in card
    assert "AutoModelForCausalLM" in card
    assert "Measured" not in card
    assert "How it was made" not in card
    assert str(tmp_path) not in card


def test_card_follows_reports_back_to_the_source_models(tiny: Tiny, tmp_path: Path) -> None:
    base, instruct, adapted, result = (tiny(name=name) for name in ("the-base", "the-instruct", "trained", "result"))
    fit = {"tokens": 431, "rank": 32, "relative_residual": 0.1234, "heldout_residual": 0.2345, "worst_tokens": []}
    write_report(
        result,
        "propagate",
        {"base": str(base), "adapted": str(adapted), "instruct": str(instruct), "method": "conversion", "output": str(result)},
        {"method": "conversion", "input": fit, "output": None, "vocab_size": 404},
    )
    write_report(
        adapted,
        "train",
        {"model": str(tmp_path / "gone"), "steps": 17, "input": ["/private/place/novels.txt"]},
        {"steps": 17, "bits_per_byte_after": 0.4321},
    )
    (tmp_path / "evaluation").mkdir()
    row = {"model": "result", "task": "instruct/ru", "metric": "accuracy", "value": 0.5125, "low": 0.441, "high": 0.583, "n": 197}
    write_report(tmp_path / "evaluation", "evaluate", {}, {"results": [row]})
    run(result, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for part in (
        "the-base",
        "the-instruct",
        "steps = 17",
        "0.4321",
        "0.1234",
        "0.2345",
        "conversion",
        "| result | instruct/ru | accuracy | 0.5125 | 0.441 | 0.583 | 197 |",
    ):
        assert part in card
    assert card.index("### train") < card.index("### propagate")
    assert "/private" not in card
    assert str(tmp_path) not in card


def test_markup_in_names_cannot_break_the_card(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    write_report(model, "train", {"note": "<script>alert(1)</script>|`x`\n# head"}, {"steps": 1})
    run(model, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "<script>" not in card
    assert "\n# head" not in card


def test_tokenizer_that_transformers_would_rebuild_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny(family="sentencepiece")
    edit_json(model / "config.json", model_type="qwen2", architectures=["Qwen2ForCausalLM"])
    with pytest.raises(LepError):
        run(model, tmp_path / "out")


def test_export_into_the_model_itself_is_refused(tiny: Tiny) -> None:
    model = tiny()
    with pytest.raises(OutputError, match="inside each other"):
        run(model, model / "out")


def write_report(folder: Path, verb: str, config: dict, report: dict) -> None:
    (folder / "report.json").write_text(json.dumps({"verb": verb, "version": "0", "config": config, "report": report}))


def test_a_model_that_computes_nan_is_not_exported(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    weights = load_weights(model)
    weights["model.norm.weight"][0] = torch.nan
    save_weights(model, weights)
    with pytest.raises(ModelError, match="computes NaN or infinite logits"):
        run(model, tmp_path / "out")
