"""How the process of a run is started, here or by Slurm; and the plain command line of the same work."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import lep_core
from lep_core import pipeline
from lep_core.config import flag
from lep_core.runs.run import Run

# Settings that a run directory fills in itself and that mean nothing elsewhere.
RUN_SETTINGS = ("checkpoints",)


def child_command(run: Run) -> list[str]:
    """The command that executes a run."""
    return [sys.executable, "-m", "lep_core", "execute", str(run.path)]


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: as here, with unbuffered UTF-8 output, crash traces, and this very package importable."""
    child = dict(os.environ if environment is None else environment)
    package_parent = str(Path(lep_core.__file__).resolve().parent.parent)
    paths = [package_parent, *filter(None, child.get("PYTHONPATH", "").split(os.pathsep))]
    child["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    child |= {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PYTHONFAULTHANDLER": "1"}
    child.setdefault("TOKENIZERS_PARALLELISM", "true")
    child.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return child


def cli_command(run: Run, *, output: str | None = None) -> str:
    """The command line that does the work of a run without a workspace; settings at their default are left out."""
    config_class = pipeline.VERBS[run.verb].config
    words = ["lep", run.verb]
    for item in fields(config_class):
        value = run.config.get(item.name, item.default)
        if item.name == "output" and output is not None:
            value = output
        default = list(item.default) if isinstance(item.default, tuple) else item.default
        if value == default or value is None or item.name in RUN_SETTINGS:
            continue
        name = flag(item.name)
        if isinstance(value, bool):
            words.append(name if value else "--no-" + name.removeprefix("--"))
        elif isinstance(value, list):
            words += [name, *map(str, value)] if not any(str(one).startswith("-") for one in value) else [f"{name}={one}" for one in value]
        else:
            # A value that begins with a hyphen would be taken for a flag.
            words += [f"{name}={value}"] if str(value).startswith("-") else [name, str(value)]
    return shlex.join(words)


def slurm_script(run: Run, *, gpus: int = 1, cpus: int = 8, memory_gib: int = 64, hours: int = 24) -> str:
    """A Slurm script for a prepared run. Two minutes before the limit the run is asked to stop, and it keeps a checkpoint."""
    environment = {"PYTHONPATH": str(Path(lep_core.__file__).resolve().parent.parent), "PYTHONUNBUFFERED": "1"}
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name=lep-{run.verb}",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        f"#SBATCH --cpus-per-task={cpus}",
        *([f"#SBATCH --gpus={gpus}"] if gpus else []),
        f"#SBATCH --mem={memory_gib}G",
        f"#SBATCH --time={hours}:00:00",
        "#SBATCH --signal=TERM@120",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={_slurm_path(run.path / 'slurm.txt')}",
        "",
        "# The folder of the run must be on a file system that the compute node sees under the same name.",
        *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
        f"exec srun {shlex.join(child_command(run))}",
    ]
    return "\n".join(lines) + "\n"


def _slurm_path(path: Path) -> str:
    # Slurm reads % as the start of a pattern.
    return shlex.quote(str(path).replace("%", "%%"))
