"""A benchmark is a set of runs with a control; its results come together under the names that the page uses."""

import pytest

from ui.benchmarks import Wish, collect, groups, start_benchmark, tokenizer_behind
from ui.material import CONTROL
from ui.tabs.benchmark_results import table, task_name, verdict_text


def test_the_tokenizer_behind_a_result_is_found_through_its_runs(project, chain):
    assert tokenizer_behind(project, str(chain.propagated.output)) == str(chain.tokenizer.output)
    assert tokenizer_behind(project, project.instruct) is None


def test_a_benchmark_makes_the_control_first_and_only_once(studio, project, chain, finish):
    start_benchmark(studio, project, wish(project, chain))
    controls = [run for run in project.runs("propagate") if run.inputs.get(CONTROL)]
    assert len(controls) == 1
    (evaluation,) = [run for run in project.runs("evaluate") if run.inputs["part"] == "new"]
    assert evaluation.after == (controls[0].id,)
    assert str(controls[0].output) in evaluation.config["model"]
    start_benchmark(studio, project, wish(project, chain))
    assert len([run for run in project.runs("propagate") if run.inputs.get(CONTROL)]) == 1


@pytest.fixture
def measured(studio, project, chain, finish):
    group = start_benchmark(studio, project, wish(project, chain))
    (control,) = [finish(run) for run in project.runs("propagate") if run.inputs.get(CONTROL)]
    paths = {"original": project.instruct, "control": str(control.output), "result": str(chain.propagated.output)}
    numbers = {"original": (0.6, 0.9), "control": (1.5, 0.3), "result": (0.5, 0.25)}
    for run in project.runs("evaluate"):
        rows = []
        for name, (bits, right) in numbers.items():
            rows.append(row(paths[name], "bits-per-byte", bits))
            if run.inputs["part"] == "new":
                rows.append(row(paths[name], "instruct/ru", right))
        finish(run, report={"results": rows})
    (speed,) = project.runs("benchmark-speed")
    finish(
        speed,
        report={
            "models": [
                {"model": path, "characters_per_second": 100.0, "characters_per_second_ratio": 1.0, "characters_per_token": 2.0}
                for path in paths.values()
            ]
        },
    )
    return group


def test_results_are_joined_and_named(studio, project, measured):
    assert groups(project) == [measured]
    found = collect(studio, project, measured)
    assert found.original.startswith("Original instruct")
    assert found.control.startswith("Control")
    assert found.adapted == ["Propagation 1 · swap"] or found.adapted == ["Propagation 2 · swap"]
    assert {item["task"] for item in found.results} == {"bits-per-byte", "bits-per-byte/replay", "instruct/ru"}
    assert list(found.paths)[:2] == [found.original, found.control]


def test_the_verdict_names_the_skill_that_suffered_and_what_helps(studio, project, measured):
    said = verdict_text(collect(studio, project, measured), project, studio)
    assert "predicted better" in said
    assert "tasks in Russian suffer" in said
    assert "Recommended" in said


def test_the_table_shows_intervals_and_n(studio, project, measured):
    shown = table(collect(studio, project, measured), studio.t)
    assert shown["headers"][0] == "Model"
    cells = shown["metadata"]["display_value"]
    assert any("n=200" in cell and "[" in cell for row in cells for cell in row)
    assert all(isinstance(cell, float) for row in shown["data"] for cell in row[1:]), "columns of numbers can be sorted"


def test_no_original_no_verdict(studio, project, measured):
    found = collect(studio, project, measured)
    without = type(found)(**{**vars(found), "original": None})
    assert "original instruct model was not measured" in verdict_text(without, project, studio)


def test_tasks_have_names_in_words(studio):
    assert task_name("bits-per-byte/replay", studio.t) == "bits per byte, old language"
    assert task_name("instruct/ru", studio.t) == "questions, Russian"
    assert "{" not in task_name("instruct", studio.t)


def wish(project, chain) -> Wish:
    models = [project.instruct, str(chain.propagated.output)]
    return Wish(
        models=models,
        text=[chain.text],
        old_text=[chain.text],
        items=[chain.text],
        tasks=["bits-per-byte", "instruct"],
        limit=10,
        with_control=True,
        with_speed=True,
    )


def row(model, task, value):
    metric = "bits_per_byte" if task.startswith("bits") else "accuracy"
    return {"model": model, "task": task, "metric": metric, "value": value, "low": value - 0.01, "high": value + 0.01, "n": 200}
