"""The effect study: its texts are apart, its intervals and marks are what they say, and all of it runs on generated text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lep_core.demo.world import LANGUAGES, held_out
from lep_core.evaluation.intervals import wilson
from studies import effect, effect_measure, effect_texts, results
from studies.effect_measure import difference_rows, value_rows
from studies.effect_plan import DEFAULT, TINY, Cell, Plan, combinations
from studies.effect_tables import Found

CELL = Cell("adapted", *DEFAULT).row()


@pytest.fixture(scope="module")
def novels() -> effect_texts.Novels:
    return effect_texts.made_up_novels(size_bytes=6_000, heldout_bytes=3_000, pairs_per_language=5)


def units(right: list[int], name: str = "tasks/ru") -> dict[str, Any]:
    return {name: {"task": "instruct", "metric": "exact_match", "numerators": right, "denominators": [1] * len(right), "is_share": True}}


def test_the_value_of_a_cell_is_its_mean_over_seeds_with_every_seed_beside_it():
    (row,) = value_rows(CELL, [units([1, 1, 0, 0]), units([1, 1, 1, 0])])
    assert row["value"] == pytest.approx(5 / 8)
    assert row["seeds"] == [0.5, 0.75]
    assert row["n"] == 4
    assert (row["low"], row["high"]) == wilson(2.5, 4)[1:]


def test_one_seed_of_right_and_wrong_gets_wilsons_interval():
    (row,) = value_rows(CELL, [units([1] * 9 + [0])])
    assert (row["value"], row["low"], row["high"]) == wilson(9, 10)


def test_a_difference_is_sure_only_when_the_interval_leaves_out_zero_and_all_seeds_agree():
    worse, better = [0] * 30 + [1] * 10, [1] * 30 + [0] * 10
    (sure,) = difference_rows(CELL, [units(better)] * 2, "original", [units(worse)])
    assert sure["sure"]
    assert sure["difference"] == pytest.approx(0.5)
    assert sure["low"] > 0
    # The mean over seeds is far above, but one seed says the opposite.
    (torn,) = difference_rows(CELL, [units([1] * 40), units([1] * 40), units([0] * 31 + [1] * 9)], "original", [units(worse)])
    assert torn["low"] > 0
    assert not torn["sure"]
    (same,) = difference_rows(CELL, [units(worse)], "original", [units(worse)])
    assert not same["sure"]


def test_seeds_that_only_one_side_has_do_not_count_in_a_difference():
    many = [units([1, 0, 0, 0]), units([1, 1, 1, 0]), units([0, 0, 0, 0])]
    (row,) = difference_rows(CELL, many[:2], "default", many)
    assert row["difference"] == 0
    assert row["seeds"] == [0, 0]


def test_equal_seeds_are_subtracted_from_each_other():
    first, second = [units([1, 0, 0, 0]), units([1, 1, 1, 0])], [units([0, 0, 0, 0]), units([1, 1, 0, 0])]
    (row,) = difference_rows(CELL, first, "default", second)
    assert row["seeds"] == [0.25, 0.25]


def test_one_axis_is_varied_at_a_time():
    plan = Plan()
    pairs = combinations(plan)
    assert pairs[0] == DEFAULT[:2]
    assert len(pairs) == len(set(pairs)) == len(plan.variants) + len(plan.initializations) - 1
    assert all(variant == DEFAULT[0] or initialization == DEFAULT[1] for variant, initialization in pairs)


def test_nothing_that_is_measured_is_learned(novels: effect_texts.Novels):
    material = effect_measure.material(novels, items=10, copies=8)
    asked = {item.prompt for item in (*material.items, *material.copies)}
    assert len(asked) >= 2 * 10
    assert all(held_out(prompt) for prompt in asked)
    told = effect_texts.conversations(Random(0), novels, 200, kinds=(0.6, 0.2, 0.2), longest=60)
    assert asked.isdisjoint(prompt for prompt, _ in told)
    mixed = effect_texts.mixed(Random(0), "ru", novels.adapt, novel_bytes=4_000, task_bytes=8_000)
    assert not any(prompt in text for prompt in asked for text in mixed)


def test_real_text_is_held_out_by_book_in_russian_and_by_place_in_english(shared_data: Path):
    novels = effect_texts.read_novels(shared_data, heldout_characters=20_000, pairs_per_language=100)
    assert not set(effect_texts.HELDOUT_RU) & {*effect_texts.BASE_RU, *effect_texts.ADAPT_RU}
    assert not set(effect_texts.BASE_RU) & set(effect_texts.ADAPT_RU)
    for language in LANGUAGES:
        read = {*novels.base[language], *(novels.adapt if language == "ru" else [])}
        assert read.isdisjoint(novels.heldout[language])
        assert 20_000 <= sum(map(len, novels.heldout[language])) < 30_000
        assert sum(pair["language"] == language for pair in novels.pairs) >= 100


def test_the_committed_result_fills_every_section_and_marks_follow_the_paired_interval():
    if not (results.RESULTS / "effect.json").is_file():
        pytest.skip("there is no result")
    result = results.load("effect")
    texts = effect.sections(result)
    assert all(text.strip() for text in texts.values())
    assert all(text.startswith("<svg") for text in effect.plots(result).values())
    found = Found(result)
    for (cell, reference, *column), row in found.differences.items():
        mark = found.mark(cell, (column[0], column[1]), reference)
        if mark:
            assert row["low"] > 0 or row["high"] < 0
            assert len({seed > 0 for seed in row["seeds"]}) == 1
            assert (mark == " ▲") == ((row["difference"] > 0) != (column[0] == "bits_per_byte"))


@pytest.mark.slow
def test_the_study_runs_on_generated_text_and_an_interrupted_run_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    plan = dataclasses.replace(TINY, variants=("continued-bpe",), initializations=("mean",), methods=("swap",), seeds=(0,), axis_seeds=(0,))
    parts = effect.run(plan, None, tmp_path)
    assert {row["made"] for row in parts["rows"]} >= {
        "original",
        "untrained",
        "adapted",
        "calibrated",
        "traditional",
        "tuned-alike",
        "base",
    }
    capfd.readouterr()
    again = effect.run(plan, None, tmp_path)
    assert "CPU-s" not in capfd.readouterr().err
    assert again == parts
