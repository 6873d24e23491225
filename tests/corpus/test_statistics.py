"""Counts agree with the plain definitions."""

from __future__ import annotations

import pytest

from lep_core.corpus.statistics import Statistics


def test_counts_are_those_of_the_definitions() -> None:
    texts = ["Привет, мир!\n", "a\u00a0b\u2003c", "", "日本語 😀"]
    statistics = Statistics()
    statistics.add(texts[:2])
    statistics.add(texts[2:])
    assert statistics.documents == 4
    assert statistics.characters == sum(map(len, texts))
    assert statistics.words == sum(len(text.split()) for text in texts)
    assert statistics.bytes == sum(len(text.encode()) for text in texts)
    assert sum(item["documents"] for item in statistics.length_histogram()) == 4


@pytest.mark.parametrize(
    ("script", "text"),
    {
        "Latin": "Zażółć",
        "Cyrillic": "Қазақ їжак",
        "Greek": "γλώσσα",
        "Arabic": "العربية",
        "Devanagari": "हिन्दी",
        "Han": "漢字",
        "Hangul": "한국어",
        "Kana": "ひらがなカタカナ",
        "Georgian": "ქართული",
        "Armenian": "Հայերեն",
        "Hebrew": "עברית",
        "Thai": "ภาษาไทย",
        "digits": "1234",
        "other": "አማርኛ",
    }.items(),
)
def test_scripts_are_told_apart(script: str, text: str) -> None:
    statistics = Statistics()
    statistics.add([text + " !?.—😀"])
    assert statistics.scripts() == {script: 1.0}


def test_script_shares_sum_to_one() -> None:
    statistics = Statistics()
    statistics.add(["aaa ббб 1"])
    assert statistics.scripts() == pytest.approx({"Latin": 3 / 7, "Cyrillic": 3 / 7, "digits": 1 / 7})


def test_the_histogram_has_inclusive_powers_of_two() -> None:
    statistics = Statistics()
    statistics.add(["x" * length for length in (1, 2, 3, 4, 7, 8)])
    assert statistics.length_histogram() == [
        {"from_characters": 1, "to_characters": 1, "documents": 1},
        {"from_characters": 2, "to_characters": 3, "documents": 2},
        {"from_characters": 4, "to_characters": 7, "documents": 2},
        {"from_characters": 8, "to_characters": 15, "documents": 1},
    ]
