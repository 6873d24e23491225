"""The result file of a study, and what all studies share: the command line, the data folder, the machine, a stopwatch.

A result is `{"study", "command", "config", "environment", "seconds", "cpu_seconds", "rows": [{...}, ...], ...}`: flat rows, and every number that
they depend on in `config`. No paths of this machine and no dates are in it, so that a repetition can be compared with the committed file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lep_core.files import write_text

RESULTS = Path(__file__).parent / "results"
SCALES = ("tiny", "full")
_LIBRARIES = ("torch", "transformers", "tokenizers", "sentencepiece", "numpy")


class Stopwatch:
    """Wall and CPU seconds of this process since it was made; `before` adds those of interrupted runs."""

    def __init__(self, *, before: tuple[float, float] = (0.0, 0.0)) -> None:
        self._started = time.perf_counter() - before[0], time.process_time() - before[1]

    def read(self) -> tuple[float, float]:
        """(seconds, CPU seconds)."""
        return time.perf_counter() - self._started[0], time.process_time() - self._started[1]


def argument_parser(name: str, description: str) -> argparse.ArgumentParser:
    """The flags that every study has."""
    parser = argparse.ArgumentParser(prog=f"python -m studies.{name}", description=description)
    parser.add_argument("--data", help="data folder as described in docs/study.md; shared/data beside the checkout by default")
    parser.add_argument("--output", default=str(RESULTS), help="folder of the result file")
    parser.add_argument("--scale", choices=SCALES, default="full", help="tiny runs in seconds and proves nothing but that it runs")
    return parser


def data_folder(given: str | None) -> Path | None:
    """The folder that was named, or the one beside the checkout; None when there is none."""
    if given is not None:
        return Path(given).expanduser()
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return beside if beside.is_dir() else None


def environment() -> dict[str, Any]:
    """What the figures may depend on besides the configuration."""
    return {
        "python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
    }


def rounded(value: Any, digits: int = 5) -> Any:
    """Floats with `digits` significant digits, in nested values too."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(entry, digits) for key, entry in value.items()}
    return [rounded(entry, digits) for entry in value]


def save(
    name: str,
    *,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    stopwatch: Stopwatch,
    output: str | Path = RESULTS,
    command: str | None = None,
    **more: Any,
) -> Path:
    """Write the result file of a study; `more` are further keys beside the rows."""
    seconds, cpu_seconds = stopwatch.read()
    result = {
        "study": name,
        "command": command or f"python -m studies.{name}",
        "config": dict(config),
        "environment": environment(),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        **{key: rounded(value) for key, value in more.items()},
    }
    path = Path(output) / f"{name}.json"
    write_text(path, _text(result, [rounded(row) for row in rows]))
    print(f"{path.name}: {len(rows)} rows, {seconds:.0f} s, {cpu_seconds:.0f} CPU-s", file=sys.stderr)
    return path


def load(name: str, folder: str | Path = RESULTS) -> dict[str, Any]:
    """The result of a study."""
    return json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8"))


def _text(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """JSON with one row a line, so that two results can be compared line by line."""
    head = json.dumps(result, ensure_ascii=False, indent=1).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    return f'{head},\n "rows": [\n{lines}\n ]\n}}\n'
