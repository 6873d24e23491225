"""The composed run: what is learned and measured, and that a run which is broken off anywhere and resumed gives the same result."""

import json

import pytest

from lep_core import pipeline
from lep_core.calibration.calibrate import CalibrateReport
from lep_core.calibration.outcome import outcome
from lep_core.calibration.preview import preview_pairs
from lep_core.config import CalibrateConfig
from lep_core.console import summary
from lep_core.errors import ConfigError, CorpusError
from lep_core.models.weights import frozen_sha256
from lep_core.progress import SilentReporter
from tests.factories import SENTENCES, load_weights

TEXT = "\n\n".join(f"{first} {second}" for first in SENTENCES for second in SENTENCES)


@pytest.fixture
def settings(tiny, tmp_path):
    """A propagated model (here: a perturbed sibling), its original, prompts, text and items."""
    teacher = tiny(chat=True, name="teacher")
    model = tiny(sibling_of=teacher, name="propagated")
    (tmp_path / "prompts.txt").write_text("\n".join([*SENTENCES, "What is asked in the benchmark?"]), encoding="utf-8")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    items = [{"prompt": "What is asked in the benchmark?", "answer": "x"}, {"prompt": "Где ключ?", "answer": "да", "language": "ru"}]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return {
        "model": str(model),
        "teacher": str(teacher),
        "prompt_file": (str(tmp_path / "prompts.txt"),),
        "input": (str(tmp_path / "text.txt"),),
        "items": (str(tmp_path / "items.jsonl"),),
        "preset": "laptop",
        "batch_size": 4,
        "max_length": 256,
        "max_new_tokens": 6,
        "answer_batch": 5,
        "answer_script": "any",
        "unfinished": True,
        "checkpoint_every": 2,
        "limit": 20,
        "threads": 1,
        "output": str(tmp_path / "calibrated"),
    }


def run(settings, reporter=None, **changes):
    config = CalibrateConfig(**{**settings, **changes})
    return pipeline.calibrate(config, reporter or SilentReporter()).to_json()


class Killed(BaseException):
    """Nothing in the code expects it, as nothing expects SIGKILL."""


class KilledAt(SilentReporter):
    """Dies when a stage has reported progress so often."""

    def __init__(self, stage, after):
        self.wanted, self.after, self.present = stage, after, ""

    def stage(self, name):
        self.present = name

    def progress(self, done, total=None, unit=""):
        if self.wanted in self.present:
            self.after -= 1
            if self.after < 0:
                raise Killed


def same_model(first, second):
    one, two = load_weights(first), load_weights(second)
    return one.keys() == two.keys() and all((one[name] == two[name]).all() for name in one)


