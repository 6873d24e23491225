"""Plotly figures with a transparent background and neutral colours, so that they fit the light and the dark theme.

plotly is imported inside the functions: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = ("#4f7cff", "#f08a24", "#2fa37c", "#c2549d", "#8a6de9", "#c9a227", "#5aa7d6", "#d65f5f")
TEXT_COLOUR = "#7d8796"
GRID_COLOUR = "rgba(128,136,150,0.22)"
FONT = "ui-sans-serif, system-ui, sans-serif"


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, title: str, x: str, y: str, log_y: bool = False) -> Any:
    """Curves over a common axis: name -> (x values, y values). A series of few points gets markers."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for index, (name, (across, up)) in enumerate(series.items()):
        figure.add_trace(
            go.Scatter(
                x=list(across),
                y=list(up),
                name=name,
                mode="lines+markers" if len(across) <= 40 else "lines",
                line={"color": COLOURS[index % len(COLOURS)], "width": 2},
                marker={"size": 5},
            )
        )
    return _finish(figure, title=title, x=x, y=y, log_y=log_y)


def bars(groups: Sequence[str], series: Mapping[str, Sequence[float | None]], *, title: str, y: str) -> Any:
    """Grouped upright bars: one group per label, one bar per series."""
    import plotly.graph_objects as go

    figure = go.Figure()
    labels = [_wrapped(group) for group in groups]
    for index, (name, values) in enumerate(series.items()):
        figure.add_trace(
            go.Bar(
                x=labels,
                y=list(values),
                name=name,
                marker={"color": COLOURS[index % len(COLOURS)]},
                text=[None if value is None else f"{value:.3g}" for value in values],
                textposition="inside",
                insidetextanchor="start",
            )
        )
    figure.update_layout(barmode="group", bargap=max(0.28, 0.9 - 0.16 * len(groups) * len(series)))
    return _finish(figure, title=title, x="", y=y)


def lying_bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    title: str,
    x: str,
    errors: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Any:
    """Grouped lying bars, for long names; the first group is at the top. `errors` holds (below, above) for each bar."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for index, (name, values) in enumerate(series.items()):
        figure.add_trace(
            go.Bar(
                y=list(groups),
                x=list(values),
                name=name,
                orientation="h",
                marker={"color": COLOURS[index % len(COLOURS)]},
                error_x=_error_bars(errors.get(name) if errors else None),
                text=[None if value is None else f"{value:.3g}" for value in values],
                textposition="inside",
                insidetextanchor="start",
            )
        )
    figure.update_layout(barmode="group", bargap=0.3)
    _finish(figure, title=title, x=x, y="")
    figure.update_layout(
        height=130 + len(groups) * (16 + 20 * len(series)),
        legend={"y": 1.0, "yanchor": "bottom", "x": 0.0},
        margin={"t": 78 if len(series) > 1 else 42},
    )
    figure.update_xaxes(type="linear")
    figure.update_yaxes(type="category", autorange="reversed", gridcolor="rgba(0,0,0,0)")
    return figure


def _error_bars(spread: Sequence[tuple[float, float]] | None) -> dict[str, Any] | None:
    if spread is None:
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [above for _, above in spread],
        "arrayminus": [below for below, _ in spread],
        "color": TEXT_COLOUR,
        "thickness": 1.2,
        "width": 4,
    }


def _finish(figure: Any, *, title: str, x: str, y: str, log_y: bool = False) -> Any:
    axis = {"gridcolor": GRID_COLOUR, "zerolinecolor": GRID_COLOUR, "linecolor": GRID_COLOUR, "automargin": True}
    figure.update_layout(
        title={"text": title, "font": {"size": 14}, "x": 0.01, "xanchor": "left"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": TEXT_COLOUR, "family": FONT, "size": 12},
        margin={"l": 10, "r": 10, "t": 42, "b": 10},
        height=300,
        legend={"orientation": "h", "y": -0.22, "x": 0},
        showlegend=len(figure.data) > 1,
        colorway=list(COLOURS),
        xaxis={"title": x, **axis},
        yaxis={
            "title": y,
            "type": "log" if log_y else "linear",
            "exponentformat": "power" if log_y else "none",
            "separatethousands": True,
            **axis,
        },
    )
    return figure


def _wrapped(label: str) -> str:
    return label.replace(" · ", "<br>")
