"""Run contenders in turn, each in a fresh process, and print medians and ratios.

A benchmark is a module with a dictionary of contenders and a call of `main`:

    CONTENDERS = {"loop over encode": loop, "LEP Studio": ours}      # the first is the anchor that ratios refer to
    if __name__ == "__main__":
        main("Fertility of a text", CONTENDERS, add_arguments, work=work)

Each contender takes the parsed arguments and returns the seconds of its own work ("seconds", "cpu_seconds"; see `timed`), so that
imports and preparation do not count, and anything else worth a column. `python -m benchmarks.NAME` runs all of them `--repeats` times
in turn: what disturbs the machine for a while then disturbs all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lep_core.measuring import peak_memory_gib

Contender = Callable[[argparse.Namespace], Mapping[str, float]]


@contextmanager
def timed(figures: dict[str, float]) -> Generator[None, None, None]:
    """Add wall and CPU seconds (children's included) of the block, and the growth of the peak resident memory, to `figures`."""
    peak, wall, cpu = peak_memory_gib(), time.perf_counter(), _cpu_seconds()
    yield
    figures["seconds"] = time.perf_counter() - wall
    figures["cpu_seconds"] = _cpu_seconds() - cpu
    figures["memory_gib"] = peak_memory_gib()
    figures["memory_growth_gib"] = figures["memory_gib"] - peak


def main(
    title: str,
    contenders: Mapping[str, Contender],
    add_arguments: Callable[[argparse.ArgumentParser], None],
    *,
    work: Callable[[argparse.Namespace], tuple[float, str]] | None = None,
    prepare: Callable[[argparse.Namespace], None] | None = None,
    limits: Callable[[argparse.Namespace], Mapping[str, str]] | None = None,
) -> None:
    """The command line of a benchmark.

    Args:
        contenders: name -> function; the first is the anchor.
        work: amount and unit of the work, for rates ("90.0, MB").
        prepare: makes what all contenders read, once, in the parent.
        limits: physical limits of this machine, printed below the table.
    """
    module = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=title)
    add_arguments(parser)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contender; the median counts")
    parser.add_argument("--only", action="append", choices=list(contenders), help="run only this contender (repeatable)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--child", choices=list(contenders), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(dict(contenders[arguments.child](arguments))))
        return
    if prepare:
        prepare(arguments)
    chosen = arguments.only or list(contenders)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for _ in range(arguments.repeats):
        for name in chosen:
            runs[name].append(_run_child(module, name))
    medians = {name: {key: statistics.median(run[key] for run in done) for key in done[0]} for name, done in runs.items()}
    amount = work(arguments) if work else None
    measured_limits = dict(limits(arguments)) if limits else {}
    if arguments.json:
        print(json.dumps({"title": title, "machine": machine(), "medians": medians, "runs": runs, "limits": measured_limits}))
        return
    print(f"{title}\n{machine()}; medians of {arguments.repeats}\n")
    print(table(medians, amount))
    for name, value in measured_limits.items():
        print(f"{name}: {value}")


def table(medians: Mapping[str, Mapping[str, float]], amount: tuple[float, str] | None) -> str:
    """A Markdown table: one row per contender, with ratios to the first."""
    anchor = next(iter(medians.values()))
    extra = [key for key in anchor if key not in ("seconds", "cpu_seconds", "memory_gib", "memory_growth_gib")]
    heads = [
        "",
        "seconds",
        "CPU-s",
        "speed-up",
        "speed-up (CPU)",
        "peak GiB",
        "growth GiB",
        *([f"{amount[1]}/s"] if amount else []),
        *extra,
    ]
    rows = [heads, ["---"] * len(heads)]
    for name, figures in medians.items():
        cells = [
            name,
            f"{figures['seconds']:.2f}",
            f"{figures['cpu_seconds']:.2f}",
            f"{anchor['seconds'] / figures['seconds']:.2f}x",
            f"{anchor['cpu_seconds'] / figures['cpu_seconds']:.2f}x",
            f"{figures['memory_gib']:.2f}",
            f"{figures['memory_growth_gib']:.2f}",
        ]
        if amount:
            cells.append(f"{amount[0] / figures['seconds']:.4g}")
        rows.append([*cells, *(f"{figures[key]:.5g}" if key in figures else "" for key in extra)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def machine() -> str:
    """The machine in words."""
    parts = [f"{os.cpu_count()} CPU cores", _cpu_name(), f"Python {platform.python_version()}"]
    if "torch" in sys.modules:
        import torch

        parts.append(f"torch {torch.__version__}")
        if torch.cuda.is_available():
            parts.append(torch.cuda.get_device_name())
    return ", ".join(part for part in parts if part)


def matmul_peak_gflops(dtype_name: str = "float32", *, size: int = 2048, device: str = "cpu", threads: int | None = None) -> float:
    """Billions of floating-point operations a second of the best of five square matrix products."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    a = torch.randn(size, size, device=device).to(getattr(torch, dtype_name))
    best = float("inf")
    for _ in range(6):
        if device != "cpu":
            torch.cuda.synchronize()
        began = time.perf_counter()
        a @ a
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9


def copy_gib_per_second(*, gib: float = 0.5) -> float:
    """Memory copy bandwidth (bytes read, not read plus written), best of three."""
    import numpy as np

    source = np.ones(int(gib * 2**30), dtype=np.uint8)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - began)
    return gib / best


def disk_write_gib_per_second(folder: Path, *, gib: float = 1.0) -> float:
    """Sequential write with fsync into `folder`."""
    block, path = b"\0" * 2**24, folder / ".write-test"
    try:
        began = time.perf_counter()
        with path.open("wb") as file:
            for _ in range(int(gib * 64)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        return gib / (time.perf_counter() - began)
    finally:
        path.unlink(missing_ok=True)


def _run_child(module: str, name: str) -> dict[str, float]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *_own_arguments(sys.argv[1:]), "--child", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _own_arguments(arguments: Sequence[str]) -> list[str]:
    """The command line without what only the parent understands."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("--repeats", "--only"):
            skip = True
        elif argument != "--json" and not argument.startswith(("--repeats=", "--only=")):
            kept.append(argument)
    return kept


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _cpu_name() -> str:
    try:
        lines: list[Any] = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
