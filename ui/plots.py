"""Plotly figures with a transparent background and neutral colours, so that they fit the light and the dark theme.

plotly is imported inside the functions: the first page must not wait for it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLOURS = ("#4f7cff", "#f08a24", "#2fa37c", "#c2549d", "#8a6de9", "#c9a227", "#5aa7d6", "#d65f5f")
# Okabe and Ito's colours, which people with any colour vision can tell apart; a symbol goes with each, for those who print in grey.
# The second eight are lighter or darker ones of the same, for projects with many models.
MODEL_COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d1f", "#7f7f7f"),
    *("#4a9bd1", "#a87400", "#5cc7a7", "#94507a", "#2d83b5", "#f08a4b", "#c4a35a", "#a9a9a9"),
)
MODEL_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star", "pentagon", "cross")
TEXT_COLOUR = "#7d8796"
GRID_COLOUR = "rgba(128,136,150,0.22)"
LONGEST_UP, LONGEST_ACROSS = 30, 48
"""Characters in a line of an axis' name, where two charts stand side by side."""
FONT = "ui-sans-serif, system-ui, sans-serif"


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x: str,
    y: str,
    log_y: bool = False,
    log_x: bool = False,
    colours: Mapping[str, str] | None = None,
    dashed: Sequence[str] = (),
) -> Any:
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
                line={
                    "color": colours[name] if colours else COLOURS[index % len(COLOURS)],
                    "width": 2,
                    "dash": "dash" if name in dashed else "solid",
                },
                marker={"size": 5},
            )
        )
    _finish(figure, title=title, x=x, y=y, log_y=log_y)
    if len(series) > 1:
        # Room for a legend of several lines under the name of the axis.
        figure.update_layout(height=300 + 18 * len(series), legend={"y": -0.3})
    if log_x:
        figure.update_xaxes(type="log", exponentformat="power")
    return figure


