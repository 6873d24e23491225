"""What token counts mean for a model: rows of the tokenizer tab, the predicted speed and context, parity across languages.

Speed is predicted from the model's shape, not from token counts alone: a generated token costs 2 (P + D V) operations (P
parameters of the body, D hidden size, V vocabulary), because every step multiplies by the body and by the head; the same ratio
holds for the bytes read. A larger vocabulary makes fewer, dearer tokens. Attention over the context is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lep_core.errors import LepError
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.apart import inspected
from ui.i18n import Translator
from ui.material import finished, label_of, result_of, short, tokenizers
from ui.messages import escape
from ui.studio import Studio

PURPOSE = "purpose"
"""Key in a run's inputs; measurements on the user's own text have none."""
OLD_LANGUAGE, LANGUAGES = "old language", "languages"
METRICS = (
    "vocab_size",
    "tokens",
    "saved",
    "characters_per_token",
    "tokens_per_word",
    "bytes_per_token",
    "continued_word_rate",
    "single_token_word_rate",
    "vocabulary_used_rate",
    "context_characters",
    "operations_per_character",
    "speed_gain",
    "embedding_mib",
    "round_trip_ok",
)
SHARES = ("saved", "continued_word_rate", "single_token_word_rate", "vocabulary_used_rate")
DIGITS = {"embedding_mib": 1, "operations_per_character": 3, "speed_gain": 2, "context_characters": 0}
SHOWN_TOKENIZERS = 8
PARITY_VALUES = ("ratio", "characters_per_token", "tokens")


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What a prediction needs to know of a model; `context_tokens` is None where config.json does not say."""

    body_parameters: int
    hidden_size: int
    vocab_rows: int
    context_tokens: int | None
    bytes_per_row: int

    def operations_per_character(self, vocab_size: int, characters_per_token: float) -> float:
        """Floating-point operations for each generated character."""
        return 2 * (self.body_parameters + self.hidden_size * vocab_size) / characters_per_token


def shape_of(source: str | None) -> ModelShape | None:
    """The shape of a model folder, or None where there is no sound model (the project tab says why)."""
    try:
        model = inspected(source or "")
    except LepError:
        return None
    body = model.parameters - sum(rows * width for rows, width in (model.shapes[name] for name in model.embedding_names))
    context = model.config.get("max_position_embeddings")
    size = {"float64": 8, "float32": 4}.get(model.dtype, 2)
    return ModelShape(
        body_parameters=body,
        hidden_size=model.hidden_size,
        vocab_rows=model.vocab_size,
        context_tokens=context if isinstance(context, int) and not isinstance(context, bool) else None,
        bytes_per_row=model.hidden_size * size * (1 if model.tied else 2),
    )


def measurements(project: Project, purpose: str | None = None) -> list[Run]:
    """Finished measurements, newest first: on the user's text, or for another purpose."""
    return [run for run in finished(project, "measure-fertility") if run.inputs.get(PURPOSE) == purpose]


def fertility_rows(run: Run, project: Project, studio: Studio) -> list[dict[str, Any]]:
    """The report's tokenizers under the names used here, the model's own first, with gains against it."""
    labels = tokenizers(project, studio.t)
    rows: list[dict[str, Any]] = []
    for path, row in zip(run.config["tokenizer"], result_of(run).get("tokenizers", []), strict=False):
        rows.append({**row, "path": path, "name": label_of(path, labels), "own": path == project.base})
    rows.sort(key=lambda row: not row["own"])
    return with_gains(rows, shape_of(project.base))


def rows_on_same_text(project: Project, studio: Studio) -> tuple[list[str], list[dict[str, Any]]]:
    """The texts measured last, and every tokenizer that was ever measured on just these, by its newest figures."""
    runs = measurements(project)
    if not runs:
        return [], []
    texts = runs[0].config["input"]
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run.config["input"] == texts:
            for row in fertility_rows(run, project, studio):
                rows.setdefault(row["path"], row)
    present = [row for row in rows.values() if Path(row["path"]).exists()][:SHOWN_TOKENIZERS]
    present.sort(key=lambda row: not row["own"])
    return list(texts), with_gains(present, shape_of(project.base))


def with_gains(rows: list[dict[str, Any]], shape: ModelShape | None) -> list[dict[str, Any]]:
    """Rows with what they save against the first one, and with predictions where the model's shape is known."""
    for row in rows:
        row["saved"] = 1 - row["tokens"] / rows[0]["tokens"] if rows[0].get("tokens") else 0.0
        rate = row.get("characters_per_token")
        if shape is None or not rate:
            continue
        # The model's own head has padded rows too.
        size = max(row["vocab_size"], shape.vocab_rows) if row.get("own") else row["vocab_size"]
        row["embedding_mib"] = size * shape.bytes_per_row / 2**20
        row["operations_per_character"] = shape.operations_per_character(size, rate)
        row["speed_gain"] = rows[0]["operations_per_character"] / row["operations_per_character"]
        if shape.context_tokens is not None:
            row["context_characters"] = shape.context_tokens * rate
    return rows


def table(rows: Sequence[Mapping[str, Any]], t: Translator) -> dict[str, Any]:
    """A table with one line per metric, one column per tokenizer and the formula at the end."""
    headers = [t("fertility.metric"), *(str(row["name"]) for row in rows), t("fertility.formula")]
    data = [[t(f"metric.{name}"), *(cell(row, name, t) for row in rows), t(f"formula.{name}")] for name in METRICS]
    return {"headers": headers, "data": data}


