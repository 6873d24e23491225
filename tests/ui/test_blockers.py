"""A button that cannot do its work yet says what it waits for."""

import gradio as gr
import pytest

from ui.blockers import button
from ui.i18n import LANGUAGES, Translator
from ui.studio import Studio
from ui.tabs import propagate, train


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_label_names_what_is_missing(language):
    t = Translator(language)
    waiting, ready = button(t("train.start"), "need.tokenizer", t), button(t("train.start"), None, t)
    assert t("need.tokenizer") in waiting["value"]
    assert t("train.start") in waiting["value"]
    assert waiting["interactive"] is False
    assert (ready["value"], ready["interactive"]) == (t("train.start"), True)


@pytest.mark.parametrize(
    ("tab", "name", "need"), [(train, "train-start", "need.tokenizer"), (propagate, "propagate-start", "need.trained")]
)
def test_a_step_waits_for_the_one_before(tab, name, need, backend, project, request):
    t = Translator("en")
    with gr.Blocks():
        parts = tab.build(Studio(backend=backend, t=t, project=gr.Dropdown(), tabs=gr.Tabs()))
    start = next(part for part in parts.outputs if part.elem_id == name)
    assert t(need) in parts.refresh(project)[start]["value"]
    request.getfixturevalue("chain")
    assert parts.refresh(project)[start]["interactive"] is True
