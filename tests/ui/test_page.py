"""The whole page: one structure in both languages, nothing public, nothing that runs markup, every tab drawn from files."""

import gradio as gr
import pytest

from ui.i18n import LANGUAGES, Translator
from ui.layout import _news, build_page, theme
from ui.studio import TABS, latest_project


@pytest.fixture(params=LANGUAGES)
def built(request, backend, project, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return build_page(backend, language=request.param)


def test_no_endpoint_is_public_and_limits_are_explicit(built):
    for function in built.fns.values():
        assert function.api_visibility == "private", function.name
        assert not function.queue or function.concurrency_limit == 16, function.name


def test_nothing_on_the_page_runs_markup(built):
    for component in built.blocks.values():
        assert not isinstance(component, gr.HTML)
        assert getattr(component, "sanitize_html", True) is True
        if isinstance(component, gr.Chatbot):
            assert component.render_markdown is False
        if isinstance(component, gr.Dataframe):
            assert "html" not in str(component.datatype)
            assert "markdown" not in str(component.datatype)


def test_all_tabs_are_there_in_order(built):
    steps = [item.id for item in built.blocks.values() if isinstance(item, gr.Tab) and item.elem_id.startswith("tab-")]
    assert steps == list(TABS)


def test_element_ids_are_unique(built):
    ids = [item.elem_id for item in built.blocks.values() if getattr(item, "elem_id", None)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("entered", [({"project": "test"},), ("test", "", {})], ids=["load", "tick"])
def test_the_page_is_drawn_from_the_run_directories(built, chain, entered):
    function = next(item for item in built.fns.values() if len(item.outputs) > 40 and len(item.inputs) == len(entered))
    changes = function.fn(*entered)
    text = repr(changes)
    assert "/propagate-" in text
    assert "/train-" in text


def test_what_was_sent_before_is_not_sent_again():
    with gr.Blocks():
        box = gr.Textbox()
    sent: dict[str, str] = {}
    assert _news({box: gr.update(value="a")}, sent)
    assert not _news({box: gr.update(value="a")}, sent)
    assert _news({box: gr.update(value="b")}, sent)


def test_the_theme_loads_no_font_from_outside():
    assert not theme()._stylesheets
    assert "googleapis" not in theme()._get_theme_css()


def test_the_languages_differ_in_words_only():
    english, russian = Translator("en"), Translator("ru")
    assert english("tab.train") != russian("tab.train")


def test_a_new_visitor_sees_the_project_that_was_worked_on_last(backend, project, chain):
    # By name the other one comes first; this one has the newest run.
    backend.workspace.create_project("Another", base=project.base, instruct=project.instruct)
    assert latest_project(backend.workspace).id == "another"
    project.create_run("build-tokenizer", {"base": project.base, "input": [chain.text]})
    assert latest_project(backend.workspace) == project
