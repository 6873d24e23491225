"""Plots are well-formed, hold no script, and put marks where the values are."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from studies.svg import HEIGHT, WIDTH, Bar, Point, bars, lines

SPACE = "{http://www.w3.org/2000/svg}"


def two_lines() -> str:
    series = {"bpe <&>": [Point(4000, 3.0, 2.9, 3.1), Point(32000, 4.0)], "unigram": [Point(4000, 2.5), Point(32000, 4.4)]}
    return lines("A & B", series, x_label="tokens", y_label="characters", logarithmic_x=True, level=("before", 2.2))


def two_bars() -> str:
    return bars(
        "Premium", {"ru": {"old": Bar(2.0, 1.9, 2.1), "new": Bar(1.0)}, "hi": {"old": Bar(5.0)}}, y_label="times", level=("English", 1.0)
    )


def test_plots_are_well_formed_and_hold_neither_script_nor_links():
    for text in (two_lines(), two_bars()):
        names = {element.tag.removeprefix(SPACE) for element in ElementTree.fromstring(text).iter()}
        assert names <= {"svg", "title", "style", "rect", "line", "polyline", "polygon", "circle", "text"}
        assert "script" not in text
        assert "href" not in text
        assert not any(name.startswith("on") for element in ElementTree.fromstring(text).iter() for name in element.attrib)


def test_a_line_rises_where_its_values_rise_and_stays_inside_the_picture():
    root = ElementTree.fromstring(two_lines())
    curves = [[tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()] for line in root.iter(f"{SPACE}polyline")]
    assert [start[1] > end[1] for start, end in curves] == [True, True]
    assert curves[1][0][1] > curves[0][0][1]  # 2.5 lies below 3.0
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for curve in curves for x, y in curve)


def test_heights_of_bars_are_in_proportion_to_their_values():
    root = ElementTree.fromstring(two_bars())
    heights = [float(bar.attrib["height"]) for bar in root.iter(f"{SPACE}rect") if "class" not in bar.attrib]
    assert [round(height / heights[1], 2) for height in heights] == [2.0, 1.0, 5.0]


def test_one_point_alone_can_be_drawn():
    ElementTree.fromstring(lines("one", {"a": [Point(1.0, 1.0)]}, x_label="x", y_label="y"))
