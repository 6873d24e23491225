"""The build form shows what matters for the chosen variant and sends nothing else."""

import gradio as gr
import pytest

from lep_core.config import VARIANTS, BuildTokenizerConfig
from ui.i18n import LANGUAGES, Translator
from ui.tabs import vocabulary
from ui.tabs.vocabulary import FIELDS, explanation, hidden_fields

VALUES = {"new_tokens": 100, "vocab_size": 1000, "source": "folder", "keep_tokens": 50, "paper": True, "min_frequency": 3}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_explained_in_one_sentence(variant):
    for language in LANGUAGES:
        assert explanation(variant, Translator(language)).endswith(".")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_field_that_is_shown_is_accepted(variant):
    given = {"base": "b", "input": ["t"], "output": "o", "variant": variant, **({"source": "s"} if variant == "import" else {})}
    for name in FIELDS[variant]:
        BuildTokenizerConfig.from_mapping({**given, name: VALUES[name]})


def test_fields_of_other_variants_are_hidden():
    assert "source" in hidden_fields("bpe")
    assert "new_tokens" in hidden_fields("bpe")
    assert hidden_fields("import") == {name for names in FIELDS.values() for name in names} - {"source"}
    assert set(FIELDS) == set(VARIANTS)


def test_what_is_hidden_is_not_sent_and_the_result_is_measured(studio, project, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a", encoding="utf-8")
    with gr.Blocks() as page:
        studio.project = gr.Textbox()
        vocabulary.build(studio)
    start = next(item for item in page.fns.values() if len(item.inputs) > 8)
    named = {component.elem_id: component.value for component in start.inputs}
    entered = {**named, "build-variant": "bpe", "build-base": project.base, "build-input": [str(text)], "build-new-tokens": "500"}
    start.fn(project.id, *list(entered.values())[1:])
    built, *measured = sorted((run for _, run in studio.backend.queue.asked), key=lambda run: run.verb)
    assert built.config["variant"] == "bpe"
    assert built.config["new_tokens"] is None
    assert [run.config["tokenizer"] for run in measured] == [[project.base, str(built.output)]]
