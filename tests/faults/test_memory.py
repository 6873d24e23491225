"""A job that runs out of memory fails with advice; the queue goes on with the next one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lep_core.jobs.queue import JobQueue
from lep_core.runs.workspace import Workspace
from tests.factories import SENTENCES
from tests.jobs.conftest import until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and an address-space limit"),
]


def limited(run):
    return [sys.executable, "-m", "tests.faults.limited", str(run.path), "700"]


def test_a_training_without_memory_fails_with_advice_and_the_next_job_runs(tiny, tmp_path):
    text = tmp_path / "text.jsonl"
    text.write_text("\n".join(json.dumps({"text": " ".join(SENTENCES * 40)}) for _ in range(20)), encoding="utf-8")
    project = Workspace(tmp_path / "workspace").create_project("p")
    values = {"model": str(tiny()), "input": [str(text)], "steps": 1, "device": "cpu", "threads": 1, "block_size": 128}
    greedy = project.create_run("train", {**values, "batch_size": 20_000, "micro_batch_size": 20_000})
    modest = project.create_run("train", {**values, "batch_size": 2})
    queue = JobQueue(Workspace(tmp_path / "workspace"), command_for=limited)
    queue.start()
    try:
        until(lambda: greedy.status().state == "running" and greedy.launch(), 60)
        pid = greedy.launch()["pid"]
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
        until(lambda: modest.status().ended, 120)
    finally:
        queue.close()
    status = greedy.status()
    assert status.state == "failed", greedy.log_tail()
    assert "memory" in status.error.message, status.error
    assert status.error.hint
    assert status.error.kind == "ResourceError"
    assert modest.status().state == "succeeded", modest.log_tail()
