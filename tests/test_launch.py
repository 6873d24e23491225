"""Processes that torchrun starts: one outcome, one stop, nothing left running. The commands are those of docs/distributed.md."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields

import psutil
import pytest

from lep_core.cli import verb_parser
from lep_core.config import TrainConfig
from lep_core.jobs.command import child_environment, slurm_script
from lep_core.jobs.supervisor import Supervisor
from lep_core.pipeline import VERBS
from lep_core.runs.workspace import Workspace
from lep_core.training.checkpoint import checkpoint_folders
from tests.conftest import REPOSITORY
from tests.factories import SENTENCES


@pytest.fixture
def values(tiny, tmp_path):
    text = tmp_path / "text.jsonl"
    documents = ["\n".join(SENTENCES[start % 12 :] + SENTENCES[: start % 5]) for start in range(40)]
    text.write_text("\n".join(json.dumps({"text": document}) for document in documents))
    return {"model": str(tiny()), "input": [str(text)], "batch_size": 4, "block_size": 32, "device": "cpu", "processes": 2}


@pytest.fixture
def new_run(values, tmp_path):
    project = Workspace(tmp_path / "workspace").create_project("p")
    return lambda **settings: project.create_run("train", {**values, "steps": 100_000, **settings})


def lep(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "lep_core", *map(str, words)],
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def until(condition, seconds=60):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited too long"
        time.sleep(0.05)


def still_running(word):
    return [process.pid for process in psutil.process_iter(["cmdline"]) if any(word in part for part in process.info["cmdline"] or ())]


def test_the_commands_of_the_guide_are_understood():
    guide = (REPOSITORY / "docs" / "distributed.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    lep ([a-z-]+) (.*?)(?: > .*)?$", guide, flags=re.MULTILINE)
    assert len(commands) >= 6
    for verb, rest in commands:
        if verb in VERBS:
            given = vars(verb_parser(verb).parse_args(rest.split()))
            names = set(given) & {field.name for field in fields(TrainConfig)}
            TrainConfig.from_mapping({"output": "o", **{name: given[name] for name in names}})


def test_a_run_for_two_processes_starts_them_and_stops_at_ctrl_c_with_a_checkpoint(new_run):
    run = new_run()
    started = lep("execute", run.path)
    until(lambda: len(run.metrics()) > 3)
    assert json.loads((run.path / "status.json").read_text())["world_size"] == 2
    assert len(still_running(str(run.path))) == 3
    os.killpg(started.pid, signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130, errors
    assert run.status().state == "stopped"
    steps = max(record["step"] for record in run.metrics())
    assert [path.name for path in checkpoint_folders(run.checkpoints)] == [f"step-{steps:06d}"]
    assert "Traceback" not in errors
    assert not still_running(str(run.path))


@pytest.mark.slow
def test_the_command_line_trains_with_two_processes(values, tmp_path):
    words = ["train", "--json", "--steps", 5]
    for name, value in values.items():
        words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, list) else [value])]
    reports = []
    for processes in (1, 2):
        done = lep(*words, "--processes", processes, "--output", tmp_path / f"out-{processes}")
        out, errors = done.communicate(timeout=120)
        assert done.returncode == 0, errors
        reports.append(json.loads(out.splitlines()[-1]))
    assert [report["processes"] for report in reports] == [1, 2]
    for name in ("bits_per_byte_before", "bits_per_byte_after"):
        assert reports[0][name] == pytest.approx(reports[1][name], rel=1e-5)
    refused = lep(*words, "--block-size", 512, "--output", tmp_path / "refused")
    out, errors = refused.communicate(timeout=120)
    assert refused.returncode == 2
    assert errors.strip() == "error: --block-size is 512, the model reads at most 256 tokens. Give --block-size 256 or less"


@pytest.mark.slow
def test_a_forced_stop_ends_torchrun_and_all_processes(new_run):
    run, supervisor = new_run(), Supervisor()
    supervisor.launch(run)
    until(lambda: run.metrics())
    supervisor.stop(run, force=True)
    assert supervisor.wait(run, 20)
    until(lambda: not still_running(str(run.path)), 20)
    assert run.status().state == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_is_named_in_the_state_of_the_run(new_run, killed):
    run, supervisor = new_run(checkpoint_every=2), Supervisor()
    supervisor.launch(run)
    until(lambda: checkpoint_folders(run.checkpoints))
    ranks = {process.environ().get("RANK"): process for process in map(psutil.Process, still_running(str(run.path)))}
    ranks[str(killed)].kill()
    assert supervisor.wait(run, 40)
    assert run.status().state == "failed"
    assert f"process {killed} of 2" in run.status().error.message
    assert run.launch()["exit_code"] == 2
    assert not still_running(str(run.path))


@pytest.mark.slow
def test_the_slurm_script_trains_over_two_hosts_and_keeps_a_checkpoint_at_the_time_limit(new_run, tmp_path):
    """Stand-ins for `srun` and `scontrol` play two hosts on this one."""
    run = new_run()
    script, tools = tmp_path / "job.sh", tmp_path / "tools"
    script.write_text(slurm_script(run, nodes=2, gpus=0))
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/bash\n"$@" &\n"$@" &\nwait -n; wait\n')
    (tools / "scontrol").write_text("#!/bin/bash\necho localhost\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = {**child_environment(), "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "a[1-2]"}
    with open(tmp_path / "slurm.txt", "w") as log:
        job = subprocess.Popen(["bash", str(script)], env=environment, stdout=log, stderr=log)
    until(lambda: len(run.metrics()) > 2 or job.poll() is not None)
    job.send_signal(signal.SIGTERM)
    job.wait(60)
    assert run.status().state == "stopped", (tmp_path / "slurm.txt").read_text()
    assert len(checkpoint_folders(run.checkpoints)) == 1
    assert run.report()["processes"] == 2
