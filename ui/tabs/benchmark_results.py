"""What a benchmark found, in words and tables: the verdict, every value with its interval, every difference from the original, files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lep_core.config import HARNESS_PREFIX
from lep_core.evaluation.verdict import Statement, verdict
from lep_core.runs.workspace import Project
from ui.benchmarks import OLD_LANGUAGE, PART, Results, moves_of
from ui.fertility import fertility_rows, measurements
from ui.i18n import Translator
from ui.job_panel import ICONS
from ui.material import short
from ui.messages import core_words, escape
from ui.studio import Studio

# Metrics that are shown; a task with many has the others in the downloads.
LEFT_OUT = ("rouge1", "rouge2", "lcs", "byte_perplexity")
# Metrics that name their task alone.
MAIN_METRICS = ("accuracy", "bits_per_byte", "lcs_above_99", "token_ratio")
LESS_IS_BETTER = ("bits_per_byte", "word_perplexity", "byte_perplexity", "perplexity", "ter", "brier_score")
# Neither more nor less is better: the nearer to 1.
NEITHER = ("token_ratio",)
NOT_SHARES = (*LESS_IS_BETTER, *NEITHER, "bleu", "chrf", "chrf++", "mcc")
# Language codes are short; names of groups of items are not.
LONGEST_LANGUAGE = 3
MOST_HARNESS_ROWS = 12
FIELDS = ("model", "task", "metric", "value", "low", "high", "n")
DIFFERENCE_FIELDS = ("model", "reference", "task", "metric", "difference", "low", "high", "n")
SPEED_FIELDS = (
    "model",
    "characters_per_second",
    "measured_speedup",
    "measured_speedup_low",
    "measured_speedup_high",
    "predicted_speedup",
    "predicted_compute_speedup",
    "relative_cost",
    "gflop_per_1000_characters",
    "flops_per_token",
    "tokens_per_second",
    "characters_per_token",
    "prompt_tokens",
    "prompt_characters",
    "generated_tokens",
    "generated_characters",
)
Table = dict[str, Any]


def state_text(results: Results, studio: Studio) -> str:
    """Markdown: how far the benchmark is while its runs are not all done; empty once they are."""
    t, lines = studio.t, []
    for run in results.unfinished:
        status = run.status()
        part = t(f"benchmark.part_{run.inputs.get(PART, 'new')}")
        done = ""
        if status.state == "running" and status.total:
            done = f" · {t.stage(status.stage)} {t.number(round(status.done or 0))} / {t.number(round(status.total))}"
        error = f" – {escape(core_words(status.error.message, t))}" if status.error is not None else ""
        lines.append(f"- {ICONS[status.state]} {part}: **{t(f'state.{status.state}')}**{escape(done)}{error}")
    return "\n".join([t("benchmark.partial"), "", *lines]) if lines else ""


def verdict_text(results: Results, project: Project, studio: Studio) -> str:
    """Markdown: what the numbers say, the unwelcome included."""
    t = studio.t
    if results.original is None:
        return t("benchmark.no_original") if results.paths else t("benchmark.none_yet")
    statements = verdict(
        fertility=_fertility(project, studio),
        results=results.results,
        speed=results.speed,
        original=results.original,
        control=results.control,
        adapted=results.adapted,
        differences=results.differences,
        moves=moves_of(results, project),
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
    if "place" in values:
        values["place"] = t(f"verdict.place_{values['place']}")
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
    """A column or bar label: bits per byte, questions in a language ..., with the metric unless it goes without saying."""
    old = task.endswith(OLD_LANGUAGE)
    task = task.removesuffix(OLD_LANGUAGE)
    if task.startswith(HARNESS_PREFIX):
        label, language = task.removeprefix(HARNESS_PREFIX), ""
    else:
        name, _, language = task.partition("/")
        key = f"task.{name}"
        label = t(key) if t.has(key) else name
    if language:
        label = t("task.in_language", task=label, language=language_name(language, t))
    if metric and metric not in MAIN_METRICS:
        key = f"metric.{metric}"
        label = t("task.metric", task=label, metric=t(key) if t.has(key) else metric.replace("_", " "))
    return t("task.old_language", task=label) if old else label


def headline_rows(results: Results) -> list[dict[str, Any]]:
    """Rows of whole tasks and languages; those of single groups (paradigms, subjects) and of lesser metrics are in the downloads."""
    wanted = {f"{HARNESS_PREFIX}{name}" for run in results.runs for name in run.config.get("harness") or ()}
    from_harness = {row["task"] for row in results.results if row["task"].startswith(HARNESS_PREFIX)}
    few = len(from_harness) <= MOST_HARNESS_ROWS

    def is_shown(row: Mapping[str, Any]) -> bool:
        if row["task"].startswith(HARNESS_PREFIX):
            return few or row["task"] in wanted
        return len(row["task"].removesuffix(OLD_LANGUAGE).partition("/")[2]) <= LONGEST_LANGUAGE

    return [row for row in results.results if is_shown(row) and row["metric"] not in LEFT_OUT]


def is_share(row: Mapping[str, Any]) -> bool:
    """True for accuracies and the like, False for bits per byte."""
    value = row.get("value", row.get("difference"))
    is_small = not isinstance(value, (int, float)) or -1 <= value <= 1
    return is_small and row.get("metric") not in NOT_SHARES and not str(row.get("task", "")).startswith("bits-per-byte")


def table(results: Results, t: Translator) -> Table:
    """A row a model, a column a measurement: numbers (so that columns sort) shown with their intervals."""
    shown = headline_rows(results)
    columns = list(dict.fromkeys((row["task"], row["metric"]) for row in shown))
    headers = [t("benchmark.model"), *(task_name(task, t, metric) for task, metric in columns)]
    speeds = [("characters_per_second", "unit.characters_per_second", 0), ("measured_speedup", "benchmark.measured_speedup", 2)]
    speeds += [("predicted_speedup", "benchmark.predicted_speedup", 2), ("relative_cost", "benchmark.relative_cost", 2)]
    speeds += [("characters_per_token", "benchmark.characters_per_token", 2)]
    speeds = [one for one in speeds if any(row.get(one[0]) is not None for row in results.speed)]
    headers += [t(key) for _, key, _ in speeds]
    by_cell = {(row["model"], row["task"], row["metric"]): row for row in shown}
    values: list[list[Any]] = []
    texts: list[list[str]] = []
    for label in results.paths:
        found = [by_cell.get((label, task, metric)) for task, metric in columns]
        fast: Mapping[str, Any] = next((row for row in results.speed if row["model"] == label), {})
        values.append([label, *(row["value"] if row else None for row in found), *(fast.get(name) for name, _, _ in speeds)])
        texts.append(
            [
                label,
                *(value_text(row, t) if row else "–" for row in found),
                *(t.number(fast.get(name), digits) for name, _, digits in speeds),
            ]
        )
    return {"headers": headers, "data": values, "metadata": {"display_value": texts}}


def value_text(row: Mapping[str, Any], t: Translator) -> str:
    """A value with its interval and n."""
    value, low, high = row.get("value"), row.get("low"), row.get("high")
    if value is None:
        return "–"
    known = low is not None and high is not None
    if is_share(row):
        text = f"{value:.1%}" + (f" [{low:.1%} – {high:.1%}]" if known else "")
    else:
        text = t.number(value) + (f" [{t.number(low)} – {t.number(high)}]" if known else "")
    return f"{text} n={row.get('n', '–')}"


def comparison(row: Mapping[str, Any]) -> str:
    """The key of the plain word for a difference: its interval leaves out zero, or nothing can be said."""
    low, high = row.get("low"), row.get("high")
    if low is None or high is None or low <= 0 <= high:
        return "benchmark.same"
    if row["metric"] in NEITHER:
        return "benchmark.differs"
    return "benchmark.better" if (low > 0) != (row["metric"] in LESS_IS_BETTER) else "benchmark.worse"


def differences_table(results: Results, t: Translator) -> Table:
    """A row for each model and measurement: the difference from the original on the same units, and what it means."""
    shown = {(row["model"], row["task"], row["metric"]): row["value"] for row in headline_rows(results)}
    headers = [t(f"benchmark.{name}") for name in ("model", "measurement", "original", "value", "difference", "meaning")]
    values: list[list[Any]] = []
    texts: list[list[str]] = []
    for row in results.differences:
        key = (row["model"], row["task"], row["metric"])
        before = shown.get((results.original or "", row["task"], row["metric"]))
        if key not in shown or before is None:
            continue
        share = is_share({**row, "value": shown[key]})
        name, meaning = task_name(row["task"], t, row["metric"]), t(comparison(row))
        values.append([row["model"], name, before, shown[key], row["difference"], meaning])
        difference = _signed(row["difference"], share, t)
        if row["low"] is not None:
            difference += f" [{_signed(row['low'], share, t)} … {_signed(row['high'], share, t)}]"
        plain = [f"{one:.1%}" if share else t.number(one) for one in (before, shown[key])]
        texts.append([row["model"], name, *plain, f"{difference} n={row['n']}", meaning])
    return {"headers": headers, "data": values, "metadata": {"display_value": texts}}


def _signed(value: float, share: bool, t: Translator) -> str:
    """A difference with its sign: points of a hundred for shares."""
    text = t.number(abs(value) * 100, 1) if share else t.number(abs(value))
    sign = "±" if not text.strip("0.,") else "−" if value < 0 else "+"
    return f"{sign}{text}{' ' + t('unit.points') if share else ''}"


def write_downloads(results: Results, group: str, t: Translator) -> Sequence[Path]:
    """CSV, JSON and Markdown in the folder that Gradio may serve from (never the workspace itself)."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / f"benchmark-{group}"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"benchmark.{kind}" for kind in ("csv", "json", "md")]
    speed = [
        {"model": row["model"], "task": "speed", "metric": name, "value": row[name]}
        for row in results.speed
        for name in SPEED_FIELDS[1:]
        if row.get(name) is not None
    ]
    with open(files[0], "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=FIELDS, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows([*results.results, *speed])
    record = {
        "models": [{"model": label, "name": short(path)} for label, path in results.paths.items()],
        "results": [{name: row.get(name) for name in FIELDS} for row in results.results],
        "differences": [{name: row.get(name) for name in DIFFERENCE_FIELDS} for row in results.differences],
        "speed": [{name: row.get(name) for name in SPEED_FIELDS} for row in results.speed],
        "complete": not results.unfinished,
    }
    files[1].write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    parts = [table(results, t), differences_table(results, t)]
    files[2].write_text("\n\n".join(_markdown(part) for part in parts if part["data"]) + "\n", encoding="utf-8")
    return files


def _markdown(shown: Table) -> str:
    rows = [shown["headers"], ["---"] * len(shown["headers"]), *shown["metadata"]["display_value"]]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)