def points(groups: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[str]]], *, title: str) -> Any:
    """A map without units: one colour per group, name -> (x, y, texts shown on hover). The texts are shown as they are."""
    from html import escape

    import plotly.graph_objects as go

    figure = go.Figure()
    for index, (name, (across, up, texts)) in enumerate(groups.items()):
        # Plotly reads some tags in its texts; escaped ones appear as they were typed.
        figure.add_trace(
            go.Scatter(
                x=list(across),
                y=list(up),
                name=name,
                mode="markers",
                text=[escape(text, quote=False) for text in texts],
                hoverinfo="text",
                marker={"color": COLOURS[index % len(COLOURS)], "size": 5, "opacity": 0.65},
            )
        )
    _finish(figure, title=title, x="", y="")
    figure.update_layout(height=400, showlegend=True, hovermode="closest", legend={"y": -0.06})
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False, scaleanchor="x")
    return figure


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A point of a scatter chart with the ends of its intervals (None = not known); `index` gives colour and symbol."""

    name: str
    index: int
    x: float
    y: float
    x_ends: tuple[float | None, float | None] = (None, None)
    y_ends: tuple[float | None, float | None] = (None, None)


def scatter(spots: Sequence[Spot], *, title: str, x: str, y: str, diagonal: str = "", percent: tuple[bool, bool] = (False, False)) -> Any:
    """One point a spot, with its intervals; `diagonal` names a dashed line where both values are equal."""
    import plotly.graph_objects as go

    figure = go.Figure()
    if diagonal:
        ends = [value for spot in spots for value in (spot.x, spot.y, *spot.x_ends, *spot.y_ends) if value is not None]
        low, high = min(ends), max(ends)
        figure.add_trace(
            go.Scatter(
                x=[low, high],
                y=[low, high],
                name=diagonal,
                mode="lines",
                line={"dash": "dash", "color": TEXT_COLOUR, "width": 1},
                hoverinfo="skip",
            )
        )
    for spot in spots:
        figure.add_trace(
            go.Scatter(
                x=[spot.x],
                y=[spot.y],
                name=spot.name,
                mode="markers",
                marker={"size": 11, "color": model_colour(spot.index), "symbol": model_symbol(spot.index)},
                error_x=_error_bars([_around(spot.x, spot.x_ends)], model_colour(spot.index)),
                error_y=_error_bars([_around(spot.y, spot.y_ends)], model_colour(spot.index)),
                hovertemplate=f"{x}: %{{x}}<br>{y}: %{{y}}",
            )
        )
    _finish(figure, title=title, x=_folded(x, LONGEST_ACROSS), y=_folded(y, LONGEST_UP))
    # The legend has a line for each name, under the name of the axis.
    figure.update_layout(
        height=330 + 20 * len(figure.data), showlegend=True, hovermode="closest", legend={"y": -0.2, "orientation": "v", "yanchor": "top"}
    )
    for update, is_share in zip((figure.update_xaxes, figure.update_yaxes), percent, strict=True):
        update(type="linear", tickformat=".0%" if is_share else ".4~g", hoverformat=".1%" if is_share else ".3~f")
    return figure


def model_colour(place: int) -> str:
    """The colour of the model at a place of `ui.model_places`."""
    return MODEL_COLOURS[place % len(MODEL_COLOURS)]


def model_symbol(place: int) -> str:
    """Its symbol; colour and symbol together are different for twice as many models as there are symbols."""
    place %= len(MODEL_COLOURS)
    return MODEL_SYMBOLS[(place + place // len(MODEL_SYMBOLS)) % len(MODEL_SYMBOLS)]


def _around(value: float, ends: tuple[float | None, float | None]) -> tuple[float, float]:
    """How far an interval reaches below and above a value; nothing where it is not known."""
    low, high = ends
    return (0.0, 0.0) if low is None or high is None else (max(0.0, value - low), max(0.0, high - value))


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
                text=[None if value is None else _short(value) for value in values],
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
    colours: Mapping[str, str | Sequence[str]] | None = None,
) -> Any:
    """Grouped lying bars, for long names; the first group is at the top. `errors` holds (below, above) for each bar,
    `colours` one colour for a series or one for each of its bars."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for index, (name, values) in enumerate(series.items()):
        figure.add_trace(
            go.Bar(
                y=list(groups),
                x=list(values),
                name=name,
                orientation="h",
                marker={"color": colours[name] if colours else COLOURS[index % len(COLOURS)]},
                error_x=_error_bars(errors.get(name) if errors else None),
                text=[None if value is None else _short(value) for value in values],
                textposition="inside",
                insidetextanchor="start",
            )
        )
    figure.update_layout(barmode="group", bargap=0.3)
    _finish(figure, title=title, x=x, y="")
    figure.update_layout(
        height=130 + len(groups) * (16 + 20 * len(series)) + 10 * len(series),
        legend={"y": 1.0, "yanchor": "bottom", "x": 0.0},
        margin={"t": 46 + 20 * -(-len(series) // 2) if len(series) > 1 else 42},
    )
    figure.update_xaxes(type="linear")
    figure.update_yaxes(type="category", autorange="reversed", gridcolor="rgba(0,0,0,0)")
    return figure


def stacked_bar(parts: Mapping[str, float], *, title: str, x: str, limit: float | None = None, limit_name: str = "") -> Any:
    """One lying bar made of parts, with a dashed line where the limit is."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for index, (name, value) in enumerate(parts.items()):
        colour = COLOURS[index % len(COLOURS)]
        figure.add_trace(
            go.Bar(
                y=[""], x=[value], name=name, orientation="h", marker={"color": colour}, hovertemplate=f"{name}: %{{x:.3g}}<extra></extra>"
            )
        )
    figure.update_layout(barmode="stack", bargap=0.25)
    _finish(figure, title=title, x=x, y="")
    figure.update_layout(height=190, showlegend=True, legend={"y": -0.45, "x": 0.0, "traceorder": "normal"}, margin={"t": 46})
    figure.update_xaxes(type="linear")
    figure.update_yaxes(type="category", gridcolor="rgba(0,0,0,0)", showticklabels=False)
    if limit is not None:
        figure.add_vline(
            x=limit, line={"color": "#d65f5f", "dash": "dash", "width": 2}, annotation={"text": limit_name, "font": {"size": 11}}
        )
        figure.update_xaxes(range=[0, 1.08 * max(limit, sum(parts.values()))])
    return figure


def _error_bars(spread: Sequence[tuple[float, float]] | None, colour: str = TEXT_COLOUR) -> dict[str, Any] | None:
    if spread is None:
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [above for _, above in spread],
        "arrayminus": [below for below, _ in spread],
        "color": colour,
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


def _short(value: float) -> str:
    """Three figures, and never a power of ten for what people read as a whole number."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def _folded(text: str, width: int) -> str:
    """The name of an axis in lines that fit beside it."""
    return "<br>".join(textwrap.wrap(text, width)) or text


def _wrapped(label: str) -> str:
    return label.replace(" · ", "<br>")
