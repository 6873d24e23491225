"""Cleaning removes three things and nothing else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lep_core.corpus.clean import CleaningCounts, clean


def test_marks_windows_line_ends_and_nul_go_away_and_are_counted() -> None:
    counts = CleaningCounts()
    assert clean("\ufeffа\r\nб\0в\r\n\0", counts) == "а\nбв\n"
    assert counts.to_json() == {"byte_order_marks": 1, "windows_line_ends": 2, "nul_characters": 2}


@settings(max_examples=50, deadline=None, database=None)
@given(st.text().filter(lambda text: "\r\n" not in text and "\0" not in text and not text.startswith("\ufeff")))
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text
