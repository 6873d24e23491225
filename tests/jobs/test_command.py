"""The commands of a run say the same as its config."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from lep_core import pipeline
from lep_core.cli import verb_parser
from lep_core.errors import ConfigError
from lep_core.files import read_json, write_json
from lep_core.jobs.command import child_command, child_environment, cli_command, slurm_script
from lep_core.runs.run import Run


def test_the_child_executes_the_run_with_this_python(new_run):
    run = new_run()
    assert child_command(run) == [sys.executable, "-m", "lep_core", "execute", str(run.path)]


def test_the_child_finds_the_package_from_any_folder(tmp_path):
    environment = child_environment({"PATH": "/usr/bin", "PYTHONPATH": str(tmp_path)})
    assert environment["PYTHONPATH"].endswith(str(tmp_path))
    code = "import lep_core, sys; sys.exit(0 if 'torch' not in sys.modules else 1)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=60)


def test_the_command_line_gives_the_same_config(workspace):
    project = workspace.create_project("q")
    values = {"base": "-odd name", "instruct": "i", "input": ["a b", "c"], "method": ["swap", "overlap"], "steps": 7, "learning_rate": 1e-3}
    run = project.create_run("adapt", {**values, "resume": True})
    words = shlex.split(cli_command(run, output="there"))
    assert words[:2] == ["lep", "adapt"]
    parsed = vars(verb_parser("adapt").parse_args(words[2:]))
    given = {name: parsed[name] for name in parsed if name in pipeline.VERBS["adapt"].config.__dataclass_fields__}
    assert given == {**values, "output": "there", "resume": True}


def test_the_slurm_script_asks_for_a_checkpoint_before_the_limit(new_run):
    run = new_run(prepared=True)
    script = slurm_script(run, gpus=2, hours=3)
    assert script.startswith("#!/bin/bash\n")
    for words in ("--nodes=1", "--gpus-per-node=2", "--time=3:00:00", "--signal=TERM@120", f"execute {run.path}"):
        assert words in script
    assert "--gpus" not in slurm_script(run, gpus=0)


def test_the_slurm_script_spreads_processes_evenly_over_hosts(new_run):
    run = new_run(prepared=True)
    many = run.path.parent / "many"
    run.path.rename(many)
    record = read_json(many / "run.json")
    write_json(many / "run.json", {**record, "config": {**record["config"], "processes": 12}})
    script = slurm_script(Run(many))
    for words in ("--nodes=2\n", "--gpus-per-node=6", "--nnodes=2", "--nproc_per_node=6", "--signal=B:TERM@120", f"touch {many / 'stop'}"):
        assert words in script
    assert "--nodes=4\n" in slurm_script(Run(many), nodes=4)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for nodes in (5, -1):
        with pytest.raises(ConfigError, match="12 processes cannot be spread evenly"):
            slurm_script(Run(many), nodes=nodes)
