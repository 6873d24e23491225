"""The calibrate tab: what each way starts, what the buttons say is missing, the pairs page by page, before and after."""

import json
import time

import gradio as gr
import pytest

from lep_core.config import CalibrateConfig
from lep_core.errors import ConfigError
from lep_core.files import write_json
from ui.calibrations import comparison_rows, history_rows, outcome_lines, pairs_summary
from ui.i18n import LANGUAGES, Translator
from ui.job_panel import job_selector
from ui.material import calibrated, models
from ui.tabs.calibrate import OWN_FIELDS, CalibrateTab
from ui.tabs.calibrate_result import card_text

T = Translator("en")
PAIRS = {
    "prompts": {"origin": "file", "candidates": 5, "dropped": {"repeated": 1}, "kept": 4},
    "answers": {"answers": 4, "answers_per_second": 2.0},
    "filters": {"given": 4, "kept": 2, "dropped": {"script": 1, "empty": 1}, "examples": {}},
    "copies": 1,
}


def row(model, task, value, **further):
    return {"model": model, "task": task, "metric": "m", "value": value, "low": value - 0.01, "high": value + 0.01, "n": 400, **further}


REPORT = {
    "pairs": PAIRS,
    "steps": 7,
    "conversations": 3,
    "learned_parameters": 1000,
    "seconds": 3.0,
    "results": [
        row(model, task, value)
        for model, value in (("before", 0.5), ("after", 0.6), ("teacher", 0.7))
        for task in ("instruct", "instruct/ru", "bits-per-byte")
    ],
    "differences": [
        {"model": "after", "reference": "before", "task": "instruct", "metric": "m", "difference": 0.1, "low": 0.05, "high": 0.15, "n": 400}
    ],
    "outcome": [
        {
            "code": "accuracy_up",
            "good": True,
            "values": {"language": "ru", "before": 0.5, "after": 0.6, "difference": 0.1, "low": 0.05, "high": 0.15, "n": 400},
        },
        {"code": "bits_worse", "good": False, "values": {"before": 0.5, "after": 0.6, "change": 0.2}},
    ],
}
REVIEW = [
    {"prompt": "<b>a</b>", "answer": "да", "reason": None, "score": None, "source": "f:1"},
    {"prompt": "b", "answer": "no", "reason": "script", "score": None, "source": "f:2"},
    {"prompt": "copy", "answer": "text", "reason": None, "score": None, "source": "copy"},
]


