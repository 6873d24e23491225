"""Intervals agree with known values, repeat themselves and compare models on the same draws."""

from __future__ import annotations

import numpy as np
import pytest

from lep_core.evaluation.intervals import bootstrap_difference, bootstrap_ratio, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 1, 0.2065, 1.0)],  # Newcombe 1998, table I
)
def test_wilson_equals_published_values(successes, n, low, high):
    value, lower, upper = wilson(successes, n)
    assert value == successes / n
    assert (lower, upper) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_the_bootstrap_repeats_itself_for_a_seed():
    values = np.random.default_rng(3).gamma(2.0, size=50)
    ones = np.ones(50)
    assert bootstrap_ratio(values, ones, seed=1) == bootstrap_ratio(values, ones, seed=1)
    assert bootstrap_ratio(values, ones, seed=1) != bootstrap_ratio(values, ones, seed=2)


def test_the_bootstrap_of_a_mean_agrees_with_the_normal_interval():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    value, low, high = bootstrap_ratio(values, np.ones(400), seed=0, resamples=4000)
    error = values.std() / 20
    assert value == pytest.approx(values.mean())
    assert (low, high) == (pytest.approx(value - 1.96 * error, abs=0.02), pytest.approx(value + 1.96 * error, abs=0.02))


def test_a_ratio_weighs_units_by_their_denominator_and_chunks_change_nothing(monkeypatch):
    top, bottom = [1.0, 30.0, 2.0], [1.0, 10.0, 4.0]
    whole = bootstrap_ratio(top, bottom, seed=5, resamples=500)
    assert whole.value == pytest.approx(33 / 15)
    monkeypatch.setattr("lep_core.evaluation.intervals._CHUNK_ELEMENTS", 30)
    assert bootstrap_ratio(top, bottom, seed=5, resamples=500) == whole


def test_a_paired_difference_is_sharper_than_two_separate_intervals():
    hardness = np.random.default_rng(0).uniform(0.5, 3.0, size=100)
    bytes_ = np.full(100, 10.0)
    better, worse = (hardness * 10, bytes_), (hardness * 10 * 1.02, bytes_)
    value, low, high = bootstrap_difference(better, worse, seed=0)
    assert value < 0
    assert high < 0, "the difference is certain although the two intervals overlap"
    assert high - low < 0.1 * (bootstrap_ratio(*better, seed=0).high - bootstrap_ratio(*better, seed=0).low)


def test_a_single_unit_has_no_interval():
    assert bootstrap_ratio([3.0], [2.0], seed=0) == (1.5, None, None)
    assert bootstrap_difference(([3.0], [2.0]), ([1.0], [2.0]), seed=0) == (1.0, None, None)


def test_a_difference_needs_the_same_units():
    with pytest.raises(ValueError, match="same units"):
        bootstrap_difference(([1.0], [1.0]), ([1.0, 2.0], [1.0, 1.0]))
