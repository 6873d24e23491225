"""A project's settings survive a file; a copy stands on its own."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from lep_core.errors import InputError
from lep_core.files import write_json
from lep_core.runs.copies import clone_project, project_from, read_settings, write_settings
from lep_core.runs.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "рабочее место")


@pytest.fixture
def project(workspace, tmp_path):
    made = workspace.create_project("Тест", base="base", instruct="owner/name", language="ru")
    (made.path / "files").mkdir()
    (made.path / "files" / "a.txt").write_text("text")
    made.update_settings(text_files=[str(made.path / "files" / "a.txt")], defaults={"steps": 7})
    return made


@pytest.fixture
def chain(project):
    """A corpus, and a tokenizer made from it."""
    text = project.settings["text_files"]
    first = project.create_run("add-corpus", {"input": text})
    second = project.create_run("build-tokenizer", {"base": "base", "input": [str(first.output)]}, after=[first.id])
    for run, file in ((first, "documents.parquet"), (second, "tokenizer.json")):
        write_json(run.path / "status.json", {"state": "succeeded", "heartbeat": time.time()})
        run.output.mkdir(parents=True)
        (run.output / file).write_text(json.dumps({"from": str(run.output)}))
    return first, second


def test_saved_settings_make_an_equal_project(workspace, project, tmp_path):
    file = write_settings(project, tmp_path / "saved.json")
    made = project_from(workspace, read_settings(file))
    assert made.name == "Тест 2"
    assert (made.base, made.instruct, made.language, made.settings) == (project.base, project.instruct, "ru", project.settings)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "[" * 5000,
        '{"format": "other"}',
        '{"format": "lep-studio-project", "version": 9}',
        '{"format": "lep-studio-project", "version": 1, "base": 5}',
        '{"format": "lep-studio-project", "version": 1, "settings": []}',
    ],
    ids=range(8),
)
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(InputError):
        read_settings(tmp_path / "file.json")


def test_a_copy_without_runs_has_texts_of_its_own(workspace, project, chain):
    made = clone_project(workspace, project, with_runs=False)
    (text,) = made.settings["text_files"]
    assert text == str(made.path / "files" / "a.txt")
    assert Path(text).read_text() == "text"
    assert made.runs() == []


def test_a_copy_with_runs_names_its_own_folders(workspace, project, chain):
    made = clone_project(workspace, project, "Copy", with_runs=True)
    second, first = made.runs()
    assert [run.verb for run in (first, second)] == ["add-corpus", "build-tokenizer"]
    assert not {run.id for run in made.runs()} & {run.id for run in project.runs()}
    assert second.after == (first.id,)
    assert second.config["input"] == [str(first.output)]
    assert first.output.parent == made.path / "corpora"
    assert json.loads((second.output / "tokenizer.json").read_text()) == {"from": str(second.output)}
    assert str(project.path) + "/" not in (second.path / "run.json").read_text()


def test_large_results_are_shared_and_outlive_the_original(workspace, project, chain):
    first, _ = chain
    made = clone_project(workspace, project, with_runs=True)
    copied = next(run for run in made.runs() if run.verb == "add-corpus").output / "documents.parquet"
    original = first.output / "documents.parquet"
    assert copied.stat().st_ino == original.stat().st_ino
    original.unlink()
    assert copied.is_file()


def test_what_has_not_ended_is_not_copied(workspace, project, chain):
    project.create_run("add-corpus", {"input": project.settings["text_files"]})
    assert len(clone_project(workspace, project, with_runs=True).runs()) == 2
