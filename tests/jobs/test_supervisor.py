"""A supervisor starts, watches, adopts and stops real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lep_core.errors import JobError
from lep_core.files import read_json, write_json
from lep_core.jobs.supervisor import Supervisor
from lep_core.runs.process import this_process
from tests.jobs.conftest import child_of, until

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def supervisor():
    made = Supervisor(command_for=child_of)
    yield made
    made.close()


def running(run):
    return run.status().stage == "stepping"


def test_a_launched_run_succeeds_and_its_output_is_in_the_log(supervisor, new_run):
    run = new_run()
    supervisor.launch(run)
    with pytest.raises(JobError, match="already"):
        supervisor.launch(run)
    assert supervisor.wait(run, 20)
    assert run.status().state == "succeeded"
    launch = run.launch()
    assert (launch["exit_code"], launch["host"], launch["command"]) == (0, this_process()["host"], child_of(run))
    assert "on stdout" in run.log_tail()
    assert supervisor.watched() == []
    with pytest.raises(JobError, match="already"):
        supervisor.launch(run)


def test_a_killed_process_is_shown_as_failed_with_the_likely_reason(supervisor, new_run):
    run = new_run(steps=1000)
    supervisor.launch(run)
    until(lambda: running(run))
    os.kill(run.launch()["pid"], signal.SIGKILL)
    assert supervisor.wait(run, 20)
    status = run.status()
    assert status.state == "failed"
    assert "memory" in status.error.message


def test_a_process_that_vanishes_is_shown_with_its_exit_code(supervisor, new_run):
    run = new_run("dies")
    supervisor.launch(run)
    assert supervisor.wait(run, 20)
    assert "exit code 3" in run.status().error.message


def test_a_command_that_cannot_start_fails_the_run(new_run):
    run = new_run()
    with pytest.raises(JobError, match="could not be started"):
        Supervisor(command_for=lambda run: ["/no/such/program"]).launch(run)
    assert run.status().state == "failed"


def test_stop_keeps_the_result_and_discard_deletes_it(supervisor, new_run):
    kept, dropped = new_run(steps=1000), new_run(steps=1000)
    for run in (kept, dropped):
        supervisor.launch(run)
    until(lambda: running(kept) and running(dropped))
    for run in (kept, dropped):
        run.checkpoints.mkdir()
    supervisor.stop(kept)
    assert kept.status().stopping
    supervisor.discard(dropped)
    assert supervisor.wait(kept, 20)
    assert supervisor.wait(dropped, 20)
    assert kept.status().state == "stopped"
    assert kept.checkpoints.is_dir()
    assert dropped.status().discarded
    assert not dropped.checkpoints.exists()


def test_only_force_kills_a_stage_that_does_not_listen(supervisor, new_run):
    run = new_run("deaf", steps=3000)
    supervisor.launch(run)
    until(lambda: running(run))
    supervisor.stop(run)
    time.sleep(0.3)
    assert run.status().state == "running"
    supervisor.stop(run, force=True)
    assert supervisor.wait(run, 20)
    assert run.status().state == "stopped"
    assert "force" in run.status().message


def test_a_queued_run_that_is_stopped_never_starts(supervisor, new_run):
    run = new_run()
    supervisor.stop(run)
    assert run.status().state == "stopped"
    with pytest.raises(JobError):
        supervisor.launch(run)
    assert not (run.path / "started.txt").exists()


def test_a_reused_process_id_is_not_taken_for_the_run(supervisor, new_run):
    run = new_run()
    write_json(run.path / "launch.json", {**this_process(), "process_start": "other boot:1", "command": ["x"], "exit_code": None})
    assert run.status().state == "failed"
    assert not supervisor.adopt(run)
    supervisor.stop(run, force=True)


def test_a_job_on_another_machine_is_never_killed_by_its_number(supervisor, new_run):
    run = new_run()
    own = {
        "state": "running",
        "pid": os.getpid(),
        "process_start": this_process()["process_start"],
        "host": "elsewhere",
        "heartbeat": time.time(),
    }
    write_json(run.path / "status.json", own)
    assert run.status().state == "running"
    with pytest.raises(JobError, match="elsewhere"):
        supervisor.stop(run, force=True)


def test_a_killed_app_leaves_its_job_running_and_the_next_one_adopts_it(supervisor, new_run):
    run = new_run(steps=60)
    code = f"""
import os, sys, time
from lep_core.jobs.supervisor import Supervisor
from lep_core.runs.run import Run
from tests.jobs.conftest import child_of
run = Run({str(run.path)!r})
Supervisor(command_for=child_of).launch(run)
while run.status().stage != "stepping":
    time.sleep(0.02)
os.kill(os.getpid(), 9)
"""
    app = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False)
    assert app.returncode == -signal.SIGKILL
    assert run.status().state == "running"
    assert supervisor.adopt(run)
    assert supervisor.adopt(run)
    assert supervisor.wait(run, 20)
    assert run.status().state == "succeeded"
    assert "ended" in read_json(run.path / "launch.json")
    assert len((run.path / "started.txt").read_text().splitlines()) == 1


def test_two_apps_that_launch_the_same_run_train_it_once(new_run):
    run = new_run(steps=30)
    supervisors = [Supervisor(command_for=child_of) for _ in range(2)]
    supervisors[0].launch(run)
    (run.path / "launch.json").unlink()
    supervisors[1].launch(run)
    assert all(supervisor.wait(run, 20) for supervisor in supervisors)
    assert run.status().state == "succeeded"
    assert len((run.path / "started.txt").read_text().splitlines()) == 1
