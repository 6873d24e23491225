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
from lep_core.errors import ConfigError
from lep_core.runs.run import STOP_FILE, Run

# Settings that a run directory fills in itself and that mean nothing elsewhere.
RUN_SETTINGS = ("checkpoints",)
GPUS_PER_NODE = 8


def child_command(run: Run) -> list[str]:
    """The command that executes a run; a run for several processes starts them under torchrun itself (`lep_core.launch`)."""
    return [sys.executable, "-m", "lep_core", "execute", str(run.path)]


def torchrun_options(processes: int) -> list[str]:
    """The options of `python -m torch.distributed.run` for processes on this host."""
    return ["--standalone", "--nnodes=1", f"--nproc_per_node={processes}"]


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


def slurm_script(
    run: Run, *, nodes: int | None = None, gpus: int | None = None, cpus: int = 8, memory_gib: int = 64, hours: int = 24
) -> str:
    """A Slurm script for a prepared run. Two minutes before the limit the run is asked to stop, and it keeps a checkpoint.

    Args:
        nodes: hosts; by default as few as give every process a GPU, at eight GPUs a host.
        gpus: GPUs a host; by default one for each process there.
        cpus, memory_gib: for each process.

    Raises:
        ConfigError: the processes cannot be spread evenly over the hosts.
    """
    processes = run.config.get("processes", 1)
    nodes = nodes or _fewest_nodes(processes)
    if nodes < 1 or processes % nodes:
        raise ConfigError("processes", f"{processes} processes cannot be spread evenly over {nodes} hosts", "Give a multiple of --nodes")
    each = processes // nodes
    gpus = each if gpus is None else gpus
    environment = {"PYTHONPATH": str(Path(lep_core.__file__).resolve().parent.parent), "PYTHONUNBUFFERED": "1"}
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name=lep-{run.verb}",
        f"#SBATCH --nodes={nodes}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --cpus-per-task={cpus * each}",
        *([f"#SBATCH --gpus-per-node={gpus}"] if gpus else []),
        f"#SBATCH --mem={memory_gib * each}G",
        f"#SBATCH --time={hours}:00:00",
        # Slurm sends the signal to the commands of srun, or with B: to this script.
        f"#SBATCH --signal={'B:' if nodes > 1 else ''}TERM@120",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={_slurm_path(run.path / 'slurm.txt')}",
        "",
        "# The folder of the run must be on a file system that all nodes see under the same name.",
        *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
        *(_on_many_hosts(run, nodes, each) if nodes > 1 else [f"exec srun {shlex.join(child_command(run))}"]),
    ]
    return "\n".join(lines) + "\n"


def _fewest_nodes(processes: int) -> int:
    return next(nodes for nodes in range(1, processes + 1) if processes % nodes == 0 and processes // nodes <= GPUS_PER_NODE)


def _on_many_hosts(run: Run, nodes: int, each: int) -> list[str]:
    """One torchrun a host, which find each other on the first host; the stop file reaches all of them."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--nproc_per_node={each}", "--rdzv_backend=c10d"]
    place = '--rdzv_id="$SLURM_JOB_ID" --rdzv_endpoint="$first:$((20000 + SLURM_JOB_ID % 20000))"'
    return [
        f"trap 'touch {shlex.quote(str(run.path / STOP_FILE))}' TERM",
        'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        f"srun {shlex.join(torchrun)} {place} -m lep_core execute {shlex.quote(str(run.path))} &",
        "# The signal ends a wait, not the work: wait until that has saved and gone.",
        "wait $!; code=$?",
        "while kill -0 $! 2> /dev/null; do wait $!; code=$?; done",
        "exit $code",
    ]


def _slurm_path(path: Path) -> str:
    # Slurm reads % as the start of a pattern.
    return shlex.quote(str(path).replace("%", "%%"))
