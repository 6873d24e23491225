"""Saving, loading, copying, renaming, deleting and putting back a project, through the handlers of the page."""

import json
from pathlib import Path

import gradio as gr
import pytest

from lep_core.errors import InputError, JobError
from ui.i18n import Translator
from ui.studio import Studio
from ui.tabs.manage_project import ManagedProject


@pytest.fixture
def part(backend, project, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    with gr.Blocks():
        return ManagedProject(Studio(backend=backend, t=Translator("en"), project=gr.Dropdown(), tabs=None))


def opened(part, changes) -> str:
    return changes[part.studio.project]["value"]


def test_the_saved_file_makes_an_equal_project(part, backend, project):
    file = Path(part.refresh(project)[part.save]["value"])
    assert json.loads(file.read_text())["base"] == project.base
    made = backend.workspace.project(opened(part, part.on_load(str(file))))
    assert (made.name, made.base, made.instruct) == ("Test 2", project.base, project.instruct)


def test_a_copy_takes_its_runs_along_if_wanted(part, backend, project, chain):
    plain = backend.workspace.project(opened(part, part.on_clone(project.id, " With  space ", with_runs=False)))
    whole = backend.workspace.project(opened(part, part.on_clone(project.id, "", with_runs=True)))
    assert (plain.name, plain.runs()) == ("With space", [])
    assert [run.verb for run in whole.runs()] == [run.verb for run in project.runs()]


def test_renaming_needs_a_name_of_its_own(part, backend, project):
    backend.workspace.create_project("Other")
    for name in ("", "Other"):
        with pytest.raises(InputError):
            part.on_rename(project.id, name)
    part.on_rename(project.id, "New name")
    assert project.name == "New name"


def test_deleting_asks_first_and_can_be_undone(part, backend, project, chain):
    asked = part.on_delete(project.id)
    assert asked[part.sure.row]["visible"] is True
    assert "4 runs" in asked[part.sure.question]
    assert project.path.is_dir()
    after = part.on_delete_really(project.id)
    assert opened(part, after) is None
    ((label, value),) = after[part.bin.chosen]["choices"]
    assert value == project.id
    assert label.startswith("Test · ")
    assert opened(part, part.on_put_back(value)) == project.id
    assert len(project.runs()) == 4


def test_the_trash_is_emptied_after_a_question_only(part, project, chain):
    part.on_delete_really(project.id)
    asked = part.bin.question(part.root)
    assert asked[part.bin.sure.row]["visible"] is True
    assert part.on_empty()[part.bin.row]["visible"] is False
    with pytest.raises(InputError):
        part.on_put_back(project.id)


def test_a_project_with_a_waiting_run_is_not_deleted(part, project, chain):
    project.create_run("build-tokenizer", {"base": project.base, "input": [chain.text]})
    with pytest.raises(JobError):
        part.on_delete_really(project.id)
    assert project.path.is_dir()


def test_nothing_chosen_is_said(part):
    with pytest.raises(InputError):
        part.on_put_back(None)
