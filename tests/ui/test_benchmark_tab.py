"""The benchmark tab: what is finished is shown at once, differences are put in plain words, a model has one colour."""

import csv
import json
from pathlib import Path

import pytest

from lep_core.config import TASKS
from lep_core.evaluation.partial import RESULTS_FILE, partial_folder
from ui.benchmarks import GROUP, PART, Wish, collect, groups, start_benchmark
from ui.i18n import Translator
from ui.plots import model_colour, model_symbol
from ui.tabs.benchmark_charts import CHARTS, charts, qualities, usual_quality
from ui.tabs.benchmark_results import comparison, differences_table, headline_rows, state_text, table, task_name, write_downloads


def row(model, task, value, metric="accuracy", spread=0.05, n=50):
    return {"model": model, "task": task, "metric": metric, "value": value, "low": value - spread, "high": value + spread, "n": n}


def difference(model, reference, task, value, metric="accuracy", spread=0.02):
    ends = {"low": value - spread, "high": value + spread}
    return {"model": model, "reference": reference, "task": task, "metric": metric, "difference": value, **ends, "n": 50}


@pytest.fixture(autouse=True)
def served(tmp_path, monkeypatch):
    """The folder that downloads may come from."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))


@pytest.fixture
def paths(project, chain):
    return {"original": project.instruct, "result": str(chain.propagated.output), "trained": str(chain.trained.output)}


@pytest.fixture
def begun(project, chain, paths):
    """An evaluation and a speed test that are queued."""
    inputs = {GROUP: "g1"}
    models = list(paths.values())
    values = {"model": models, "task": ["bits-per-byte", "instruct"], "input": [chain.text], "items": [chain.text]}
    evaluation = project.create_run("evaluate", values, {**inputs, PART: "new"})
    speed = project.create_run("benchmark-speed", {"model": models, "input": [chain.text]}, {**inputs, PART: "speed"})
    return evaluation, speed


@pytest.fixture
def done(begun, paths, finish):
    evaluation, speed = begun
    rows, differences = [], []
    for name, (ru, en, bits) in {"original": (0.6, 0.9, 0.8), "result": (0.8, 0.85, 0.5), "trained": (0.5, 0.7, 0.6)}.items():
        path = paths[name]
        rows += [row(path, "instruct", (ru + en) / 2), row(path, "instruct/ru", ru), row(path, "instruct/en", en)]
        rows += [row(path, "bits-per-byte", bits, "bits_per_byte"), row(path, "instruct/some-group", 0.1)]
        if name != "original":
            differences += [
                difference(path, paths["original"], "instruct/ru", ru - 0.6),
                difference(path, paths["original"], "instruct/en", 0.01),
            ]
            differences.append(difference(path, paths["original"], "bits-per-byte", bits - 0.8, "bits_per_byte"))
    finish(evaluation, report={"results": rows, "differences": differences})
    fast = [
        {
            "model": path,
            "characters_per_second": 100.0 * factor,
            "characters_per_second_min": 90.0 * factor,
            "characters_per_second_max": 120.0 * factor,
        }
        | {
            "measured_speedup": factor,
            "measured_speedup_low": factor - 0.1,
            "measured_speedup_high": factor + 0.1,
            "predicted_speedup": factor,
        }
        | {"characters_per_second_ratio": factor, "characters_per_token": 2.0, "relative_cost": 1 / factor}
        for path, factor in zip(paths.values(), (1.0, 1.5, 1.4), strict=True)
    ]
    finish(speed, report={"models": fast})
    return "g1"


def test_finished_tasks_are_shown_while_the_run_goes_on(studio, project, begun, paths):
    evaluation, _ = begun
    assert groups(project) == ["g1"]
    folder = partial_folder(evaluation.output)
    folder.mkdir(parents=True)
    lines = [
        json.dumps(row(paths["original"], "instruct/ru", 0.6)),
        json.dumps(row(paths["result"], "instruct/ru", 0.8)),
        '{"model": "torn',
    ]
    (folder / RESULTS_FILE).write_text("\n".join(lines), encoding="utf-8")
    found = collect(studio, project, "g1")
    assert [item["value"] for item in found.results] == [0.6, 0.8]
    assert "waiting" in state_text(found, studio)


def test_rows_of_the_log_serve_where_nothing_else_is_kept(studio, project, begun, paths):
    evaluation, _ = begun
    records = [row(paths["original"], "instruct/ru", 0.5), {"step": 1, "loss": 2.0}, row(paths["original"], "instruct/ru", 0.6)]
    (evaluation.path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    assert [item["value"] for item in collect(studio, project, "g1").results] == [0.6], "a resumed run reports again"


def test_a_stopped_benchmark_can_go_on_and_says_so(studio, project, begun, finish):
    from ui.tabs.benchmark import BenchmarkTab

    evaluation, speed = begun
    finish(evaluation, state="stopped")
    finish(speed, state="failed", error={"kind": "JobError", "message": "it *died*", "hint": "h"})
    (evaluation.path / "metrics.jsonl").write_text(json.dumps(row(project.instruct, "instruct/ru", 0.6)) + "\n", encoding="utf-8")
    text = state_text(collect(studio, project, "g1"), studio)
    assert "stopped" in text
    assert "failed" in text
    assert "*died*" not in text, "messages are no markup"
    import gradio as gr

    with gr.Blocks():
        studio.project = gr.Dropdown()
        tab = BenchmarkTab(studio)
        shown = tab.draw(project.id, "g1")
        assert shown[tab.resume]["visible"]
        tab.on_resume(project.id, "g1")
    assert {(what, run.verb) for what, run in studio.backend.queue.asked} == {("resume", "evaluate"), ("resume", "benchmark-speed")}


def test_nothing_is_drawn_again_that_looks_as_before(studio, project, done):
    import gradio as gr

    from ui.tabs.benchmark import BenchmarkTab

    with gr.Blocks():
        studio.project = gr.Dropdown()
        tab = BenchmarkTab(studio)
        first = tab.draw(project.id, done)
        assert set(first) == set(tab.drawn)
        again = tab.draw(project.id, done, None, first[tab.seen])
        assert tab.table not in again
        assert set(tab.draw(project.id, None)) == set(tab.drawn)


@pytest.mark.parametrize(
    ("value", "metric", "spread", "word"),
    [
        (0.1, "accuracy", 0.02, "better"),
        (-0.1, "accuracy", 0.02, "worse"),
        (-0.1, "bits_per_byte", 0.02, "better"),
        (0.1, "word_perplexity", 0.02, "worse"),
        (0.1, "accuracy", 0.2, "same"),
        (0.1, "token_ratio", 0.02, "differs"),
    ],
)
def test_a_difference_is_called_what_its_interval_says(value, metric, spread, word):
    assert comparison(difference("a", "b", "t", value, metric, spread)) == f"benchmark.{word}"


def test_one_unit_alone_says_nothing():
    assert comparison({"low": None, "high": None, "metric": "accuracy"}) == "benchmark.same"


def test_differences_stand_beside_both_values(studio, project, done):
    shown = differences_table(collect(studio, project, done), studio.t)
    cells = shown["metadata"]["display_value"]
    texts = {(line[1], line[2], line[3]): line[4:] for line in cells}
    assert texts["questions, Russian", "60.0%", "80.0%"] == ["+20.0 points [+18.0 points … +22.0 points] n=50", "better"]
    assert ("bits per byte", "0.800", "0.500") in texts
    assert texts["bits per byte", "0.800", "0.500"][1] == "better"
    assert texts["questions, English", "90.0%", "85.0%"][1] == "not distinguishable"


def test_a_model_has_one_colour_and_symbol_in_all_charts(studio, project, done):
    found = collect(studio, project, done)
    updates = charts(found, "ru", studio.t)
    assert set(updates) == set(CHARTS)
    seen = {}
    for update in updates.values():
        for trace in update["value"].data:
            if trace.name in found.paths:
                seen.setdefault(trace.name, set()).add(trace.marker.color)
                if trace.type == "scatter":
                    assert trace.marker.symbol == model_symbol(found.place(trace.name))
    expected = {label: model_colour(found.place(label)) for label in found.paths}
    assert seen == {label: {colour} for label, colour in expected.items()}
    assert len(set(expected.values())) == len(expected)
    assert next(iter(found.paths)) == found.original
    (speeds,) = updates["speed"]["value"].data
    assert dict(zip(speeds.y, speeds.marker.color, strict=True)) == expected


def test_charts_hold_the_measured_numbers(studio, project, done):
    found = collect(studio, project, done)
    updates = charts(found, "ru", studio.t)
    gain = {trace.name: (trace.x[0], trace.y[0]) for trace in updates["gain"]["value"].data}
    assert gain[found.original] == (100.0, 0.6)
    assert updates["gain"]["value"].data[0].error_x.array == (20.0,)
    languages = {trace.name: (trace.x[0], trace.y[0]) for trace in updates["languages"]["value"].data if trace.name in found.paths}
    assert languages[found.original] == (0.9, 0.6)
    prediction = {trace.name: (trace.x[0], trace.y[0]) for trace in updates["prediction"]["value"].data if trace.name in found.paths}
    assert (1.5, 1.5) in prediction.values()


def test_any_measurement_can_stand_for_quality(studio, project, done):
    found = collect(studio, project, done)
    assert usual_quality(found, "ru") == "instruct/ru accuracy"
    offered = dict(qualities(found, studio.t))
    assert offered["bits per byte"] == "bits-per-byte bits_per_byte"
    chart = charts(found, "ru", studio.t, offered["bits per byte"])["gain"]["value"]
    assert chart.layout.yaxis.autorange == "reversed", "up is better"


def test_groups_of_items_are_left_to_the_downloads(studio, project, done):
    found = collect(studio, project, done)
    assert not any("some-group" in line["task"] for line in headline_rows(found))
    table_file, record_file, text_file = write_downloads(found, done, studio.t)
    lines = list(csv.DictReader(table_file.read_text(encoding="utf-8").splitlines()))
    assert any(line["task"] == "instruct/some-group" for line in lines)
    assert any(line["task"] == "speed" and line["metric"] == "predicted_speedup" for line in lines)
    record = json.loads(record_file.read_text(encoding="utf-8"))
    assert record["complete"] is True
    assert len(record["differences"]) == 6
    assert str(project.path) not in json.dumps(record["results"] + record["speed"] + record["models"]), "no path of the server"
    assert text_file.read_text(encoding="utf-8").count("| ---") >= 2


def test_tables_are_as_wide_as_their_headers(studio, project, done):
    found = collect(studio, project, done)
    for shown in (table(found, studio.t), differences_table(found, studio.t)):
        for lines in (shown["data"], shown["metadata"]["display_value"]):
            assert lines
            assert {len(line) for line in lines} == {len(shown["headers"])}


def test_tasks_of_the_harness_are_asked_for_with_their_folder(studio, project, chain):
    wish = Wish(
        models=[project.instruct],
        text=[chain.text],
        old_text=[],
        items=[],
        tasks=[],
        limit=10,
        with_control=False,
        with_speed=False,
        harness=["arc_easy", "mine"],
        harness_path="tasks",
    )
    start_benchmark(studio, project, wish)
    (run,) = project.runs("evaluate")
    assert run.config["harness"] == ["arc_easy", "mine"]
    assert Path(run.config["harness_path"]).is_absolute()
    assert run.config["task"] == []


def test_every_task_has_a_name_in_both_languages():
    for language in ("en", "ru"):
        t = Translator(language)
        assert all(t.has(f"task.{name}") for name in TASKS)
        assert task_name("harness/arc_easy", t, "acc_norm").startswith("arc_easy (")
