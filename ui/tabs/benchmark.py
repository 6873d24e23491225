"""Benchmark: measure original, control and results on the same text and questions, and say plainly what became of the model."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.config import ITEM_TASKS, TASKS
from lep_core.errors import ConfigError
from lep_core.evaluation.verdict import Statement, verdict
from lep_core.runs.workspace import Project
from ui.benchmarks import OLD_LANGUAGE, Results, Wish, collect, groups, start_benchmark
from ui.fertility import fertility_rows, measurements
from ui.form import multi_choice
from ui.i18n import Translator
from ui.material import models, propagated, suggested, texts, trained
from ui.messages import action, escape, note_area, view
from ui.studio import Studio, TabParts

# Metrics beside the first one of their task.
FURTHER_METRICS = ("exact_copy", "accuracy_both_orders", "accuracy_normalized")
# Language codes are short; names of groups of items are not.
LONGEST_LANGUAGE = 3
FIELDS = ("model", "task", "metric", "value", "low", "high", "n")


def build(studio: Studio) -> TabParts:
    """The benchmark tab."""
    t = studio.t
    gr.Markdown(t("benchmark.intro"))
    chosen = multi_choice(t("benchmark.models"), elem_id="benchmark-models")
    with gr.Row():
        text = multi_choice(t("benchmark.text"), elem_id="benchmark-text")
        old_text = multi_choice(t("benchmark.old_text"), elem_id="benchmark-old-text")
        items = multi_choice(t.field_label("items"), info=t("benchmark.items_info"), elem_id="benchmark-items")
    with gr.Row():
        tasks = gr.CheckboxGroup(
            [(t.choice(name), name) for name in TASKS],
            value=["bits-per-byte", "instruct"],
            label=t.field_label("task"),
            elem_id="benchmark-tasks",
            scale=3,
        )
        limit = gr.Number(200, precision=0, label=t.field_label("limit"), elem_id="benchmark-limit", min_width=120, scale=1)
        with gr.Column(scale=2, min_width=200):
            with_control = gr.Checkbox(True, label=t("benchmark.control"), info=t("benchmark.control_info"), elem_id="benchmark-control")
            with_speed = gr.Checkbox(True, label=t("benchmark.speed"), elem_id="benchmark-speed")
    run = gr.Button(t("benchmark.run"), variant="primary", elem_id="benchmark-run", scale=0, min_width=240)
    note = note_area("benchmark-note")
    shown = gr.Dropdown(choices=[], label=t("benchmark.select"), elem_id="benchmark-select", interactive=True)
    said = gr.Markdown(t("benchmark.none"), elem_id="benchmark-verdict", elem_classes=["card"])
    table = gr.Dataframe(
        headers=[t("benchmark.model")], datatype="str", interactive=False, wrap=True, elem_id="benchmark-table", visible=False
    )
    plots = [gr.Plot(show_label=False, elem_id=f"benchmark-plot-{name}", visible=False) for name in ("bits", "skills", "speed")]
    with gr.Row():
        downloads = [
            gr.DownloadButton(t(f"benchmark.{kind}"), size="sm", visible=False, elem_id=f"benchmark-{kind}", scale=0)
            for kind in ("csv", "json")
        ]
    outputs = [said, table, *plots, *downloads]

    def refresh(project: Project) -> dict[Any, Any]:
        available, sources = models(project, t), texts(project, t)
        results = [value for _, value in propagated(project, t)]
        wished = [project.instruct, *[value for _, value in trained(project, t)][:1], *results]
        found = groups(project)
        questions = suggested(project, "item_files")
        return {
            chosen: gr.update(choices=available, value=[item for item in wished if item]),
            text: gr.update(choices=sources, value=[sources[0][1]] if sources else []),
            old_text: gr.update(choices=sources, value=suggested(project, "replay_files")),
            limit: gr.update(value=project.settings.get("defaults", {}).get("limit", 200)),
            items: gr.update(choices=[(Path(path).name, path) for path in questions], value=questions),
            shown: gr.update(
                choices=[(t("benchmark.name", number=len(found) - index), group) for index, group in enumerate(found)],
                value=found[0] if found else None,
            ),
            **show(project.id, found[0] if found else None),
        }

    def on_run(
        project_id: str,
        picked: list[str],
        sources: list[str],
        old: list[str],
        questions: list[str],
        wanted: list[str],
        most: float | None,
        control: bool,
        speed: bool,
    ) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        if not picked:
            raise ConfigError("model", t("error.no_model"), t("error.give_model"))
        if not sources:
            raise ConfigError("input", t("error.no_text"), t("error.give_corpus"))
        tasks_possible = [task for task in wanted if task not in ITEM_TASKS or questions]
        if not tasks_possible:
            raise ConfigError("task", t("error.no_task"), t("error.choose_task"))
        wish = Wish(
            models=picked,
            text=sources,
            old_text=old,
            items=questions,
            tasks=tasks_possible,
            limit=int(most or 200),
            with_control=bool(control),
            with_speed=bool(speed),
        )
        start_benchmark(studio, project, wish)
        return {}

    def show(project_id: str, group: str | None) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        hidden = gr.update(visible=False)
        if group is None:
            return {said: t("benchmark.none"), **dict.fromkeys([table, *plots, *downloads], hidden)}
        results = collect(studio, project, group)
        files = _write_downloads(results, group)
        return {
            said: verdict_text(results, project, studio),
            table: _table(results, t),
            **dict(zip(plots, _charts(results, t), strict=True)),
            **{button: gr.update(value=str(path), visible=True) for button, path in zip(downloads, files, strict=True)},
        }

    inputs = [studio.project, chosen, text, old_text, items, tasks, limit, with_control, with_speed]
    action(run.click, on_run, inputs=inputs, outputs=[], note=note, t=t)
    view(shown.input, show, inputs=[studio.project, shown], outputs=outputs, t=t)
    return TabParts([chosen, text, old_text, items, limit, shown, *outputs], refresh)


def verdict_text(results: Results, project: Project, studio: Studio) -> str:
    """Markdown: what the numbers say, the unwelcome included."""
    t = studio.t
    if results.original is None:
        return t("benchmark.no_original")
    rows = _fertility(project, studio)
    statements = verdict(
        fertility=rows,
        results=results.results,
        speed=results.speed,
        original=results.original,
        control=results.control,
        adapted=results.adapted,
    )
    if not statements:
        return t("benchmark.nothing_to_compare")
    signs = {True: "✔", False: "⚠", None: "→"}
    return f"**{t('benchmark.verdict')}**\n\n" + "\n".join(f"- {signs[item.good]} {escape(in_words(item, t))}" for item in statements)


def in_words(statement: Statement, t: Translator) -> str:
    """A statement in the page's language."""
    values = dict(statement.values)
    if "language" in values:
        values["language"] = language_name(values["language"], t)
    return t(f"verdict.{statement.code}").format(**values)


