"""The commands of a run say the same as its config."""

from __future__ import annotations

import shlex
import subprocess
import sys

from lep_core import pipeline
from lep_core.cli import verb_parser
from lep_core.jobs.command import child_command, child_environment, cli_command, slurm_script


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
    for words in ("--gpus=2", "--time=3:00:00", "--signal=TERM@120", f"execute {run.path}"):
        assert words in script
    assert "--gpus" not in slurm_script(run, gpus=0)
