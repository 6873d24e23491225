"""Result files carry what their figures depend on, and nothing of the machine's folders."""

from __future__ import annotations

import json
import re

import pytest

from studies import results

FILES = sorted(results.RESULTS.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_committed_results_carry_configuration_and_environment(path):
    result = results.load(path.stem)
    assert result["study"] == path.stem
    assert result["command"].startswith(f"python -m studies.{path.stem}")
    assert result["config"]
    assert {"python", "torch", "transformers", "machine", "cpus", "threads"} <= result["environment"].keys()
    assert result["cpu_seconds"] > 0
    assert result["rows"]
    assert all(isinstance(value, str | int | float | list | None) for row in result["rows"] for value in row.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_committed_results_name_no_folders_of_a_machine(path):
    assert not re.search(r'"/(work|tmp|home|root)\b', path.read_text(encoding="utf-8"))


def test_a_saved_result_reads_back_with_rounded_rows_one_a_line(tmp_path):
    watch = results.Stopwatch()
    rows = [{"n": 3, "value": 1 / 3}, {"n": 4, "value": None}]
    path = results.save("example", config={"seed": 0}, rows=rows, stopwatch=watch, output=tmp_path, losses=[2 / 3])
    assert results.load("example", tmp_path)["rows"] == [{"n": 3, "value": 0.33333}, {"n": 4, "value": None}]
    assert results.load("example", tmp_path)["losses"] == [0.66667]
    assert json.loads(next(line for line in path.read_text().splitlines() if "0.33333" in line).strip().rstrip(",")) == {
        "n": 3,
        "value": 0.33333,
    }


def test_a_stopwatch_goes_on_from_an_interrupted_run():
    seconds, cpu_seconds = results.Stopwatch(before=(100.0, 50.0)).read()
    assert 100 <= seconds < 101
    assert 50 <= cpu_seconds < 51
