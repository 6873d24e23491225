"""Projects and run directories are plain files, confined to the workspace."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from lep_core.config import AddCorpusConfig, TrainConfig
from lep_core.errors import ConfigError, InputError, JobError, OutputError
from lep_core.files import read_json, write_json
from lep_core.runs.run import Run
from lep_core.runs.workspace import Workspace, slug


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def project(workspace):
    return workspace.create_project("Мой проект", base="base", instruct="instruct")


def finished(run, files=()):
    run.output.mkdir(parents=True)
    for name in files:
        path = run.output / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    return run


def test_project_names_keep_their_letters_and_ids_are_safe(workspace):
    first, second = workspace.create_project("Мой проект: Ёжик"), workspace.create_project("мой проект ёжик")
    assert (first.name, first.id) == ("Мой проект: Ёжик", "moy-proekt-ezhik")
    assert second.id == "moy-proekt-ezhik-2"
    assert workspace.project(first.id) == first
    assert workspace.find_project("Мой проект: Ёжик") == first
    assert set(workspace.projects()) == {first, second}


@pytest.mark.parametrize("name", ["日本", "../..", "...", "CON", "a" * 200])
def test_slugs_are_plain_folder_names(name):
    assert slug(name).replace("-", "").isalnum()
    assert len(slug(name)) <= 48


@pytest.mark.parametrize("bad", ["", " \n", "x" * 201])
def test_impossible_project_names_are_refused(workspace, bad):
    with pytest.raises(ConfigError):
        workspace.create_project(bad)


@pytest.mark.parametrize("bad", ["..", "../other", "/etc", "a/b", "a\\b", "", ".", "A", "x\0", "-", "a\n"])
def test_ids_that_lead_out_of_the_workspace_are_refused(workspace, project, bad):
    with pytest.raises(InputError):
        workspace.project(bad)
    with pytest.raises(InputError):
        project.run(bad)


def test_a_project_that_is_a_link_to_elsewhere_is_refused(workspace, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    write_json(outside / "project.json", {"name": "outside"})
    (workspace.path / "linked").symlink_to(outside)
    with pytest.raises(InputError):
        workspace.project("linked")


def test_settings_of_many_threads_are_all_kept(project):
    threads = [threading.Thread(target=project.update_settings, kwargs={f"key{index}": index}) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert project.settings == {f"key{index}": index for index in range(8)}
    project.update_settings(base="other", key0=None)
    assert project.base == "other"
    assert "key0" not in project.settings


def test_a_run_holds_its_complete_checked_config(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    run = project.create_run("train", {"model": "model", "input": ["hf://text"], "steps": 3}, {"model": "initialize-1"})
    assert project.run(run.id) == run
    assert isinstance(run.typed_config(), TrainConfig)
    assert run.config["model"] == str(tmp_path / "model")
    assert run.config["input"] == ["hf://text"]
    assert (run.config["output"], run.config["checkpoints"]) == (str(run.path / "output"), str(run.path / "checkpoints"))
    assert (run.verb, run.inputs, run.after, run.record["seed"]) == ("train", {"model": "initialize-1"}, (), 0)
    assert run.status().state == "queued"
    assert run.report() is None
    assert run.metrics() == []


def test_bad_values_leave_no_run_behind(project):
    with pytest.raises(ConfigError) as caught:
        project.create_run("train", {"model": "m", "input": ["x"], "steps": 0})
    assert caught.value.field == "steps"
    with pytest.raises(ConfigError):
        project.create_run("trian", {})
    with pytest.raises(JobError):
        project.create_run("train", {"model": "m", "input": ["x"]}, after=["train-1"])
    assert project.runs() == []


def test_an_added_corpus_lies_where_later_stages_find_it(project):
    run = project.create_run("add-corpus", {"input": ["novel.txt"]})
    assert isinstance(run.typed_config(), AddCorpusConfig)
    assert run.output == project.path / "corpora" / run.id
    assert project.corpora() == []
    finished(run)
    write_json(run.output / "corpus.json", {"documents": 3})
    (corpus,) = project.corpora()
    assert (corpus.id, corpus.info, corpus.path) == (run.id, {"documents": 3}, run.output)
    assert "novel.txt" in corpus.label


def test_pickers_offer_base_instruct_and_results(project):
    trained = finished(project.create_run("train", {"model": "m", "input": ["x"]}), ["config.json", "tokenizer.json"])
    adapted = finished(
        project.create_run("adapt", {"base": "b", "instruct": "i", "input": ["x"]}),
        ["instruct-swap/config.json", "tokenizer/tokenizer.json"],
    )
    project.create_run("train", {"model": "m", "input": ["x"]})
    assert [choice.ref for choice in project.models()] == ["base", "instruct", str(adapted.output / "instruct-swap"), str(trained.output)]
    assert [choice.ref for choice in project.tokenizers()] == ["base", "instruct", str(adapted.output / "tokenizer"), str(trained.output)]
    assert len({choice.label for choice in project.models()}) == 4


def test_runs_are_listed_newest_first_and_damaged_ones_are_left_out(workspace, project):
    runs = [project.create_run("generate", {"model": ["m"], "prompt": str(index)}) for index in range(3)]
    (project.path / "runs" / "train-broken").mkdir()
    (project.path / "runs" / "train-broken" / "run.json").write_text("{")
    assert project.runs() == runs[::-1] == workspace.runs()
    assert project.runs("train") == []
    assert workspace.run(runs[0].id) == runs[0]
    with pytest.raises(JobError):
        Run.open(project.path)


def test_a_second_app_on_the_workspace_is_refused_and_the_holder_named(workspace):
    with workspace.lock():
        with pytest.raises(JobError, match=f"in use by process {os.getpid()}"):
            Workspace(workspace.path).lock()
    workspace.lock().release()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_workspace_is_refused_at_once(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OutputError):
        Workspace(tmp_path)
    tmp_path.chmod(0o755)


def test_a_workspace_on_an_impossible_path_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "workspace"):
        with pytest.raises(OutputError, match="file is no folder"):
            Workspace(place)
    with pytest.raises(InputError):
        Workspace(tmp_path / "absent", create=False)


def test_the_log_tail_shows_only_the_last_state_of_a_bar(project):
    run = project.create_run("generate", {"model": ["m"], "prompt": ""})
    assert run.log_tail() == ""
    run.log.write_bytes("one\nтри 1%\rтри 99%\r\nlast\n\n".encode())
    assert run.log_tail() == "one\nтри 99%\nlast"
    assert run.log_tail(1) == "last"


def test_discarded_results_are_gone_and_the_record_stays(project):
    run = finished(project.create_run("train", {"model": "m", "input": ["x"]}), ["config.json"])
    (run.checkpoints / "step-1").mkdir(parents=True)
    (run.path / ".partial-output-x").mkdir()
    write_json(run.path / "status.json", {"state": "stopped"})
    run.request_discard()
    run.delete_results()
    assert not run.output.exists()
    assert not run.checkpoints.exists()
    assert sorted(path.name for path in run.path.iterdir()) == ["discard", "run.json", "run.lock", "status.json", "stop"]
    assert run.status().discarded
    assert project.models() == project.models()[:2]
    with pytest.raises(JobError, match="discarded"):
        run.new_attempt()


def test_a_resumed_run_is_queued_again_and_goes_on(project):
    run = project.create_run("train", {"model": "m", "input": ["x"]})
    with pytest.raises(JobError, match="not been started"):
        run.new_attempt()
    write_json(run.path / "status.json", {"state": "stopped", "step": 4})
    write_json(run.path / "launch.json", {"pid": 1, "exit_code": 130})
    run.request_stop()
    assert run.typed_config().resume is False
    run.new_attempt()
    assert run.status().state == "queued"
    assert not run.stop_requested
    assert run.typed_config().resume is True
    assert read_json(run.path / "attempts" / "01" / "status.json")["step"] == 4
    with run.lock(), pytest.raises(JobError):
        run.lock()
