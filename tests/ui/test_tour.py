"""The tour knows from the files what is done and what comes next."""

import gradio as gr

from ui.i18n import Translator
from ui.studio import TABS, Studio
from ui.tabs import tour
from ui.tour_steps import DONE, NEXT, OPEN, marks


def test_a_new_project_begins_with_the_corpus(project):
    marked = marks(project)
    assert list(marked) == list(TABS)
    assert marked["project"] == DONE
    assert marked["corpus"] == NEXT
    assert set(marked.values()) == {DONE, NEXT, OPEN}


def test_a_project_without_models_begins_with_the_models(workspace):
    assert marks(workspace.create_project("Empty"))["project"] == NEXT


def test_finished_runs_and_chats_mark_their_steps(project, chain):
    marked = marks(project)
    assert [marked[name] for name in ("tokenizer", "train", "propagate", "chat")] == [DONE, DONE, DONE, OPEN]
    (project.path / "chats").mkdir()
    (project.path / "chats" / "chat-1.jsonl").write_text("{}\n")
    assert marks(project)["chat"] == DONE


def test_a_step_that_may_be_left_out_is_never_the_next_one(project, finish):
    finish(project.create_run("adapt", {"base": project.base, "instruct": project.instruct, "input": [__file__]}))
    marked = marks(project)
    assert marked["calibrate"] == OPEN
    assert marked["chat"] == NEXT


def test_all_steps_are_one_click_away_and_closing_is_remembered(backend, project):
    with gr.Blocks() as page:
        tabs = gr.Tabs()
        studio = Studio(backend=backend, t=Translator("en"), project=gr.Dropdown(), tabs=tabs)
        parts = tour.build(studio)
    (found,) = parts.outputs
    drawn = next(function for function in page.fns.values() if function.targets == [(found._id, "change")])
    marked = parts.refresh(project)[found]
    texts = {getattr(part, "elem_id", None): change for part, change in drawn.fn(marked, {}).items()}
    assert texts["tour-corpus"]["value"].startswith(NEXT)
    assert texts["tour-corpus"]["variant"] == "primary"
    assert texts["tour"]["open"] is True
    assert "open" not in next(change for part, change in drawn.fn(marked, {"closed": True}).items() if part.elem_id == "tour")
    clicks = [function for function in page.fns.values() if any(event == "click" for _, event in function.targets)]
    assert [change["selected"] for function in clicks for part, change in function.fn().items() if part is tabs] == list(TABS)
