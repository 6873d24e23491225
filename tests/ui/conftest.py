"""A workspace with a project whose runs are made by hand: what the interface shows is read from such files alone."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lep_core.files import write_json
from lep_core.runs.workspace import Workspace
from ui.i18n import Translator


class Queue:
    """A queue that starts nothing and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def submit(self, run=None):
        self.asked.append(("submit", run))

    def stop(self, run):
        self.asked.append(("stop", run))

    def discard(self, run):
        self.asked.append(("discard", run))

    def resume(self, run):
        self.asked.append(("resume", run))

    def turn(self, run):
        return 1

    def running(self, lane=None):
        return []

    def waiting(self, lane=None):
        return []


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def project(workspace, tmp_path):
    for name in ("base", "instruct"):
        (tmp_path / name).mkdir()
    return workspace.create_project("Test", base=str(tmp_path / "base"), instruct=str(tmp_path / "instruct"))


@pytest.fixture
def backend(workspace):
    return SimpleNamespace(workspace=workspace, queue=Queue(), closers=[])


@pytest.fixture
def studio(backend):
    """What pages share, without a page."""
    from ui.studio import Studio

    return Studio(backend=backend, t=Translator("en"), project=None, tabs=None)


def finish(run, *, report=None, state="succeeded", files=(), **status):
    """Write what a run leaves behind."""
    write_json(run.path / "status.json", {"state": state, "seconds": 1.0, "heartbeat": time.time(), **status})
    if report is not None:
        write_json(run.path / "report.json", report)
    if run.output is not None:
        Path(run.output).mkdir(parents=True, exist_ok=True)
        for name in files:
            (Path(run.output) / name).write_text("{}", encoding="utf-8")
    return run


@pytest.fixture(name="finish")
def finish_fixture():
    return finish


@pytest.fixture
def chain(project, finish, tmp_path):
    """tokenizer -> initialize -> train -> propagate, all done."""
    text = tmp_path / "text.txt"
    text.write_text("text", encoding="utf-8")
    tokenizer = finish(project.create_run("build-tokenizer", {"base": project.base, "input": [str(text)]}))
    rows = finish(project.create_run("initialize", {"base": project.base, "tokenizer": str(tokenizer.output)}))
    trained = finish(project.create_run("train", {"model": str(rows.output), "input": [str(text)]}))
    values = {"base": project.base, "adapted": str(trained.output), "instruct": project.instruct, "method": "swap"}
    propagated = finish(project.create_run("propagate", values))
    return SimpleNamespace(text=str(text), tokenizer=tokenizer, rows=rows, trained=trained, propagated=propagated)
