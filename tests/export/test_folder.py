"""Exported folders: same model, readable by others, with the proof in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from lep_core.config import ExportConfig
from lep_core.errors import LepError, ModelError, OutputError, TokenizerError
from lep_core.export.folder import portable_fields
from lep_core.export.outlook import export_outlook
from lep_core.inference.fingerprint import fingerprint
from lep_core.models import frozen_sha256, load_model
from lep_core.models.proof import logits_sha256
from lep_core.pipeline import export
from tests.export.models import family_model
from tests.factories import edit_json, load_weights, save_weights

Tiny = Callable[..., Path]


def run(model: Path, output: Path, **settings: Any) -> Any:
    return export(ExportConfig(model=str(model), output=str(output), **settings))


@pytest.mark.parametrize(
    "options", [{}, {"shards": 3, "chat": True}, {"tied": True, "family": "sentencepiece", "dtype": "bfloat16", "padded": 4}], ids=str
)
def test_exported_folder_holds_the_same_model(tiny: Tiny, tmp_path: Path, options: dict[str, Any]) -> None:
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


def test_the_report_says_which_model_it_was_and_where_it_is(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    record = {"verb": "train", "version": "0", "config": {"model": "x", "steps": 40}, "report": {"steps": 25, "stopped": True}}
    (model / "report.json").write_text(json.dumps(record))
    report = run(model, tmp_path / "out").to_json()
    assert report["source"] == str(model)
    assert report["output"] == str(tmp_path / "out")
    assert report["fingerprint"] == fingerprint(model)
    assert report["checkpoint"] == "train: the weights after step 25 of 40, stopped there"
    assert report["checkpoint"] == export_outlook(model, "hf").checkpoint
    assert report["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


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


def test_every_family_gives_the_same_ids_through_auto_tokenizer_or_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """transformers builds a tokenizer of its own for Qwen2; one that it would build differently never leaves."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    model = family_model(tmp_path, "qwen2")
    with suppress(TokenizerError):
        run(model, tmp_path / "out")
    if (tmp_path / "out").exists():
        text = "Ёлка 12345 don't  THEY'LL"
        plain = Tokenizer.from_file(str(model / "tokenizer.json"))
        assert AutoTokenizer.from_pretrained(tmp_path / "out")(text).input_ids == plain.encode(text).ids


def test_tokenizer_that_transformers_would_rebuild_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny(family="sentencepiece")
    edit_json(model / "config.json", model_type="qwen2", architectures=["Qwen2ForCausalLM"])
    with pytest.raises(LepError):
        run(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["hf", "gguf"])
def test_export_into_the_model_itself_is_refused(tiny: Tiny, format: str) -> None:
    model = tiny()
    with pytest.raises(OutputError, match="inside each other"):
        run(model, model / "out", format=format)


def test_a_used_folder_is_refused_and_a_result_is_replaced_on_demand(tiny: Tiny, tmp_path: Path) -> None:
    model, output = tiny(), tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not empty"):
        run(model, output)
    with pytest.raises(OutputError, match="something else than a result"):
        run(model, output, overwrite=True)
    (output / "thesis.txt").unlink()
    for _ in range(2):
        run(model, output, format="gguf", overwrite=True)
    run(model, output, overwrite=True)
    assert not list(output.glob("*.gguf"))


def test_a_model_without_tokenizer_is_refused_before_and_at_the_work(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    (model / "tokenizer.json").unlink()
    outlook = export_outlook(model, "hf")
    assert not outlook.possible
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        run(model, tmp_path / "out")
    assert "tokenizer.json" in outlook.message


def test_a_model_that_computes_nan_is_not_exported(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    weights = load_weights(model)
    weights["model.norm.weight"][0] = torch.nan
    save_weights(model, weights)
    for format in ("hf", "gguf"):
        with pytest.raises(ModelError, match="NaN or infini"):
            run(model, tmp_path / "out", format=format)
        assert not (tmp_path / "out").exists()