def test_a_run_killed_at_any_stage_and_resumed_gives_the_same_pairs_model_and_numbers(settings, tmp_path):
    whole = run(settings)
    output = tmp_path / "calibrated"
    # Killed among the answers, in the tuning and while measuring.
    for stage, after in (("original answers", 1), ("tuning", 3), ("after: instruct", 0)):
        broken = tmp_path / f"broken-{stage.split()[0]}"
        with pytest.raises(Killed):
            run(settings, KilledAt(stage, after), output=str(broken))
        assert not broken.exists()
        resumed = run(settings, output=str(broken), resume=True)
        assert same_model(output, broken)
        for name in ("pairs.jsonl", "review.jsonl"):
            assert (output / name).read_bytes() == (broken / name).read_bytes()
        for key in ("results", "differences", "outcome", "steps", "loss_after"):
            assert resumed[key] == whole[key], key
        assert resumed["pairs"]["filters"] == whole["pairs"]["filters"]
    assert whole["pairs"]["prompts"]["dropped"] == {"measured": 1}
    assert {row["model"] for row in whole["results"]} == {"before", "after", "teacher"}
    assert {row["task"] for row in whole["results"]} == {"instruct", "instruct/ru", "bits-per-byte"}
    assert any(row["task"] == "bits-per-byte" and row["model"] == "after" for row in whole["differences"])
    learned = [json.loads(line) for line in (output / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (
        sum(one["source"] == "copy" for one in learned) == whole["pairs"]["copies"] == round(whole["pairs"]["filters"]["kept"] * 0.4 / 0.6)
    )
    assert frozen_sha256(output) != frozen_sha256(settings["model"])


def test_pairs_alone_can_be_looked_at_and_learned_afterwards(settings, tmp_path):
    report = run(settings, pairs_only=True, output=str(tmp_path / "pairs"))
    assert "steps" not in report
    rows = preview_pairs(tmp_path / "pairs", 0, 5)
    assert len(rows) == 5
    given = {**settings, "teacher": None, "prompt_file": (), "items": (), "input": (), "data": (str(tmp_path / "pairs" / "pairs.jsonl"),)}
    tuned = run(given, output=str(tmp_path / "tuned"), steps=1)
    assert tuned["conversations"] + tuned["heldout_conversations"] == report["pairs"]["kept"]
    assert tuned["outcome"][0]["code"] == "not_measured"


def test_prompts_are_made_from_the_text_when_none_are_given(settings, tmp_path):
    report = run(settings, prompt_file=(), pairs_only=True, output=str(tmp_path / "pairs"))
    assert report["pairs"]["prompts"]["origin"] == "corpus"
    assert report["pairs"]["prompts"]["kept"] >= 2


def test_held_out_text_is_neither_asked_about_nor_copied(settings, tmp_path):
    heldout = tmp_path / "heldout.txt"
    secret = "Этот текст нужен только для измерений и ни для чего больше, совсем ни для чего."
    heldout.write_text(secret, encoding="utf-8")
    both = tmp_path / "both.txt"
    both.write_text(secret, encoding="utf-8")
    changes = {"prompt_file": (), "input": (*settings["input"], str(both)), "heldout": (str(heldout),), "pairs_only": True}
    run(settings, **changes, output=str(tmp_path / "pairs"))
    assert "измерений" not in (tmp_path / "pairs" / "review.jsonl").read_text(encoding="utf-8")


def test_nothing_left_to_learn_names_the_reason(settings, tmp_path):
    with pytest.raises(CorpusError, match="none of the 12 answers is left"):
        run(settings, min_answer_characters=100_000, output=str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    long = tmp_path / "long.txt"
    long.write_text("long " * 20_000, encoding="utf-8")
    with pytest.raises(CorpusError, match="all 1 prompts fill the whole context of the teacher"):
        run(settings, prompt_file=(str(long),), max_prompt_characters=1_000_000, output=str(tmp_path / "none"))


def test_given_conversations_that_ask_what_is_measured_are_not_learned(settings, tmp_path):
    def record(prompt):
        return json.dumps({"prompt": prompt, "response": "x"}) + "\n"

    asked, other = record(" what IS asked in the benchmark? "), "".join(record(f"Say {number}.") for number in range(5))
    data, all_asked = tmp_path / "data.jsonl", tmp_path / "asked.jsonl"
    data.write_text(asked + other, encoding="utf-8")
    all_asked.write_text(asked, encoding="utf-8")
    given = {**settings, "teacher": None, "prompt_file": (), "input": (), "steps": 1}
    report = run(given, data=(str(data),))
    assert (report["conversations"] + report["heldout_conversations"], report["unusable"]) == (5, 1)
    with pytest.raises(CorpusError, match="all conversations ask what is in --items"):
        run(given, data=(str(all_asked),), output=str(tmp_path / "none"))


def test_the_short_report_holds_what_came_of_it_in_whole_sentences():
    (one,) = outcome([], [])
    assert f"\n  {one.in_english()}" in summary(CalibrateReport(outcome=(one.to_json(),), seconds=1.0).to_summary())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt_file": (), "input": ()}, "prompt_file"),
        ({"teacher": None, "data": ("d.jsonl",)}, "prompt_file"),
        ({"prompt_template": ("no place for it",)}, "prompt_template"),
        ({"judge": "m", "judge_template": "{prompt} only"}, "judge_template"),
    ],
)
def test_settings_that_cannot_work_are_refused_early(settings, changes, field):
    with pytest.raises(ConfigError) as caught:
        CalibrateConfig(**{**settings, **changes})
    assert caught.value.field == field


def test_a_teacher_without_a_chat_template_is_refused(settings, tiny):
    with pytest.raises(ConfigError, match="no chat template"):
        run(settings, teacher=str(tiny()))


def statement(low, high):
    rows = [{"model": model, "task": "instruct", "value": value} for model, value in (("before", 0.5), ("after", 0.6))]
    differences = [{"model": "after", "task": "instruct", "difference": 0.1, "low": low, "high": high, "n": 9}]
    return outcome(rows, differences)[0].code


def test_gains_and_losses_are_called_so_only_beyond_chance():
    assert statement(0.01, 0.2) == "accuracy_up"
    assert statement(-0.2, -0.01) == "accuracy_down"
    assert statement(-0.1, 0.2) == statement(None, None) == "accuracy_open"
    bits = [{"model": model, "task": "bits-per-byte", "value": value} for model, value in (("before", 1.0), ("after", 1.021))]
    assert [one.code for one in outcome(bits, [])] == ["bits_worse"]
    bits[1]["value"] = 1.019
    assert [one.code for one in outcome(bits, [])] == ["bits_kept"]
