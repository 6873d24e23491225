"""The state shown is a pure function of launch.json, status.json and whether the process is alive."""

from __future__ import annotations

from itertools import product

import pytest

from lep_core.runs.status import FINAL_STATES, RunError, run_status

ERROR = {"kind": "ConfigError", "message": "the block is too long", "hint": "Shorten it", "field": "block_size"}
LAUNCHES = {
    "none": None,
    "process": {"pid": 7, "exit_code": None},
    "exit 0": {"pid": 7, "exit_code": 0},
    "exit 1": {"pid": 7, "exit_code": 1},
    "signal 9": {"pid": 7, "exit_code": -9},
    "forced": {"pid": 7, "exit_code": -9, "forced": True},
    "withdrawn": {"pid": None, "outcome": "stopped"},
    "refused": {"pid": None, "error": ERROR},
}
STATUSES = {"none": None, **{state: {"state": state} for state in ("running", *FINAL_STATES)}}


def expected_state(launch: str, status: str, alive: bool) -> str:
    if launch == "withdrawn":
        return "stopped"
    if launch == "refused":
        return "failed"
    if status in FINAL_STATES:
        return status
    if alive:
        return "running"
    if launch == status == "none":
        return "queued"
    return "stopped" if launch == "forced" else "failed"


@pytest.mark.parametrize(("launch", "status", "alive"), list(product(LAUNCHES, STATUSES, [True, False])))
def test_every_combination_has_the_state_of_the_table(launch, status, alive):
    shown = run_status(LAUNCHES[launch], STATUSES[status], alive)
    assert shown.state == expected_state(launch, status, alive)
    assert shown.ended == (shown.state in FINAL_STATES)


@pytest.mark.parametrize(("code", "words"), [(-9, "memory"), (137, "memory"), (-11, "SIGSEGV"), (3, "exit code 3"), (None, "switched off")])
def test_a_death_without_a_word_is_explained_by_its_exit_code(code, words):
    error = run_status({"pid": 7, "exit_code": code}, {"state": "running", "step": 5}, False).error
    assert error is not None
    assert "without saying why" in error.message
    assert words in error.message


def test_progress_and_error_of_the_run_are_shown():
    status = {"state": "failed", "stage": "training", "done": 3, "total": 10, "unit": "steps", "step": 3, "error": ERROR}
    shown = run_status({"pid": 7}, status, False)
    assert (shown.stage, shown.done, shown.total, shown.unit, shown.step) == ("training", 3, 10, "steps", 3)
    assert shown.error == RunError(**ERROR)


def test_a_started_process_without_a_status_is_starting():
    assert run_status({"pid": 7}, None, True).stage == "starting"
