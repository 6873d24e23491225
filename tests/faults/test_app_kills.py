"""The app is killed again and again, at any moment: every job still runs exactly once, none is lost, and none stops because of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lep_core.runs.workspace import Workspace
from tests.jobs.conftest import until

ROOT = Path(__file__).resolve().parents[2]
# Kills fall between nothing done yet and everything in motion: imports take about half a second.
LONGEST_LIFE_SECONDS = 1.5


def test_ten_kills_of_the_app_lose_nothing(tmp_path):
    kill_the_app(tmp_path, kills=10, jobs=6, seed=1)


@pytest.mark.faults
def test_a_hundred_kills_of_the_app_lose_nothing(tmp_path):
    kill_the_app(tmp_path, kills=100, jobs=60, seed=2)


def kill_the_app(folder, *, kills, jobs, seed):
    randoms = random.Random(seed)
    workspace = Workspace(folder / "workspace")
    project = workspace.create_project("p")
    runs = []
    for kill in range(kills):
        # Some jobs are handed in while no app lives, most while one does.
        wanted = jobs * (kill + 1) // kills - len(runs)
        app = start(workspace.path)
        life = randoms.random() * LONGEST_LIFE_SECONDS
        time.sleep(life / 2)
        runs += [new_job(project, randoms) for _ in range(wanted)]
        time.sleep(life / 2)
        app.kill()
        assert app.wait() == -signal.SIGKILL
    last = start(workspace.path)
    try:
        until(lambda: all(run.status().ended for run in runs), 60 + jobs)
        states = [run.status().state for run in runs]
        assert states == ["succeeded"] * len(runs), [(run.id, run.status()) for run in runs if run.status().state != "succeeded"]
        for run in runs:
            starts = (run.path / "started.txt").read_text().splitlines()
            assert len(starts) == 1, f"{run.id} ran {len(starts)} times"
    finally:
        last.kill()
        last.wait()


def new_job(project, randoms):
    return project.create_run("train", {"model": "ok", "input": ["x"], "steps": randoms.randint(1, 25)})


def start(workspace):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.backend", str(workspace)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
