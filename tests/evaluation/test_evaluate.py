"""Models are compared on the same units, with intervals, and what is complete survives a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lep_core.config import EvaluateConfig
from lep_core.errors import CorpusError
from lep_core.evaluation.evaluate import evaluate
from lep_core.evaluation.items import Item
from lep_core.evaluation.material import DOCUMENT_CHARACTERS, cut_document
from lep_core.progress import SilentReporter
from tests.factories import SENTENCES, tiny_model

ITEMS = [Item(prompt=text, answers=("x",), language="ru" if number % 2 else "en") for number, text in enumerate(SENTENCES)]
TASKS = ("bits-per-byte", "copy-sentence", "copy-paragraph", "instruct")


class Recorder(SilentReporter):
    def __init__(self, stop_after: int | None = None) -> None:
        self.metrics: list[dict] = []
        self.progressed: list[tuple[float, float | None]] = []
        self._stop_after = stop_after

    def metric(self, record) -> None:
        self.metrics.append(dict(record))

    def progress(self, done: float, total: float | None = None, unit: str = "") -> None:
        self.progressed.append((done, total))

    def should_stop(self) -> bool:
        return self._stop_after is not None and len(self.metrics) >= self._stop_after


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("m")
    (root / "a").mkdir()
    (root / "b").mkdir()
    first = tiny_model(root / "a", name="output", chat=True, max_position_embeddings=512)
    return [
        first,
        tiny_model(root / "b", name="output", sibling_of=first, chat=True, perturbation=0.3),
        tiny_model(root, name="base", max_position_embeddings=512),
    ]


def config_for(folders: list[Path], **changes) -> EvaluateConfig:
    values = {"model": tuple(map(str, folders)), "task": TASKS, "input": ("given",), "items": ("given",), "device": "cpu"}
    return EvaluateConfig(**(values | {"max_new_tokens": 200, "limit": 6} | changes))


def paragraphs() -> list[str]:
    return [f"{SENTENCES[number]} {SENTENCES[number + 1]}\n" for number in range(0, len(SENTENCES), 2)]


def test_every_model_and_task_has_rows_with_intervals(folders, tmp_path):
    reporter = Recorder()
    report = evaluate(config_for(folders), texts=paragraphs, items=ITEMS, output=tmp_path, reporter=reporter)
    values = report.to_json()
    json.dumps(values, allow_nan=False)
    assert reporter.metrics == list(report.results)
    names = ["a/output", "b/output", "base"]
    assert list(dict.fromkeys(row["model"] for row in report.results)) == names
    tasks = [(row["task"], row["metric"]) for row in report.results if row["model"] == "base"]
    assert tasks == [
        ("bits-per-byte", "bits_per_byte"),
        ("copy-sentence", "token_ratio"),
        ("copy-sentence", "exact_copy"),
        ("copy-paragraph", "lcs_above_99"),
        ("instruct", "exact_match"),
        ("instruct/en", "exact_match"),
        ("instruct/ru", "exact_match"),
    ]
    for row in report.results:
        assert set(row) == {"model", "task", "metric", "value", "low", "high", "n"}
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] == (3 if "/" in row["task"] else 6)
    assert len(report.differences) == 2 * len(tasks)
    assert {row["reference"] for row in report.differences} == {"a/output"}
    by_model = {row["model"]: row["value"] for row in report.results if row["task"] == "bits-per-byte"}
    [difference] = [row for row in report.differences if row["task"] == "bits-per-byte" and row["model"] == "base"]
    assert difference["difference"] == pytest.approx(by_model["base"] - by_model["a/output"])
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == len(report.answers) == 3 * 18
    assert len({model["fingerprint"] for model in report.models}) == 3


@pytest.mark.parametrize("text", ["", " \n", "short", "line of text\n" * 5000, "word " * 9000, "x" * 40_000, "a\n" + "x" * 40_000])
def test_long_documents_are_cut_without_losing_a_character(text):
    pieces = list(cut_document(text))
    assert "".join(pieces) == (text if text.strip() else "")
    assert all(0 < len(piece) <= DOCUMENT_CHARACTERS for piece in pieces)
    if text.startswith("line"):
        assert all(piece.endswith("\n") for piece in pieces)


def test_the_same_model_twice_differs_by_nothing(folders):
    config = config_for([folders[0], folders[0]], task=("bits-per-byte",))
    report = evaluate(config, texts=paragraphs())
    first, second = report.results
    assert second["model"] == "output (2)"
    assert {key: first[key] for key in ("value", "low", "high")} == {key: second[key] for key in ("value", "low", "high")}
    [difference] = report.differences
    assert (difference["difference"], difference["low"], difference["high"]) == (0, 0, 0)


def test_a_stop_keeps_complete_results(folders):
    reporter = Recorder(stop_after=3)
    report = evaluate(config_for(folders), texts=paragraphs, items=ITEMS, reporter=reporter)
    assert report.stopped
    assert [row["task"] for row in report.results] == ["bits-per-byte", "copy-sentence", "copy-sentence"]


def test_evaluating_without_text_says_what_is_missing(folders):
    with pytest.raises(CorpusError, match="no text"):
        evaluate(config_for(folders, task=("bits-per-byte",)), texts=[])
    with pytest.raises(CorpusError, match="no text that suits copy-paragraph"):
        evaluate(config_for(folders, task=("copy-paragraph",)), texts=["short."])
