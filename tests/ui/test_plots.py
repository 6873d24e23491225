"""Figures fit both themes: transparent, neutral fonts, nothing loaded from outside."""

import json

from ui.plots import bars, lines, lying_bars, points


def test_figures_are_transparent_and_hold_their_numbers():
    figures = [
        lines({"a": ([1, 2], [3.0, 2.0]), "b": ([], [])}, title="t", x="x", y="y"),
        bars(["one · a", "two"], {"s": [1.0, None]}, title="t", y="y"),
        lying_bars(
            ["one", "two"],
            {"s": [1.0, 2.0], "r": [None, 1.0]},
            title="t",
            x="x",
            errors={"s": [(0.1, 0.2), (0.0, 0.0)], "r": [(0.0, 0.0)] * 2},
        ),
    ]
    for figure in figures:
        assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
        assert "http" not in json.dumps(figure.to_plotly_json()["layout"], default=str).replace("http://www.w3.org", "")
    assert list(figures[1].data[0].y) == [1.0, None]
    assert figures[2].data[0].error_x.array == (0.2, 0.0)


def test_a_map_shows_tokens_as_text_on_linear_axes():
    figure = points({"shared": ([1.0], [2.0], ["<b>&"]), "new": ([], [], [])}, title="t")
    assert list(figure.data[0].text) == ["&lt;b&gt;&amp;"], "plotly would read the tag otherwise"
    assert [trace.name for trace in figure.data] == ["shared", "new"]
    assert figure.data[0].marker.color != figure.data[1].marker.color


def test_either_axis_may_be_logarithmic():
    figure = lines({"a": ([1e-3, 1.0], [1.0, 2.0])}, title="t", x="x", y="y", log_x=True)
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "linear")
