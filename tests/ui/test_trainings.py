"""History, overlay, differences and reuse are read from run directories alone."""

import json
import os
import time

import pytest

from ui.i18n import Translator
from ui.trainings import differences, history, overlay, prompt_from, reusable_initialization, series, tokenizer_name

T = Translator("en")
RECORDS = [
    {"step": 0, "heldout_bits_per_byte": 2.0},
    {"step": 1, "bits_per_byte": 1.9, "tokens_seen": 100, "seconds": 0.5},
    {"step": 2, "bits_per_byte": 1.7, "tokens_seen": 200, "seconds": 1.5},
    {"step": 2, "heldout_bits_per_byte": 1.5},
]


def measured(run, records=RECORDS):
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return run


@pytest.fixture
def trainings(project, chain, finish):
    """Three trainings: one done, one that failed half-way, one that waits."""
    common = {"model": str(chain.rows.output), "input": [chain.text]}
    done = measured(finish(project.create_run("train", {**common, "learning_rate": 1e-3}), seconds=61.0))
    report = {"steps": 2, "bits_per_byte_before": 2.0, "bits_per_byte_after": 1.5}
    (done.path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    failed = measured(finish(project.create_run("train", {**common, "learning_rate": 1e-2, "batch_size": 4}), state="failed"))
    waits = project.create_run("train", common)
    return done, failed, waits


def test_a_curve_can_lie_over_steps_tokens_or_seconds():
    assert series(RECORDS, "heldout_bits_per_byte") == ([0, 2], [2.0, 1.5])
    assert series(RECORDS, "heldout_bits_per_byte", "tokens_seen") == ([0, 200], [2.0, 1.5])
    assert series(RECORDS, "heldout_bits_per_byte", "seconds") == ([0, 1.5], [2.0, 1.5])
    assert series(RECORDS[:1] + RECORDS[3:], "heldout_bits_per_byte", "seconds") == ([0], [2.0])


def test_a_long_curve_is_thinned_and_keeps_its_end():
    steps, values = series([{"step": step, "loss": float(step)} for step in range(5001)], "loss")
    assert len(steps) < 700
    assert (steps[0], steps[-1], values[-1]) == (0, 5000, 5000.0)


def test_history_tells_what_came_of_each_training(project, trainings, chain):
    waits, failed, done, _ = history(project, T)
    assert [row["state"] for row in (waits, failed, done)] == ["queued", "failed", "succeeded"]
    assert (done["before"], done["after"], done["steps"], done["seconds"]) == (2.0, 1.5, 2, 61.0)
    assert (failed["before"], failed["after"], failed["learning_rate"]) == (2.0, 1.5, 1e-2)
    assert (waits["before"], waits["after"], waits["steps"]) == (None, None, None)
    assert {row["tokenizer"] for row in (waits, failed, done)} == {tokenizer_name(chain.trained, project, T)}
    assert done["tokenizer"].startswith("Tokenizer 1")


def test_notes_are_kept_in_the_training_itself(project, trainings):
    trainings[0].write_note("the best <b>")
    assert [row["note"] for row in history(project, T)] == ["", "", "the best <b>", ""]
    assert json.loads((trainings[0].path / "note.json").read_text(encoding="utf-8")) == {"text": "the best <b>"}


def test_the_overlay_holds_each_chosen_training_by_its_name(project, trainings):
    drawn = overlay(project, trainings, "tokens_seen", T)
    assert drawn["Training 2"] == ([0, 200], [2.0, 1.5])
    assert drawn["Training 4"] == ([], [])


def test_only_settings_that_differ_are_named(project, trainings):
    rows = {row[0]: row[1:] for row in differences(project, trainings[:2], T)}
    assert rows == {"Learning rate": ["0.001", "0.01"], "Batch size": ["16", "4"]}
    assert differences(project, trainings[:1], T) == []


def test_a_setting_that_an_older_run_does_not_know_counts_as_its_default(project, trainings):
    record = json.loads((trainings[1].path / "run.json").read_text(encoding="utf-8"))
    del record["config"]["seed"]
    record["config"] |= {"learning_rate": 1e-3, "batch_size": 16}
    (trainings[1].path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    fresh = [run for run in project.runs("train") if run.id in (trainings[0].id, trainings[1].id)]
    assert differences(project, fresh, T) == []


def test_the_same_initialised_model_is_not_made_twice(project, chain):
    (chain.rows.output / "config.json").write_text("{}", encoding="utf-8")
    values = {"base": project.base, "tokenizer": str(chain.tokenizer.output)}
    assert reusable_initialization(project, values) == chain.rows
    assert reusable_initialization(project, {**values, "method": "weighted-mean"}) is None


def test_a_model_made_from_files_that_changed_since_is_made_again(project, chain):
    (chain.rows.output / "config.json").write_text("{}", encoding="utf-8")
    changed = chain.tokenizer.output / "tokenizer.json"
    changed.write_text("{}", encoding="utf-8")
    os.utime(changed, (time.time() + 60, time.time() + 60))
    assert reusable_initialization(project, {"base": project.base, "tokenizer": str(chain.tokenizer.output)}) is None


def test_a_discarded_model_is_made_again(project, chain):
    assert reusable_initialization(project, {"base": project.base, "tokenizer": str(chain.tokenizer.output)}) is None


def test_a_sample_prompt_is_the_beginning_of_the_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("Глава\nОднажды маленький студент взял нож и ушёл\n", encoding="utf-8")
    assert prompt_from(str(text)) == "Однажды маленький студент взял"
    (tmp_path / "old.txt").write_bytes("Жил-был у бабушки".encode("cp1251"))
    assert prompt_from(str(tmp_path / "old.txt")) == ""
    assert prompt_from("hf://somewhere") == ""