@pytest.fixture
def tab(studio, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    with gr.Blocks():
        studio.project = gr.Dropdown()
        studio.job = job_selector(studio.t)
        studio.job.render()
        return CalibrateTab(studio)


def entered(tab, **changes):
    """What the page would send for the form: the values that the inputs show, some of them changed."""
    return [changes.get(name, item.value) for name, item in tab.form.components.items()]


def made_pairs(project, chain, finish):
    values = {"model": str(chain.propagated.output), "teacher": project.instruct, "input": [chain.text], "pairs_only": True}
    run = finish(project.create_run("calibrate", values), report={"pairs": PAIRS})
    (run.output / "pairs.jsonl").write_text("{}\n", encoding="utf-8")
    (run.output / "review.jsonl").write_text("".join(json.dumps(one) + "\n" for one in REVIEW), encoding="utf-8")
    return run


def started(studio):
    return [run for what, run in studio.backend.queue.asked if what == "submit"]


def test_the_form_has_every_setting_but_those_of_the_run(tab):
    missing = set(CalibrateConfig.__dataclass_fields__) - set(tab.form.components)
    assert missing == {"output", "overwrite", "checkpoints", "resume", "pairs_only"}
    assert {name for names in OWN_FIELDS.values() for name in names} <= set(tab.form.components)


def test_pairs_are_made_from_the_originals_answers_and_nothing_is_tuned(tab, studio, project, chain):
    values = entered(tab, model=str(chain.propagated.output), teacher=project.instruct, input=[chain.text])
    tab.on_make(project.id, "self", "", None, None, *values)
    (run,) = started(studio)
    assert (run.verb, run.config["pairs_only"], run.config["teacher"]) == ("calibrate", True, project.instruct)


def test_made_pairs_are_learned_as_the_models_own_answers(tab, studio, project, chain, finish):
    pairs = made_pairs(project, chain, finish)
    tab.on_start(project.id, "self", pairs.id, None, None, *entered(tab, model=str(chain.propagated.output), teacher=project.instruct))
    (run,) = started(studio)
    assert run.config["data"] == [str(pairs.output / "pairs.jsonl")]
    assert (run.config["preset"], run.config["teacher"]) == ("self-calibration", None)
    assert run.inputs == {"way": "self", "pairs": pairs.id}


def test_own_conversations_are_learned_without_a_teacher(tab, studio, project, chain, tmp_path):
    upload = tmp_path / "mine.jsonl"
    upload.write_text("{}", encoding="utf-8")
    values = entered(tab, model=str(chain.propagated.output), teacher=project.instruct, input=[chain.text])
    tab.on_start(project.id, "data", "", None, [str(upload)], *values)
    (run,) = started(studio)
    assert run.config["teacher"] is None
    assert run.config["data"] == [str(project.path / "uploads" / "mine.jsonl")]
    assert not upload.exists()


def test_uploaded_prompts_take_the_place_of_suggested_ones(tab, studio, project, chain, tmp_path):
    suggestion, upload = tmp_path / "suggested.jsonl", tmp_path / "mine.txt"
    for path in (suggestion, upload):
        path.write_text("Hi", encoding="utf-8")
    project.update_settings(prompt_files=[str(suggestion)])
    values = entered(tab, model=str(chain.propagated.output), teacher=project.instruct, prompt_file=[str(suggestion)])
    tab.on_start(project.id, "self", "", [str(upload)], None, *values)
    assert started(studio)[0].config["prompt_file"] == [str(project.path / "uploads" / "mine.txt")]


@pytest.mark.parametrize(
    ("changes", "field"), [({"model": None}, "model"), ({"teacher": None}, "data"), ({"learning_rate": "9"}, "learning_rate")]
)
def test_a_wrong_setting_starts_nothing(tab, studio, project, chain, changes, field):
    values = {"model": str(chain.propagated.output), "teacher": project.instruct, "input": [chain.text], **changes}
    with pytest.raises(ConfigError) as caught:
        tab.on_start(project.id, "self", "", None, None, *entered(tab, **values))
    assert caught.value.field == field
    assert started(studio) == []


@pytest.mark.parametrize(
    ("way", "model", "teacher", "prompts", "data", "need"),
    [
        ("self", None, "t", ["p"], [], "need_propagated"),
        ("self", "m", None, ["p"], [], "need_teacher"),
        ("self", "m", "t", [], [], "need_prompts"),
        ("self", "m", "t", ["p"], [], None),
        ("data", "m", None, [], [], "need_data"),
        ("traditional", None, None, [], ["d"], "need_trained"),
        ("traditional", "m", None, [], ["d"], None),
    ],
)
def test_the_button_names_what_is_missing(tab, way, model, teacher, prompts, data, need):
    button = tab.on_change(way, model, teacher, prompts, [], data, None, None, "")[tab.start]
    assert button["interactive"] is (need is None)
    assert need is None or T(f"calibrate.{need}") in button["value"]


def test_each_way_shows_its_own_fields_and_models(tab, project, chain):
    changes = tab.on_way(project.id, "traditional", None, None, [], [], [], None, None, "")
    fields = tab.form.components
    assert changes[fields["data"]]["visible"] is True
    assert changes[fields["teacher"]]["visible"] is False
    assert changes[fields["template_from"]]["value"] == project.instruct
    assert changes[fields["model"]]["value"] == str(chain.trained.output)
    assert changes[fields["preset"]]["value"] == "traditional"


def test_the_pairs_are_shown_as_plain_text_with_the_reason(tab, project, chain, finish):
    run = made_pairs(project, chain, finish)
    changes = tab.view.refresh(project)
    assert changes[tab.view.table]["value"][0] == ["<b>a</b>", "да", T("reason.learned")]
    assert tab.view.table.datatype == "str"
    left_out = tab.view.turn(project.id, run.id, "left-out", 1)[tab.view.table]["value"]
    assert left_out == [["b", "no", T("reason.script")]]
    assert tab.view.turn(project.id, run.id, "copies", 1)[tab.view.table]["value"] == [["copy", "text", T("reason.copy")]]
    assert tab.view.turn(project.id, run.id, "all", 9)[tab.view.table]["value"] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_summary_counts_what_was_left_out(project, chain, finish, language):
    text = pairs_summary(made_pairs(project, chain, finish), Translator(language))
    assert "**2**" in text
    assert text.count("1") >= 3


def test_the_result_says_gains_and_losses_with_intervals(project, chain, finish, studio):
    values = {"model": str(chain.propagated.output), "teacher": project.instruct, "input": [chain.text]}
    run = finish(project.create_run("calibrate", values), report=REPORT, files=["config.json"])
    lines = outcome_lines(REPORT, T)
    assert lines[0].startswith("✔ Right answers, Russian")
    assert lines[1].startswith("⚠ Bits per byte")
    rows = comparison_rows(REPORT, T)
    assert rows[0][1:] == [
        "50.0 % [49.0 %, 51.0 %]",
        "60.0 % [59.0 %, 61.0 %]",
        "70.0 % [69.0 %, 71.0 %]",
        "+10.0 % [+5.0 %, +15.0 %]",
        "400",
    ]
    assert rows[2][1].startswith("0.5000 [")
    card = card_text(run, project, studio)
    assert "chat" in card
    assert history_rows(project, T)[0][3:7] == [T("way.self"), 7, 0.5, 0.6]


def test_results_are_among_the_models_and_pairs_are_not(project, chain, finish):
    made_pairs(project, chain, finish)
    run = finish(
        project.create_run("calibrate", {"model": str(chain.propagated.output), "data": [chain.text]}), report=REPORT, files=["config.json"]
    )
    assert calibrated(project, T) == [("Calibration 2", str(run.output))]
    assert models(project, T)[0] == ("Calibration 2", str(run.output))


def test_a_failed_calibration_says_why(project, chain, studio):
    run = project.create_run("calibrate", {"model": str(chain.propagated.output), "data": [chain.text]})
    error = {"kind": "CorpusError", "message": "no <conversation>", "hint": "Give some", "field": None, "traceback": None}
    write_json(run.path / "status.json", {"state": "failed", "seconds": 1.0, "heartbeat": time.time(), "error": error})
    card = card_text(run, project, studio)
    assert "<conversation>" not in card
    assert "conversation" in card
