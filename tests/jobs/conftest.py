"""Runs whose process is `tests/jobs/child.py`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from lep_core.runs.workspace import Workspace


def child_of(run):
    return [sys.executable, str(Path(__file__).with_name("child.py")), str(run.path)]


def until(condition, seconds=20):
    """Wait until the condition holds."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def new_run(workspace):
    project = workspace.create_project("p")

    def make(model="ok", steps=3, after=(), **options):
        return project.create_run("train", {"model": model, "input": ["x"], "steps": steps}, after=after, **options)

    return make
