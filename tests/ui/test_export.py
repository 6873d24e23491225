"""The export tab: what it says before the click and after, in both languages; no upload without a tick."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lep_core.config import ExportConfig
from lep_core.export.outlook import export_outlook
from lep_core.export.remarks import ENGLISH
from lep_core.pipeline import export
from tests.factories import edit_json
from ui.export_view import card_preview, card_source, outlook_of, outlook_text, proof_text, snippets
from ui.i18n import LANGUAGES, TEXTS, Translator

Tiny = Callable[..., Path]


def exported(model: Path, output: Path, **settings: Any) -> dict[str, Any]:
    return export(ExportConfig(model=str(model), output=str(output), **settings)).to_json()


def test_every_remark_has_words_in_both_languages() -> None:
    assert {f"export.remark.{code}" for code in ENGLISH} == {key for key in TEXTS if key.startswith("export.remark.")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_outlook_says_what_llama_cpp_will_do(language: str, tiny: Tiny) -> None:
    t = Translator(language)
    text = outlook_text(export_outlook(tiny(), "gguf", "q8_0"), t)
    assert t("export.possible") in text
    assert "smaug-bpe" in text
    assert "float32" in text
    assert text.count("⚠") == 1  # rounding


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refusal_is_said_before_the_click_without_flags(language: str, tiny: Tiny) -> None:
    model = tiny()
    edit_json(model / "tokenizer.json", normalizer={"type": "Lowercase"})
    t = Translator(language)
    text = outlook_text(export_outlook(model, "gguf"), t)
    assert t("export.impossible") in text
    assert "Lowercase" in text
    assert "&#45;&#45;format" not in text
    assert "--format" not in text


def test_the_outlook_follows_a_changed_folder(tiny: Tiny) -> None:
    model = tiny()
    assert outlook_of(str(model), "gguf", "auto").possible
    (model / "tokenizer.json").unlink()
    assert not outlook_of(str(model), "gguf", "auto").possible


def test_the_proof_names_the_model_and_what_was_checked(tiny: Tiny, tmp_path: Path) -> None:
    t = Translator("en")
    report = exported(tiny(), tmp_path / "out")
    text = proof_text(report, "My *model*", t)
    assert "equal logits" in text
    assert report["fingerprint"] in text
    assert "*model*" not in text
    rounded = proof_text(exported(tiny(), tmp_path / "file", format="gguf", quantization="q8_0"), "m", t)
    assert "logits differ by at most" in rounded
    assert "llama.cpp" in rounded
    assert "%" in rounded


def test_snippets_point_at_the_result(tiny: Tiny, tmp_path: Path) -> None:
    report = exported(tiny(chat=True), tmp_path / "out")
    code = {snippet.program: snippet.code for snippet in snippets(tmp_path / "out", report)}
    assert set(code) == {"transformers", "vLLM"}
    assert json.dumps(str(tmp_path / "out")) in code["transformers"]
    assert "apply_chat_template" in code["transformers"]
    report = exported(tiny(chat=True), tmp_path / "file", format="gguf")
    code = {snippet.program: snippet.code for snippet in snippets(tmp_path / "file", report)}
    assert set(code) == {"llama.cpp", "Ollama"}
    assert str(tmp_path / "file" / "file-F32.gguf") in code["llama.cpp"]


def test_the_preview_leaves_out_metadata_and_foreign_pictures(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n\n# Title\n\n![spy](http://elsewhere/x.png)\n")
    shown = card_preview(card_source(tmp_path), Translator("en"))
    assert shown.startswith("# Title")
    assert "![" not in shown
    assert card_preview("", Translator("ru")) == "Карточки модели нет."
