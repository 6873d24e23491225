"""What is deleted can be put back; what is in use cannot be deleted."""

from __future__ import annotations

import time

import pytest

from lep_core.errors import InputError, JobError
from lep_core.files import write_json
from lep_core.runs import trash
from lep_core.runs.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def project(workspace, tmp_path):
    (tmp_path / "text.txt").write_text("text")
    return workspace.create_project("Test", base="base", instruct="instruct")


def ended(run, state="succeeded"):
    write_json(run.path / "status.json", {"state": state, "heartbeat": time.time()})
    if run.output is not None:
        run.output.mkdir(parents=True)
        (run.output / "config.json").write_text("{}")
    return run


def corpus(project, tmp_path):
    return project.create_run("add-corpus", {"input": [str(tmp_path / "text.txt")]})


def test_a_deleted_run_and_its_corpus_come_back(project, tmp_path):
    run = ended(corpus(project, tmp_path))
    before = (run.path / "run.json").read_bytes()
    trash.delete_run(run, project)
    assert project.runs() == []
    assert not run.output.exists()
    (deleted,) = trash.listing(project.path)
    assert deleted.id == run.id
    assert deleted.size_bytes > len(before)
    assert trash.restore_run(run.id, project) == run
    assert (run.path / "run.json").read_bytes() == before
    assert (run.output / "config.json").is_file()
    assert trash.listing(project.path) == []


def test_a_run_that_has_not_ended_or_is_waited_for_stays(project, tmp_path):
    run = corpus(project, tmp_path)
    with pytest.raises(JobError, match="is queued"):
        trash.delete_run(run, project)
    ended(run)
    later = project.create_run("measure-fertility", {"tokenizer": ["base"], "input": [str(run.output)]})
    assert trash.users_of(run, project) == [later]
    with pytest.raises(JobError, match="needs the result"):
        trash.delete_run(run, project)
    ended(later)
    trash.delete_run(run, project)
    assert project.runs() == [later]


def test_a_deleted_project_comes_back_even_after_another_of_its_name(workspace, project, tmp_path):
    run = ended(corpus(project, tmp_path))
    trash.delete_project(workspace, project)
    assert workspace.projects() == []
    again = workspace.create_project("Test")
    assert again.id == project.id
    with pytest.raises(JobError, match="already"):
        trash.restore_project(workspace, project.id)
    trash.delete_project(workspace, again)
    assert [item.id for item in trash.listing(workspace.path)].count("test--2") == 1
    assert trash.restore_project(workspace, "test").runs() == [run]


def test_a_project_with_a_waiting_run_stays(workspace, project, tmp_path):
    corpus(project, tmp_path)
    with pytest.raises(JobError, match="is queued"):
        trash.delete_project(workspace, project)


def test_the_emptied_trash_holds_nothing(project, tmp_path):
    run = ended(corpus(project, tmp_path))
    trash.delete_run(run, project)
    trash.empty(project.path)
    assert trash.listing(project.path) == []
    with pytest.raises(InputError):
        trash.restore_run(run.id, project)


@pytest.mark.parametrize("name", ["../test", "", "a/b", "."])
def test_only_names_of_the_trash_are_taken(workspace, name):
    with pytest.raises(InputError):
        trash.restore_project(workspace, name)
