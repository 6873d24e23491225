"""A job that ends is announced once, in the open project only."""

import gradio as gr
import pytest

from ui import toasts
from ui.i18n import Translator
from ui.studio import Studio


@pytest.fixture
def announce(backend, monkeypatch):
    """The handler, and what it has said."""
    said = []
    for name in ("Info", "Success", "Warning"):
        monkeypatch.setattr(gr, name, lambda text, duration=0, name=name: said.append((name, text)))
    with gr.Blocks() as page:
        changed = gr.Textbox()
        toasts.connect(Studio(backend=backend, t=Translator("en"), project=gr.Dropdown(), tabs=None), changed)
    (function,) = page.fns.values()

    def run(project_id, known):
        return next(iter(function.fn(project_id, known).values()))

    return run, said


def test_what_ended_before_is_no_news(announce, project, chain):
    run, said = announce
    known = run(project.id, {})
    assert said == []
    assert run(project.id, known) == known
    assert said == []


def test_each_end_is_said_once(announce, project, chain, finish):
    run, said = announce
    known = run(project.id, {})
    finish(project.create_run("train", chain.trained.config))
    error = {"kind": "InputError", "message": "it is empty", "hint": "Fill it"}
    finish(project.create_run("train", chain.trained.config), state="failed", error=error)
    known = run(project.id, known)
    assert {name for name, _ in said} == {"Success", "Warning"}
    assert any("Training 2: done" in text for _, text in said)
    run(project.id, known)
    assert len(said) == 2


def test_another_project_brings_no_old_news(announce, backend, project, chain):
    run, said = announce
    other = backend.workspace.create_project("Other")
    known = run(other.id, {})
    run(project.id, known)
    assert said == []
