"""The pages of the studies say what the result files say."""

from __future__ import annotations

import re

import pytest

from studies import report


def test_the_pages_and_their_plots_are_what_the_committed_results_make():
    assert report.main(["--check"]) == 0, "run python -m studies.report"


def test_every_plot_is_shown_and_every_shown_plot_is_there():
    shown = set(re.findall(r"\]\(study/([\w.-]+\.svg)\)", report.PAGES[0].read_text(encoding="utf-8")))
    assert shown == {path.name for path in report.PLOTS.glob("*.svg")}


def test_sections_are_put_between_their_markers_and_nowhere_else():
    page = "before\n<!-- begin: a.b -->\nold\n<!-- end -->\nafter\n<!-- begin: a.c -->\n<!-- end -->\n"
    filled = report.filled(page, {"a.b": "new", "a.c": "more"})
    assert filled == "before\n<!-- begin: a.b -->\nnew\n<!-- end -->\nafter\n<!-- begin: a.c -->\nmore\n<!-- end -->\n"
    assert report.filled(filled, {"a.b": "new", "a.c": "more"}) == filled


def test_an_unknown_section_is_refused_with_the_known_ones():
    with pytest.raises(report.ReportError, match=r"x\.y; there are: a\.b"):
        report.filled("<!-- begin: x.y -->\n<!-- end -->", {"a.b": ""})


def test_tables_align_and_intervals_print():
    assert report.table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
    assert report.with_interval(1.234, 1.2, 1.3) == "1.23 [1.20, 1.30]"
    assert report.with_interval(1.234, None, None, 1) == "1.2"