def language_name(code: str, t: Translator) -> str:
    key = f"language.{code}"
    return t(key) if t.has(key) else code


def _fertility(project: Project, studio: Studio) -> list[dict[str, Any]]:
    """The model's own tokenizer and the best new one, as measured last."""
    for run in measurements(project):
        rows = fertility_rows(run, project, studio)
        if len(rows) >= 2 and rows[0]["path"] == project.base:
            return [rows[0], min(rows[1:], key=lambda row: row["tokens"])]
    return []


def task_name(task: str, t: Translator, metric: str = "") -> str:
    """A column or bar label: bits per byte, questions in a language ..., with the metric where a task has several."""
    name, old = task.removesuffix(OLD_LANGUAGE), task.endswith(OLD_LANGUAGE)
    name, _, language = name.partition("/")
    key = f"task.{name}"
    label = t(key) if t.has(key) else name
    if language:
        label = t("task.in_language", task=label, language=language_name(language, t))
    if metric in FURTHER_METRICS:
        label = t("task.metric", task=label, metric=t(f"metric.{metric}"))
    return t("task.old_language", task=label) if old else label


def headline_rows(results: Results) -> list[dict[str, Any]]:
    """Rows of whole tasks and languages; those of single groups (paradigms, subjects) are in the downloads."""
    return [row for row in results.results if len(row["task"].removesuffix(OLD_LANGUAGE).partition("/")[2]) <= LONGEST_LANGUAGE]


