"""The jobs panel is a pure picture of the run directories."""

import time

import gradio as gr
import pytest

from lep_core.runs.process import this_process
from ui.job_panel import JobPanel, error_text, status_text


@pytest.fixture
def panel(studio):
    with gr.Blocks():
        return JobPanel(studio)


def test_no_run_no_buttons(panel, project):
    changes = panel.render(project, "")
    assert "No job yet" in changes[panel.status]
    assert changes[panel.keep]["interactive"] is False


def test_a_running_job_shows_stage_share_and_time_left(studio, project, chain, finish):
    run = project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]})
    progress = {"stage": "training <b>", "done": 30, "total": 120, "unit": "steps", "eta_seconds": 90}
    finish(run, state="running", **this_process(), **progress)
    text = status_text(run, project, studio)
    assert "running" in text
    assert "25%" in text
    assert 'value="0.2500"' in text
    assert "1 min 30 s left" in text
    assert "<b>" not in text


def test_the_running_job_is_watched_unless_another_is_chosen(panel, project, chain, finish):
    assert panel.watched(project, "") == chain.propagated
    running = finish(
        project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]}), state="running", **this_process()
    )
    time.sleep(0.01)
    project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]})
    assert panel.watched(project, "") == running
    assert panel.watched(project, chain.trained.id) == chain.trained


def test_a_failure_shows_what_happened_and_what_to_do(panel, studio, project, chain, finish):
    error = {"kind": "CorpusError", "message": "line 3 of <x> is bad", "hint": "Mend it"}
    run = finish(project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]}), state="failed", error=error)
    text = error_text(run, studio.t)
    assert "line 3 of" in text
    assert "What to do: Mend it" in text
    assert "<x>" not in text
    assert panel.render(project, run.id)[panel.resume]["visible"] is True


def test_stopping_asks_the_queue(panel, studio, project, chain, finish):
    run = finish(project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]}), state="running", **this_process())
    panel._stop_keep(project.id, run.id)
    panel._stop_discard(project.id, run.id)
    assert studio.backend.queue.asked[-2:] == [("stop", run), ("discard", run)]


def test_the_picture_changes_only_when_the_files_do(panel, project, chain):
    assert panel.signature(project, "") == panel.signature(project, "")
    before = panel.signature(project, "")
    project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]})
    assert panel.signature(project, "") != before
