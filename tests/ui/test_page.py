"""The whole page: one structure in both languages, nothing public, nothing that runs markup, every tab drawn from files."""

import json

import gradio as gr
import pytest

from lep_core.runs.process import this_process
from ui.api import ENDPOINTS
from ui.i18n import LANGUAGES, Translator
from ui.layout import Visit, _news, build_page, theme
from ui.studio import TABS, latest_project

MOST_COMPONENTS = 1100
MOST_BYTES = 1_000_000


@pytest.fixture(params=LANGUAGES)
def built(request, backend, project, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return build_page(backend, language=request.param)


def test_only_the_api_is_public_and_limits_are_explicit(built):
    assert {function.name for function in built.fns.values() if function.api_visibility != "private"} == set(ENDPOINTS)
    for function in built.fns.values():
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


def handler(page, *, target, event):
    """The function behind an event of the component with this id in the page's HTML; "" is the page itself."""
    ids = {getattr(item, "elem_id", None): item._id for item in page.blocks.values()} | {"": page._id}
    return next(item.fn for item in page.fns.values() if (ids[target], event) in item.targets)


def timer(page):
    (found,) = [item for item in page.blocks.values() if isinstance(item, gr.Timer)]
    return next(item for item in page.fns.values() if (found._id, "tick") in item.targets)


def names(changes):
    return {component.elem_id for component in changes if hasattr(component, "elem_id")}


@pytest.fixture
def english(backend, project, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return build_page(backend, language="en")


def test_the_open_tab_is_drawn_from_the_run_directories_and_no_other(english, chain):
    changes = handler(english, target="", event="load")({"project": "test", "tab": "train"}, Visit())
    assert "/build-tokenizer-" in repr(changes)
    assert {"project-select", "job-status", "train-tokenizer", "steps"} <= names(changes)
    assert not {name for name in names(changes) if name.startswith(("propagate-", "benchmark-", "chat-"))}


def test_a_tab_is_drawn_when_it_is_opened_and_again_only_when_runs_have_changed(english, project, chain):
    visit = Visit()
    handler(english, target="", event="load")({"project": "test"}, visit)
    opened, show = handler(english, target="tab-propagate", event="select"), handler(english, target="state-of-things", event="change")
    assert "propagate-adapted" in names(opened("test", visit))
    assert names(opened("test", visit)) == {None}, "which tab is open goes to the browser's memory, nothing else changes"
    assert names(show("test", "", visit)) <= {"project-select"}
    project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]})
    assert "job-select" in names(show("test", "", visit))


def test_the_other_tabs_are_drawn_once_after_the_open_one(english, chain):
    visit = Visit()
    handler(english, target="", event="load")({"project": "test", "tab": "train"}, visit)
    chained = [item for item in english.fns.values() if item.trigger_after is not None and len(item.inputs) == 1]
    drawn = [item.fn(visit) for item in chained]
    assert len(drawn) == len(TABS)
    assert set(visit.drawn) == {*TABS, "panel"}


def test_the_first_tab_is_not_taken_for_opened_while_a_page_is_being_loaded(english):
    visit = Visit()
    handler(english, target="tab-project", event="select")("test", visit)
    assert visit.tab == ""


def test_a_tick_of_an_idle_page_changes_nothing_and_touches_three_hidden_texts_at_most(english, project, chain):
    tick, visit = timer(english), Visit()
    handler(english, target="", event="load")({"project": "test", "tab": "train"}, visit)
    assert len(tick.outputs) <= 3
    first = tick.fn("test", "", visit)
    assert first == tick.fn("test", "", visit)
    project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]})
    assert first != tick.fn("test", "", visit)


def test_progress_is_told_to_the_open_tab_only(english, project, chain, finish):
    tick, visit = timer(english), Visit()
    run = finish(project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]}), state="running", **this_process())
    handler(english, target="", event="load")({"project": "test", "tab": "train"}, visit)
    before = tick.fn("test", "", visit)
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n', encoding="utf-8")
    after = tick.fn("test", "", visit)
    assert {component.elem_id for component in after if after[component] != before[component]} == {"pulse-train"}
    handler(english, target="tab-export", event="select")("test", visit)
    assert names(tick.fn("test", "", visit)) == {"state-of-things"}


def test_events_tell_one_component_of_their_progress_at_most(english):
    # Gradio would tell each of hundreds of outputs at the beginning and the end of every event.
    named = {item.name: item.show_progress_on for item in english.fns.values() if item.api_visibility == "private"}
    assert {name for name, components in named.items() if components is None or len(components) > 1} <= {"announce"}
    assert timer(english).show_progress_on == []


def test_the_page_stays_small(english):
    assert len(english.blocks) < MOST_COMPONENTS
    assert len(json.dumps(english.get_config_file(), default=str)) < MOST_BYTES


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
