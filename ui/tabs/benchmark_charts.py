"""The charts of a benchmark. A model has the same colour and symbol in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.benchmarks import OLD_LANGUAGE, Results
from ui.i18n import Translator
from ui.tabs.benchmark_results import LESS_IS_BETTER, NEITHER, headline_rows, is_share, task_name

if TYPE_CHECKING:
    from ui.plots import Spot

CHARTS = ("gain", "languages", "prediction", "bits", "skills", "speed")
# What stands for quality unless another measurement is chosen, the first that was measured: answers before text.
_QUALITY = ("instruct", "instructions", "generation", "multiple-choice", "minimal-pairs", "copy-sentence", "bits-per-byte")
Key = tuple[str, str]


def charts(results: Results, language: str | None, t: Translator, quality: str | None = None) -> dict[str, Any]:
    """An update for each of `CHARTS`; one without data is hidden."""
    rows = [row for row in headline_rows(results) if isinstance(row.get("value"), (int, float))]
    return {
        "gain": _gain(results, rows, language, t, quality),
        "languages": _languages(results, rows, language, t),
        "prediction": _prediction(results, t),
        "bits": _bars(results, [row for row in rows if not is_share(row)], t("benchmark.chart_bits"), t),
        "skills": _bars(results, [row for row in rows if is_share(row)], t("benchmark.chart_skills"), t),
        "speed": _speed(results, t),
    }


def qualities(results: Results, t: Translator) -> list[tuple[str, str]]:
    """(label, value) of every measurement that the first chart can show."""
    keys = dict.fromkeys((row["task"], row["metric"]) for row in headline_rows(results) if row["metric"] not in NEITHER)
    return [(task_name(task, t, metric), _value(task, metric)) for task, metric in keys]


def usual_quality(results: Results, language: str | None) -> str | None:
    """Questions in the new language, else what comes nearest."""
    keys = list(dict.fromkeys((row["task"], row["metric"]) for row in headline_rows(results) if row["metric"] not in NEITHER))

    def rank(key: Key) -> tuple[bool, int, bool]:
        name, _, part = key[0].partition("/")
        return (key[0].endswith(OLD_LANGUAGE), _QUALITY.index(name) if name in _QUALITY else len(_QUALITY), part != language)

    best = min(keys, key=rank, default=None)
    return None if best is None else _value(*best)


def _value(task: str, metric: str) -> str:
    return f"{task} {metric}"


def _gain(results: Results, rows: list[dict[str, Any]], language: str | None, t: Translator, quality: str | None) -> Any:
    """Quality against characters per second."""
    chosen = quality or usual_quality(results, language)
    found = {row["model"]: row for row in rows if _value(row["task"], row["metric"]) == chosen}
    speeds = {row["model"]: row for row in results.speed}
    spots = [
        _spot(results, label, speeds[label]["characters_per_second"], _range(speeds[label], "characters_per_second"), found[label])
        for label in results.paths
        if label in found and label in speeds
    ]
    if not spots:
        return gr.update(visible=False)
    from ui.plots import scatter

    first = next(iter(found.values()))
    name = task_name(first["task"], t, first["metric"])
    better = "benchmark.less_is_better" if first["metric"] in LESS_IS_BETTER else "benchmark.more_is_better"
    figure = scatter(
        spots,
        title=t("benchmark.chart_gain"),
        x=t("unit.characters_per_second"),
        y=t(better, name=name),
        percent=(False, is_share(first)),
    )
    if first["metric"] in LESS_IS_BETTER:
        figure.update_yaxes(autorange="reversed")
    return gr.update(value=figure, visible=True)


def _languages(results: Results, rows: list[dict[str, Any]], language: str | None, t: Translator) -> Any:
    """The new language against the old one, by the first task that has both."""
    names = list(dict.fromkeys(row["task"].partition("/")[0] for row in rows))
    for name in sorted(names, key=lambda one: _QUALITY.index(one) if one in _QUALITY else len(_QUALITY)):
        for new, old in ((f"{name}/{language}", f"{name}/en"), (name, f"{name}{OLD_LANGUAGE}")):
            tasks = {task: {row["model"]: row for row in reversed(rows) if row["task"] == task} for task in (new, old)}
            both = [label for label in results.paths if label in tasks[new] and label in tasks[old]] if new != old else []
            if both:
                return _both(results, tasks[new], tasks[old], both, t)
    return gr.update(visible=False)


def _both(
    results: Results, new: Mapping[str, Mapping[str, Any]], old: Mapping[str, Mapping[str, Any]], labels: list[str], t: Translator
) -> Any:
    from ui.plots import scatter

    spots = [_spot(results, label, old[label]["value"], (old[label].get("low"), old[label].get("high")), new[label]) for label in labels]
    one, other = new[labels[0]], old[labels[0]]
    share = is_share(one)
    figure = scatter(
        spots,
        title=t("benchmark.chart_languages"),
        x=task_name(other["task"], t, other["metric"]),
        y=task_name(one["task"], t, one["metric"]),
        diagonal=t("benchmark.as_good") if share else "",
        percent=(share, share),
    )
    if one["metric"] in LESS_IS_BETTER:
        # Better is up and to the right in every chart.
        figure.update_xaxes(autorange="reversed")
        figure.update_yaxes(autorange="reversed")
    return gr.update(value=figure, visible=True)


def _prediction(results: Results, t: Translator) -> Any:
    """The predicted against the measured speed-up."""
    rows = [row for row in results.speed if row.get("predicted_speedup") and row.get("measured_speedup")]
    if len(rows) < 2:
        return gr.update(visible=False)
    from ui.plots import scatter

    spots = [
        _made(
            row["model"],
            results.place(row["model"]),
            (row["predicted_speedup"], (None, None)),
            (row["measured_speedup"], (row.get("measured_speedup_low"), row.get("measured_speedup_high"))),
        )
        for row in rows
    ]
    figure = scatter(
        spots,
        title=t("benchmark.chart_prediction"),
        x=t("benchmark.predicted_axis"),
        y=t("benchmark.measured_axis"),
        diagonal=t("benchmark.as_predicted"),
    )
    return gr.update(value=figure, visible=True)


def _bars(results: Results, rows: list[dict[str, Any]], title: str, t: Translator) -> Any:
    """A group of bars for each measurement, a bar for each model."""
    if not rows:
        return gr.update(visible=False)
    from ui.plots import lying_bars

    keys = list(dict.fromkeys((row["task"], row["metric"]) for row in rows))
    series: dict[str, list[float | None]] = {}
    errors: dict[str, list[tuple[float, float]]] = {}
    for label in results.paths:
        cells = {(row["task"], row["metric"]): row for row in rows if row["model"] == label}
        if cells:
            series[label] = [cells[key]["value"] if key in cells else None for key in keys]
            errors[label] = [_spread(cells.get(key)) for key in keys]
    names = [task_name(task, t, metric) for task, metric in keys]
    return gr.update(value=lying_bars(names, series, title=title, x="", errors=errors, colours=colours(results)), visible=True)


def _speed(results: Results, t: Translator) -> Any:
    if not results.speed:
        return gr.update(visible=False)
    from ui.plots import lying_bars

    unit, own = t("unit.characters_per_second"), colours(results)
    spreads = []
    for row in results.speed:
        low, high = _range(row, "characters_per_second")
        spreads.append(_spread({"value": row["characters_per_second"], "low": low, "high": high}))
    figure = lying_bars(
        [row["model"] for row in results.speed],
        {unit: [row["characters_per_second"] for row in results.speed]},
        title=t("benchmark.chart_speed"),
        x="",
        errors={unit: spreads},
        colours={unit: [own[row["model"]] for row in results.speed]},
    )
    return gr.update(value=figure, visible=True)


def colours(results: Results) -> dict[str, str]:
    """Label -> colour, by the place of a model in the project."""
    from ui.plots import model_colour

    return {label: model_colour(results.place(label)) for label in results.paths}


def _spot(results: Results, label: str, x: float, x_ends: tuple[Any, Any], row: Mapping[str, Any]) -> Spot:
    return _made(label, results.place(label), (x, x_ends), (row["value"], (row.get("low"), row.get("high"))))


def _made(label: str, index: int, across: tuple[float, tuple[Any, Any]], up: tuple[float, tuple[Any, Any]]) -> Spot:
    from ui.plots import Spot

    return Spot(name=label, index=index, x=across[0], x_ends=across[1], y=up[0], y_ends=up[1])


def _range(row: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    """The slowest and the fastest repeat."""
    return row.get(f"{name}_min"), row.get(f"{name}_max")


def _spread(row: Mapping[str, Any] | None) -> tuple[float, float]:
    if row is None or row.get("low") is None or row.get("high") is None:
        return (0.0, 0.0)
    return (max(0.0, row["value"] - row["low"]), max(0.0, row["high"] - row["value"]))
