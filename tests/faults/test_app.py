"""Starting and ending the app where something is in the way; and a token in its environment, which may reach nothing."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lep_core.jobs.queue import JobQueue
from lep_core.runs.workspace import Workspace
from tests.e2e.conftest import start_app
from tests.faults.client import Client
from tests.faults.conftest import PLANTED, guarded_environment
from tests.jobs.conftest import child_of, until

ROOT = Path(__file__).resolve().parents[2]


def run_app(*arguments, **environment):
    """(exit code, standard error, seconds) of an app that ends by itself."""
    began = time.monotonic()
    command = [sys.executable, "app.py", "--port", "0", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stderr, time.monotonic() - began


@pytest.fixture
def read_only(tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a read-only disk cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_read_only_workspace_is_refused_at_once(read_only):
    code, said, seconds = run_app("--workspace", read_only)
    assert code == 2, said
    assert said.startswith("error: ")
    assert str(read_only) in said
    assert "Traceback" not in said
    # Two seconds on a quiet machine; starting Python alone takes longer on a busy one.
    assert seconds <= 2 * max(1.0, os.getloadavg()[0])


def test_a_second_app_on_the_workspace_is_refused_and_the_holder_named(served):
    code, said, _ = run_app("--workspace", served.workspace)
    assert code == 2, said
    assert said.startswith("error: ")
    assert f"process {served.process.pid} on {socket.gethostname()}" in said
    assert Client(served.port).call("list_projects")


@pytest.mark.faults
def test_sigterm_ends_the_app_and_the_next_one_adopts_its_job(tmp_path, monkeypatch):
    """With a training at work, a page's stream open and an upload half-way: exit code 0 within ten seconds, the job goes on."""
    for name, value in guarded_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    app = start_app(tmp_path / "workspace", tmp_path / "app.log")
    project = Workspace(app.workspace, create=False).project("demo")
    values = {"model": project.base, "input": project.settings["text_files"][:1], "steps": 400, "device": "cpu", "threads": 1}
    run = project.create_run("train", {**values, "batch_size": 2, "block_size": 32, "evaluate_every": 400})
    until(lambda: run.metrics() or run.status().ended, 120)
    pid = run.launch()["pid"]
    stream = http.client.HTTPConnection("127.0.0.1", app.port, timeout=30)
    stream.request("GET", "/gradio_api/heartbeat/abc")
    stream.getresponse()
    with socket.create_connection(("127.0.0.1", app.port)) as upload:
        upload.sendall(half_an_upload(app.port))
        seconds = app.stop()
    assert app.process.returncode == 0, app.log.read_text()
    assert seconds <= 10
    assert run.status().state == "running"
    again = start_app(app.workspace, app.log)
    try:
        shown = Client(again.port).call("run_status", "demo", run.id)
        assert (shown["id"], shown["state"]) == (run.id, "running")
        assert run.launch()["pid"] == pid
        until(lambda: run.status().ended, 240)
        assert run.status().state == "succeeded", run.log_tail()
        steps = [record["step"] for record in run.metrics() if "loss" in record]
        assert steps == sorted(set(steps)), "one trainer only"
        assert run.attempts == 0
    finally:
        again.stop()
    assert holders(PLANTED, tmp_path) == []
    print(f"\nthe app with a training, a stream and an upload ended {seconds:.1f} s after SIGTERM; its successor adopted the training")


def half_an_upload(port):
    part = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="text.txt"\r\n\r\n' + b"x" * 300_000
    return (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
        "Content-Length: 5000000\r\n\r\n"
    ).encode() + part


def test_the_sweeper_comes_within_a_minute():
    from ui.upload_guard import ORPHAN_SECONDS, SWEEP_SECONDS

    assert ORPHAN_SECONDS + 2 * SWEEP_SECONDS <= 60


@pytest.mark.faults
def test_interrupted_uploads_are_gone_after_a_minute(served):
    uploads = served.workspace / ".uploads"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", served.port)) as line:
            line.sendall(half_an_upload(served.port))
            until(lambda: any(entry.is_file() for entry in uploads.iterdir()), 20)
    began = time.monotonic()
    until(lambda: not any(entry.is_file() and not entry.is_symlink() for entry in uploads.iterdir()), 60)
    print(f"\nthree interrupted uploads were gone after {time.monotonic() - began:.0f} s")


