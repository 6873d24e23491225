"""The verdict follows from the numbers, the unwelcome ones included."""

import pytest

from lep_core.evaluation.verdict import ENGLISH, verdict


def row(model, task, value, n=200):
    return {"model": model, "task": task, "metric": "x", "value": value, "low": value, "high": value, "n": n}


def judge(results=(), fertility=(), speed=(), adapted=("new",)):
    statements = verdict(fertility=fertility, results=results, speed=speed, original="old", control="untrained", adapted=adapted)
    return {statement.code: statement for statement in statements}


def test_tokens_saved_is_a_share_of_tokens_per_character():
    said = judge(fertility=[{"characters_per_token": 2.0}, {"characters_per_token": 4.0}])["fewer_tokens"]
    assert said.values["saved"] == pytest.approx(0.5)
    assert "50% fewer tokens" in said.in_english()


def test_a_vocabulary_that_does_not_fit_is_called_so():
    assert judge(fertility=[{"characters_per_token": 4.0}, {"characters_per_token": 2.0}])["more_tokens"].good is False


def test_bits_per_byte_are_held_against_original_and_control():
    results = [row("old", "bits-per-byte", 1.0), row("untrained", "bits-per-byte", 2.0), row("new", "bits-per-byte", 0.8)]
    said = judge(results)
    assert said["text_better"].good is True
    assert said["training_helped"].values["gain"] == pytest.approx(1.2)


def test_training_that_hurts_is_said():
    results = [row("old", "bits-per-byte", 1.0), row("untrained", "bits-per-byte", 2.0), row("new", "bits-per-byte", 2.5)]
    said = judge(results)
    assert {"text_worse", "training_did_not_help"} <= set(said)
    assert not said["text_worse"].good


def test_suffering_skills_are_said_together_with_what_helps():
    results = [row("old", "instruct/ru", 0.74), row("untrained", "instruct/ru", 0.3), row("new", "instruct/ru", 0.45)]
    said = judge(results)
    assert said["skill_suffers"].good is False
    assert "45.0% right, 74.0% by the original, 30.0% without training (n = 200)" in said["skill_suffers"].in_english()
    assert "what_helps" in said


def test_kept_skills_bring_no_advice():
    said = judge([row("old", "instruct/en", 0.985), row("new", "instruct/en", 0.96)])
    assert said["skill_kept"].good is True
    assert "what_helps" not in said


def test_a_gain_within_the_intervals_is_not_called_one():
    original, result = row("old", "instruct/ru", 0.925), row("new", "instruct/ru", 0.975)
    assert "skill_better" in judge([original, result])
    assert "skill_kept" in judge([{**original, "high": 0.954}, {**result, "low": 0.943}])


def test_speed_is_characters_per_second():
    speed = [{"model": "old", "characters_per_second_ratio": 1.0}, {"model": "new", "characters_per_second_ratio": 1.57}]
    assert judge(speed=speed)["faster"].values["ratio"] == pytest.approx(1.57)
    speed[1]["characters_per_second_ratio"] = 0.9
    assert judge(speed=speed)["not_faster"].good is False


def test_nothing_measured_says_nothing():
    assert judge() == {}


def test_every_text_can_be_filled():
    assert all(isinstance(text, str) for text in ENGLISH.values())


def fell(points, low, high, task="instruct/ru"):
    return {"model": "new", "reference": "old", "task": task, "difference": points / 100, "low": low / 100, "high": high / 100}


@pytest.mark.parametrize(
    ("difference", "code"),
    [
        (fell(-2.0, -3.5, -0.5), "skill_fell"),
        (fell(-8.0, -17.0, 1.0), "skill_unclear"),
        (fell(-2.0, -5.0, 1.0), "skill_kept"),
        (fell(2.0, 0.5, 3.5), "skill_better"),
        ({**fell(-9.0, -12.0, -6.0), "reference": "another"}, "skill_suffers"),
    ],
)
def test_with_pairs_a_skill_is_lost_or_better_only_when_the_interval_leaves_zero_out(difference, code):
    value = 0.9 + difference["difference"]
    rows = [{**row("old", "instruct/ru", 0.9), "high": 1.0}, row("new", "instruct/ru", value)]
    statements = verdict(fertility=(), results=rows, speed=(), original="old", control=None, adapted=["new"], differences=[difference])
    assert statements[0].code == code
    assert (code in ("skill_fell", "skill_suffers")) == (statements[-1].code == "what_helps")


def test_a_loss_that_bits_per_byte_hide_is_said_with_its_interval_and_the_size_of_the_move():
    rows = [row("old", "instruct/ru", 0.92), row("new", "instruct/ru", 0.5)]
    rows += [row("old", "bits-per-byte", 0.73), row("new", "bits-per-byte", 0.66)]
    moves = [{"matrix": "output", "rows": "shared", "relative": 2.21}, {"matrix": "input", "rows": "shared", "relative": 0.2}]
    statements = verdict(
        fertility=(), results=rows, speed=(), original="old", control=None, adapted=["new"], differences=[fell(-42, -46, -34)], moves=moves
    )
    said = {statement.code: statement.in_english() for statement in statements}
    assert "-42.0 points [-46.0, -34.0] (n = 200)" in said["skill_fell"]
    assert "0.660 against 0.730" in said["text_hid_it"]
    assert "head's rows of shared tokens by 221%" in said["large_move"]
    assert "self-calibration" in said["what_helps"]