def cell(row: Mapping[str, Any], name: str, t: Translator) -> str:
    """One figure as people read it."""
    value = row.get(name)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return t("yes" if value else "no")
    if name in SHARES:
        return t.number(100 * value, 1) + "%"
    if name == "speed_gain":
        return f"× {t.number(float(value), 2)}"
    if name == "operations_per_character":
        return t.number(value / 1e6, 3 if value < 1e8 else 0)
    return t.number(round(value) if DIGITS.get(name) == 0 else value, DIGITS.get(name, 3))


def headline(rows: Sequence[Mapping[str, Any]], old_rates: Mapping[str, float], studio: Studio) -> str:
    """What the best tokenizer gains on the user's text, and what it does to the old language."""
    t = studio.t
    if not rows:
        return t("fertility.none")
    if len(rows) == 1:
        return t("fertility.one", name=escape(rows[0]["name"]), value=t.number(rows[0]["characters_per_token"], 2))
    best = min(rows, key=lambda row: row["tokens"])
    if best is rows[0]:
        return t("fertility.own_is_best", name=escape(best["name"]))
    said = [
        t("fertility.best", name=escape(best["name"]), saved=f"{best['saved']:.0%}", gain=t.number(rows[0]["tokens"] / best["tokens"], 2))
    ]
    named = [best]
    if best.get("speed_gain"):
        said.append(t("fertility.best_speed", gain=t.number(best["speed_gain"], 2)))
        fastest = max(rows, key=lambda row: row.get("speed_gain") or 0)
        if fastest is not best:
            said.append(t("fertility.fastest", name=escape(fastest["name"]), gain=t.number(fastest["speed_gain"], 2)))
            named += [fastest] if fastest is not rows[0] else []
    before = old_rates.get(rows[0]["path"])
    for row in named:
        after = old_rates.get(row["path"])
        if before and after:
            change = before / after - 1
            key = "same" if abs(change) < 0.005 else "more" if change > 0 else "fewer"
            said.append(t(f"fertility.old_{key}", name=escape(row["name"]), change=f"{abs(change):.0%}"))
    return " ".join(said)


def old_language_rates(project: Project) -> dict[str, float]:
    """Tokenizer path -> characters per token on text in the old language, the newest measurement of each."""
    rates: dict[str, float] = {}
    for run in measurements(project, OLD_LANGUAGE):
        for path, row in zip(run.config["tokenizer"], result_of(run).get("tokenizers", []), strict=False):
            if row.get("characters_per_token"):
                rates.setdefault(path, row["characters_per_token"])
    return rates


def rates_by_text(
    rows: Sequence[Mapping[str, Any]], text_names: Sequence[str], old_rates: Mapping[str, float], t: Translator
) -> dict[str, list[float | None]]:
    """Characters per token of each tokenizer: one series per text, the old language last."""
    series: dict[str, list[float | None]] = {t("fertility.your_text"): [row["characters_per_token"] for row in rows]}
    if len(text_names) > 1 and all(len(row.get("inputs") or []) == len(text_names) for row in rows):
        series = {short(name): [row["inputs"][place]["characters_per_token"] for row in rows] for place, name in enumerate(text_names)}
    if any(row["path"] in old_rates for row in rows):
        series[t("fertility.old_text_series")] = [old_rates.get(row["path"]) for row in rows]
    return series


def gains(rows: Sequence[Mapping[str, Any]], t: Translator) -> dict[str, list[float | None]]:
    """Times as much text in the context and times as many characters per second, against the first row."""
    first = rows[0]["characters_per_token"]
    series: dict[str, list[float | None]] = {
        t("fertility.context_gain"): [row["characters_per_token"] / first if first else None for row in rows]
    }
    if any(row.get("speed_gain") for row in rows):
        series[t("fertility.speed_gain")] = [row.get("speed_gain") for row in rows]
    return series


def newest_parity(project: Project) -> Run | None:
    """The newest measurement that compares languages."""
    return next((run for run in measurements(project, LANGUAGES) if result_of(run).get("parity")), None)


def parity_series(run: Run, project: Project, value: str, t: Translator) -> tuple[list[str], dict[str, list[float | None]]]:
    """Languages, and for each tokenizer one figure per language; the model's own comes first."""
    report, labels = result_of(run), tokenizers(project, t)
    paths = {row["name"]: path for path, row in zip(run.config["tokenizer"], report.get("tokenizers", []), strict=False)}
    ordered = sorted(paths, key=lambda name: paths[name] != project.base)
    languages = list(dict.fromkeys(str(row["language"]) for row in report["parity"]))
    found = {(row["tokenizer"], str(row["language"])): row.get(value) for row in report["parity"]}
    return languages, {label_of(paths[name], labels): [found.get((name, language)) for language in languages] for name in ordered}


def speed_curve(curve: Sequence[Mapping[str, Any]], shape: ModelShape, own_rate: float) -> tuple[list[float], list[float]]:
    """(vocabulary sizes, predicted speed against the model's own tokenizer) along a curve of characters per token."""
    own = shape.operations_per_character(shape.vocab_rows, own_rate)
    points = [point for point in curve if point.get("characters_per_token")]
    sizes = [float(point["vocab_size"]) for point in points]
    return sizes, [own / shape.operations_per_character(int(point["vocab_size"]), point["characters_per_token"]) for point in points]
