"""The metrics log survives a killed writer and a resumed run."""

from __future__ import annotations

import json
from contextlib import closing

from lep_core.runs.metrics import MetricsWriter, json_safe, read_metrics


def test_a_torn_last_line_is_skipped_and_the_next_writer_begins_a_new_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1, "loss": 2.5}]
    with closing(MetricsWriter(path)) as writer:
        writer.append({"step": 2, "loss": 2.25})
    assert read_metrics(path) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25}]


def test_a_letter_cut_in_half_does_not_break_the_reader(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes('{"step": 1}\n{"text": "ж'.encode()[:-1])
    assert read_metrics(path) == [{"step": 1}]


def test_records_are_visible_at_once(tmp_path):
    with closing(MetricsWriter(tmp_path / "metrics.jsonl")) as writer:
        writer.append({"step": 1})
        assert read_metrics(writer.path) == [{"step": 1}]


def test_a_resumed_run_replaces_the_steps_it_repeats(tmp_path):
    with closing(MetricsWriter(tmp_path / "metrics.jsonl")) as writer:
        for step, loss in [(1, 3.0), (2, 2.0), (3, 1.5), (2, 2.1), (3, 1.6), (4, 1.0)]:
            writer.append({"step": step, "loss": loss})
        writer.append({"step": 4, "heldout_bits_per_byte": 1.2})
    losses = [(item["step"], item["loss"]) for item in read_metrics(writer.path) if "loss" in item]
    assert losses == [(1, 3.0), (2, 2.1), (3, 1.6), (4, 1.0)]
    assert read_metrics(writer.path)[-1] == {"step": 4, "heldout_bits_per_byte": 1.2}


def test_not_a_number_becomes_null(tmp_path):
    with closing(MetricsWriter(tmp_path / "metrics.jsonl")) as writer:
        writer.append({"step": 1, "loss": float("nan"), "gap": float("inf")})
    assert json.loads(writer.path.read_text()) == {"step": 1, "loss": None, "gap": None}
    assert json_safe({"a": (1, float("nan"))}) == {"a": [1, None]}


def test_no_file_means_no_records(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_each_learning_rate_of_a_sweep_keeps_its_own_steps(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records = [{"learning_rate": rate, "step": step, "heldout_bits_per_byte": rate * step} for rate in (0.1, 0.2) for step in (0, 5)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert read_metrics(path) == records
