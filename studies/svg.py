"""Small plots as SVG text: lines, and bars, with intervals. No script, no foreign fonts, readable in light and dark.

Series are told apart by colour (Okabe and Ito's palette, safe for colour-blind readers), by the shape of the mark and by a legend in
the order of the series. The plot brings its own background, so that it is legible whatever page it stands on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 74, 52
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.axis { stroke: #57606a }
.grid { stroke: #d0d7de }
.background { fill: #ffffff }
.halo { paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .axis { stroke: #9198a1 } .grid { stroke: #3d444d } .background { fill: #0d1117 } .halo { stroke: #0d1117 }
}
"""


class Point(NamedTuple):
    """A value at a place, with the ends of its interval where there is one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


class Bar(NamedTuple):
    """The value of one series in one group."""

    value: float
    low: float | None = None
    high: float | None = None


class _Scale(NamedTuple):
    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) for v in (self.low, self.high, value)) if self.logarithmic else (self.low, self.high, value)
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)


def lines(
    title: str,
    series: Mapping[str, Sequence[Point]],
    *,
    x_label: str,
    y_label: str,
    logarithmic_x: bool = False,
    from_zero: bool = False,
    level: tuple[str, float] | None = None,
) -> str:
    """A curve for each series, with a mark and an interval at each point.

    Args:
        title: what the plot shows.
        series: name -> points in the order of x.
        x_label, y_label: what the axes are, with units.
        logarithmic_x: equal ratios of x have equal distances; the ticks are then the places of the points.
        from_zero: the y axis begins at 0.
        level: name and height of a dashed line across the plot, for a value without any x.
    """
    points = [point for listed in series.values() for point in listed]
    xs = sorted({point.x for point in points})
    x_ticks = xs if logarithmic_x else _ticks(xs[0], xs[-1])
    x_scale = _Scale(min(xs[0], x_ticks[0]), max(xs[-1], x_ticks[-1]), _LEFT + 14, WIDTH - _RIGHT - 14, logarithmic_x)
    y_scale, y_ticks = _y_axis([value for point in points for value in point[1:]] + ([level[1]] if level else []), from_zero)
    parts = [*_frame(title, y_label, y_scale, y_ticks), _text(_middle(), HEIGHT - 10, x_label, "middle")]
    parts += [_text(x_scale(tick), HEIGHT - _BOTTOM + 20, _number(tick), "middle") for tick in x_ticks]
    if level:
        height = y_scale(level[1])
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}" stroke-dasharray="6 4"/>')
        parts.append(_text(WIDTH - _RIGHT - 4, height - 5, level[0], "end", "halo"))
    for index, listed in enumerate(series.values()):
        colour = PALETTE[index % len(PALETTE)]
        path = " ".join(f"{x_scale(point.x):.1f},{y_scale(point.y):.1f}" for point in listed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in listed:
            x = x_scale(point.x)
            parts += [*_interval(x, point.low, point.high, y_scale, colour), _mark(index, x, y_scale(point.y), colour)]
    return _document(title, [*parts, *_legend(list(series))])


def bars(title: str, groups: Mapping[str, Mapping[str, Bar]], *, y_label: str, level: tuple[str, float] | None = None) -> str:
    """A group of bars for each entry, a bar for each series in it, from zero; `level` as in `lines`."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    values = [value for group in groups.values() for bar in group.values() for value in bar]
    y_scale, y_ticks = _y_axis(values + ([level[1]] if level else []), from_zero=True)
    parts = _frame(title, y_label, y_scale, y_ticks)
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(groups))
    width = 0.8 * step / max(1, len(names))
    for place, (label, group) in enumerate(groups.items()):
        start = _LEFT + place * step + 0.1 * step
        parts.append(_text(_LEFT + (place + 0.5) * step, HEIGHT - _BOTTOM + 20, label, "middle"))
        for index, name in enumerate(names):
            if name not in group:
                continue
            bar, x, colour = group[name], start + index * width, PALETTE[index % len(PALETTE)]
            top, zero = sorted((y_scale(bar.value), y_scale(0.0)))
            parts.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{0.92 * width:.1f}" height="{zero - top:.1f}" fill="{colour}"/>')
            parts += _interval(x + 0.46 * width, bar.low, bar.high, y_scale, None)
    if level:
        height = y_scale(level[1])
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}" stroke-dasharray="6 4"/>')
        parts.append(_text(WIDTH - _RIGHT - 4, height - 5, level[0], "end", "halo"))
    return _document(title, [*parts, *_legend(names, squares=True)])


def _middle() -> float:
    return (_LEFT + WIDTH - _RIGHT) / 2


def _y_axis(values: Sequence[float | None], from_zero: bool) -> tuple[_Scale, list[float]]:
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    if from_zero:
        low, high = min(0.0, low), max(0.0, high)
    ticks = _ticks(low, high)
    return _Scale(ticks[0], ticks[-1], HEIGHT - _BOTTOM, _TOP), ticks


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose the range."""
    span = (high - low) or abs(high) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / 5))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if span / (factor * magnitude) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:g}"


def _frame(title: str, y_label: str, y_scale: _Scale, y_ticks: Sequence[float]) -> list[str]:
    parts = [_text(16, 24, title, "start", "title"), _text(16, 46, y_label, "start")]
    for tick in y_ticks:
        y, style = y_scale(tick), "axis" if tick == 0 or tick == y_ticks[0] else "grid"
        parts.append(f'<line class="{style}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 8, y + 4, _number(tick), "end"))
    return parts


def _legend(names: Sequence[str], *, squares: bool = False) -> list[str]:
    """Marks and names, right-aligned below the title."""
    widths = [26 + 7.4 * len(name) for name in names]
    x, parts = max(_LEFT, WIDTH - _RIGHT - sum(widths)), []
    for index, (name, width) in enumerate(zip(names, widths, strict=True)):
        parts += [_mark(1 if squares else index, x + 6, 60, PALETTE[index % len(PALETTE)]), _text(x + 16, 64, name, "start")]
        x += width
    return parts


def _interval(x: float, low: float | None, high: float | None, y_scale: _Scale, colour: str | None) -> list[str]:
    if low is None or high is None:
        return []
    top, bottom = y_scale(high), y_scale(low)
    look = f'stroke="{colour}"' if colour else 'class="axis"'
    ends = [f'<line {look} x1="{x - 4:.1f}" x2="{x + 4:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>' for y in (top, bottom)]
    return [f'<line {look} x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>', *ends]


def _mark(index: int, x: float, y: float, colour: str) -> str:
    """A circle, square, triangle, diamond or turned triangle, so that series differ without colour too."""
    corners = {
        1: [(-4, -4), (4, -4), (4, 4), (-4, 4)],
        2: [(0, -5), (5, 4), (-5, 4)],
        3: [(0, -6), (6, 0), (0, 6), (-6, 0)],
        4: [(0, 5), (5, -4), (-5, -4)],
    }.get(index % 5)
    if corners is None:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
    path = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{path}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, style: str | None = None) -> str:
    look = f' class="{style}"' if style else ""
    return f'<text{look} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _document(title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
    background = f'<rect class="background" width="{WIDTH}" height="{HEIGHT}"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", background, *parts, "</svg>"]) + "\n"