@pytest.mark.faults
def test_a_stage_that_does_not_listen_is_ended_after_fifteen_seconds(tmp_path):
    project = Workspace(tmp_path / "workspace").create_project("p")
    run = project.create_run("train", {"model": "deaf", "input": ["x"], "steps": 10_000})
    queue = JobQueue(Workspace(tmp_path / "workspace"), command_for=child_of)
    queue.start()
    try:
        until(lambda: run.status().stage == "stepping", 60)
        began = time.monotonic()
        queue.stop(run)
        until(lambda: run.status().ended, 60)
        seconds = time.monotonic() - began
    finally:
        queue.close()
    print(f"\na stage that does not listen was ended {seconds:.1f} s after it was asked to stop")
    assert run.status().state == "stopped"
    assert 14 <= seconds <= 20


JUMPS = """
import os, time
_real, _calls = time.time, 0
def _jumping():
    global _calls
    _calls += 1
    return _real() + (86_400 if _calls % 2 else -86_400)
time.time = _jumping
"""


def test_durations_do_not_follow_a_clock_that_jumps(tmp_path, monkeypatch):
    """The clock of the job's process goes a day forward and two back at every look."""
    (tmp_path / "jumps").mkdir()
    (tmp_path / "jumps" / "sitecustomize.py").write_text(JUMPS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "jumps"))
    project = Workspace(tmp_path / "workspace").create_project("p")
    run = project.create_run("train", {"model": "ok", "input": ["x"], "steps": 60})
    queue = JobQueue(Workspace(tmp_path / "workspace"), command_for=child_of)
    queue.start()
    seen = []
    began = time.monotonic()
    try:
        while not run.status().ended and time.monotonic() < began + 60:
            status = run.status()
            if status.seconds is not None:
                seen.append(status.seconds)
                assert status.eta_seconds is None or 0 <= status.eta_seconds < 60
            time.sleep(0.05)
    finally:
        queue.close()
    assert run.status().state == "succeeded", run.log_tail()
    assert seen == sorted(seen)
    assert 0 <= run.status().seconds <= time.monotonic() - began
    assert len((run.path / "started.txt").read_text().splitlines()) == 1


def adapt_and_fail(folder):
    """All stages in one on tiny models, then the same with a model that is not there; returns both exit codes."""
    from lep_core.cli import main
    from tests.factories import SENTENCES, tiny_model

    place = Path(folder)
    base = tiny_model(place, name="base")
    instruct = tiny_model(place, name="instruct", sibling_of=base, chat=True)
    text = place / "text.jsonl"
    text.write_text("\n".join(json.dumps({"text": " ".join(SENTENCES[n % 12 :] + SENTENCES[:5])}) for n in range(60)), encoding="utf-8")
    shared = ["--input", str(text), "--new-tokens", "20", "--steps", "2", "--batch-size", "2", "--block-size", "32", "--limit", "2"]
    shared += ["--device", "cpu", "--threads", "1", "--base", str(base)]
    done = main(["adapt", *shared, "--instruct", str(instruct), "--output", str(place / "out")])
    failed = main(["adapt", *shared, "--instruct", f"nobody/{PLANTED}", "--output", str(place / "other")])
    exported = main(["export", "--model", str(instruct), "--output", str(place / "exported")])
    (place / "codes").write_text(f"{done} {failed} {exported}")
    return 0


@pytest.mark.faults
def test_a_whole_path_and_a_failure_write_the_token_nowhere_and_connect_to_nobody(tmp_path):
    environment = guarded_environment(tmp_path)
    code = f"from tests.faults.test_app import adapt_and_fail; adapt_and_fail({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (tmp_path / "codes").read_text() == "0 2 0", done.stderr[-3000:]
    assert PLANTED not in done.stdout + done.stderr
    assert holders(PLANTED, tmp_path) == []
    assert not (tmp_path / "outside.txt").exists()
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) > 20


def holders(token: str, folder: Path) -> list[Path]:
    """Files below a folder that hold a token."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and token.encode() in path.read_bytes()]