def _table(results: Results, t: Translator) -> dict[str, Any]:
    shown = headline_rows(results)
    columns = list(dict.fromkeys((row["task"], row["metric"]) for row in shown))
    headers = [t("benchmark.model"), *(task_name(task, t, metric) for task, metric in columns)]
    if results.speed:
        headers += [t("unit.characters_per_second"), t("benchmark.characters_per_token")]
    by_cell = {(row["model"], row["task"], row["metric"]): row for row in shown}
    rows = []
    for label in results.paths:
        found = [by_cell.get((label, task, metric)) for task, metric in columns]
        cells = [label, *(_value(row, t) if row else "–" for row in found)]
        fast = next((item for item in results.speed if item["model"] == label), None)
        if results.speed:
            cells += [t.number(fast.get("characters_per_second"), 0), t.number(fast.get("characters_per_token"), 2)] if fast else ["–", "–"]
        rows.append(cells)
    return gr.update(value={"headers": headers, "data": rows}, visible=bool(rows))


def _value(row: Mapping[str, Any], t: Translator) -> str:
    value, low, high = row.get("value"), row.get("low"), row.get("high")
    if value is None:
        return "–"
    if is_share(row):
        text = f"{value:.1%}" + (f" [{low:.1%} – {high:.1%}]" if low is not None and high is not None else "")
    else:
        text = t.number(value) + (f" [{t.number(low)} – {t.number(high)}]" if low is not None and high is not None else "")
    return f"{text} n={row.get('n', '–')}"


def is_share(row: Mapping[str, Any]) -> bool:
    """True for accuracies and the like, False for bits per byte."""
    return not str(row.get("task", "")).startswith("bits-per-byte")


def _charts(results: Results, t: Translator) -> list[Any]:
    from ui.plots import lying_bars

    hidden = gr.update(visible=False)
    charts: list[Any] = []
    for wanted, title, unit in (
        (False, t("benchmark.chart_bits"), t("unit.bits_per_byte")),
        (True, t("benchmark.chart_skills"), t("unit.share")),
    ):
        rows = [row for row in headline_rows(results) if is_share(row) == wanted and isinstance(row.get("value"), (int, float))]
        if not rows:
            charts.append(hidden)
            continue
        labels = [label for label in results.paths if any(row["model"] == label for row in rows)]
        series, errors = {}, {}
        for task, metric in dict.fromkeys((row["task"], row["metric"]) for row in rows):
            cells = {row["model"]: row for row in rows if (row["task"], row["metric"]) == (task, metric)}
            name = task_name(task, t, metric)
            series[name] = [cells[label]["value"] if label in cells else None for label in labels]
            errors[name] = [_spread(cells.get(label)) for label in labels]
        charts.append(gr.update(value=lying_bars(labels, series, title=title, x=unit, errors=errors), visible=True))
    if not results.speed:
        return [*charts, hidden]
    labels = [row["model"] for row in results.speed]
    speeds = lying_bars(
        labels,
        {t("unit.characters_per_second"): [row["characters_per_second"] for row in results.speed]},
        title=t("benchmark.chart_speed"),
        x="",
    )
    return [*charts, gr.update(value=speeds, visible=True)]


def _spread(row: Mapping[str, Any] | None) -> tuple[float, float]:
    if row is None or row.get("low") is None or row.get("high") is None:
        return (0.0, 0.0)
    return (max(0.0, row["value"] - row["low"]), max(0.0, row["high"] - row["value"]))


def _write_downloads(results: Results, group: str) -> Sequence[Path]:
    """CSV and JSON in the folder that Gradio may serve from (never the workspace itself)."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / f"benchmark-{group}"
    folder.mkdir(parents=True, exist_ok=True)
    table, record = folder / "benchmark.csv", folder / "benchmark.json"
    speed = [
        {"model": row["model"], "task": "speed", "metric": "characters_per_second", "value": row["characters_per_second"]}
        for row in results.speed
    ]
    with open(table, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=FIELDS, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows([*results.results, *speed])
    record.write_text(json.dumps({"results": results.results, "speed": results.speed}, ensure_ascii=False, indent=2), encoding="utf-8")
    return table, record
