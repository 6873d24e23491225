"""Every queued run gets its turn, once, in order."""

from __future__ import annotations

import threading
import time

import pytest

from lep_core.errors import JobError
from lep_core.files import write_json
from lep_core.jobs.queue import JobQueue
from tests.jobs.conftest import child_of, until


@pytest.fixture
def queue(workspace):
    made = JobQueue(workspace, command_for=child_of)
    yield made
    made.close()


def start_of(run):
    return float((run.path / "started.txt").read_text().split()[1])


def ended(*runs):
    return all(run.status().ended and run.launch() and run.launch().get("ended") for run in runs)


def test_jobs_run_one_at_a_time_in_order_and_light_ones_beside(queue, workspace, new_run):
    runs = [new_run(steps=20) for _ in range(3)]
    light = workspace.projects()[0].create_run("add-corpus", {"input": ["x"]})
    assert [queue.turn(run) for run in runs] == [1, 2, 3]
    assert queue.turn(light) == 1
    assert not queue.running()
    queue.start()
    until(lambda: light.status().ended and runs[0].status().state == "running")
    assert queue.turn(runs[0]) is None
    assert [queue.turn(run) for run in runs[1:]] == [1, 2]
    assert queue.running("device") == [runs[0]]
    until(lambda: ended(*runs))
    assert [run.status().state for run in runs] == ["succeeded"] * 3
    starts, ends = [start_of(run) for run in runs], [run.launch()["ended"] for run in runs]
    assert starts == sorted(starts)
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def test_a_run_waits_for_its_predecessor_and_fails_when_that_fails(queue, new_run):
    bad = new_run("bad")
    waits = new_run(after=[bad.id])
    waits_too = new_run(after=[waits.id])
    free = new_run()
    queue.start()
    until(lambda: free.status().ended and waits_too.status().ended)
    assert [run.status().state for run in (bad, waits, waits_too, free)] == ["failed", "failed", "failed", "succeeded"]
    assert bad.id in waits.status().error.message
    assert "is failed" in waits.status().error.message
    assert not (waits.path / "started.txt").exists()


def test_a_chain_runs_in_order(queue, new_run):
    first = new_run(steps=5)
    second = new_run(after=[first.id])
    queue.start()
    until(lambda: ended(first, second))
    assert second.status().state == "succeeded"
    assert start_of(second) >= first.launch()["ended"]


def test_the_queue_survives_a_restart_of_the_app(workspace, new_run):
    first, second = new_run(steps=40), new_run()
    before = JobQueue(workspace, command_for=child_of)
    before.start()
    until(lambda: first.status().stage == "stepping")
    before.close()
    after = JobQueue(workspace, command_for=child_of)
    assert after.waiting() == [second]
    after.start()
    assert after.running() == [first]
    until(lambda: second.status().ended)
    assert [run.status().state for run in (first, second)] == ["succeeded"] * 2
    after.close()


def test_many_submissions_at_once_each_run_once(queue, workspace, new_run):
    runs, project = [], workspace.projects()[0]
    queue.start()

    def submit():
        run = project.create_run("train", {"model": "ok", "input": ["x"], "steps": 1})
        runs.append(run)
        for _ in range(3):
            queue.submit(run)

    threads = [threading.Thread(target=submit) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: ended(*runs), 40)
    assert [run.status().state for run in runs] == ["succeeded"] * 5
    assert all(len((run.path / "started.txt").read_text().splitlines()) == 1 for run in runs)


def test_prepared_runs_are_left_to_the_cluster(queue, new_run):
    run = new_run(prepared=True)
    queue.start()
    time.sleep(0.3)
    assert queue.turn(run) is None
    assert run.status().state == "queued"


def test_a_stopped_run_resumes_and_a_stop_from_elsewhere_empties_its_place(queue, new_run):
    run, other = new_run(steps=500), new_run()
    queue.start()
    until(lambda: run.status().stage == "stepping")
    with pytest.raises(JobError):
        queue.resume(run)
    other.request_stop()
    until(lambda: other.status().state == "stopped")
    queue.stop(run)
    until(lambda: run.status().ended)
    queue.resume(run)
    assert run.status().state != "failed"
    until(lambda: run.status().stage == "stepping")
    assert run.attempts == 1
    queue.discard(run)
    until(lambda: run.status().discarded and not queue.running())


def test_what_was_to_be_discarded_when_the_app_died_is_deleted_at_the_next_start(queue, new_run):
    run = new_run()
    run.output.mkdir()
    run.request_discard()
    write_json(run.path / "status.json", {"state": "stopped"})
    queue.start()
    assert not run.output.exists()


def test_a_training_that_its_check_forbids_is_refused_with_the_reason_unless_it_is_resumed(queue, workspace, new_run):
    (project,) = workspace.projects()
    check = project.create_run("preflight", {"model": "ok", "input": ["x"]})
    problem = {"field": "block_size", "message": "9 GiB are needed, 8 are free", "hint": "Lower it"}
    write_json(check.path / "status.json", {"state": "succeeded"})
    write_json(check.path / "report.json", {"fits": False, "problems": [problem]})
    run = new_run(after=[check.id])
    queue.start()
    until(lambda: run.status().ended)
    assert run.status().state == "failed"
    assert "9 GiB are needed" in run.status().error.message
    assert "resume" in run.status().error.hint
    queue.resume(run)
    until(lambda: ended(run))
    assert run.status().state == "succeeded"


def test_warnings_of_a_check_let_the_training_start(queue, workspace, new_run):
    check = workspace.projects()[0].create_run("preflight", {"model": "ok", "input": ["x"]})
    write_json(check.path / "status.json", {"state": "succeeded"})
    write_json(check.path / "report.json", {"fits": True, "problems": [{"field": "steps", "message": "many", "hint": "fewer"}]})
    run = new_run(after=[check.id])
    queue.start()
    until(lambda: ended(run))
    assert run.status().state == "succeeded"
