"""The README.md of an exported model: what it was made from, with which settings, and what was measured.

Every number comes from a file found beside the model, in its project, or from the model's own files. What is not known is left out. The
licence is left to the person who publishes, because it follows from the licences of the source models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lep_core.export.lineage import Lineage
from lep_core.export.measurements import Measured, Measurements
from lep_core.export.snippets import Snippet, as_markdown
from lep_core.models import ModelFolder

REPORTED = {
    "build-tokenizer": ("vocab_size", "new_tokens", "removed_tokens", "characters_per_token_before", "characters_per_token_after"),
    "initialize": ("vocab_size", "shared_tokens", "averaged_tokens", "special_tokens", "missing_tokens"),
    "train": ("steps", "tokens_seen", "corpus_tokens", "bits_per_byte_before", "bits_per_byte_after", "stopped"),
    "propagate": ("method", "vocab_size", "special_rows_kept"),
    "calibrate": ("steps", "conversations", "tokens_seen", "loss_before", "loss_after", "stopped"),
}
FIT = ("tokens", "rank", "condition_number", "relative_residual", "heldout_residual", "identity_residual", "distance_from_identity")
RESULT_COLUMNS = ("model", "task", "metric", "value", "low", "high", "n")
SPEED_COLUMNS = ("model", "characters_per_second", "tokens_per_second", "characters_per_token", "time_to_first_token_seconds")
FERTILITY_COLUMNS = ("name", "vocab_size", "characters", "tokens", "characters_per_token", "tokens_per_word")
LICENSE_NOTE = "state the licence here: it follows from the licences of the source models"
PAPER = "arXiv 2412.21140"


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What the card is made of besides the model folder. `proof` are sentences about what was checked while exporting."""

    title: str
    lineage: Lineage
    measurements: Measurements
    snippets: Sequence[Snippet]
    fingerprint: str
    license: str | None = None
    library: str | None = "transformers"
    tags: Sequence[str] = ()
    proof: Sequence[str] = field(default_factory=tuple)


def model_card(folder: ModelFolder, facts: CardFacts) -> str:
    """Markdown with a metadata block that the hub reads."""
    licence = f"`{facts.license}`" if facts.license else "To be stated by the publisher; the licences of the source models apply."
    parts = [
        _metadata(facts),
        f"# {_plain(facts.title)}",
        _introduction(folder, facts.lineage),
        f"## Use\n\n{as_markdown(list(facts.snippets))}",
        _model(folder, facts),
        *_making(facts.lineage),
        *_measured(facts.measurements),
        "## Checked while exporting\n\n" + "\n".join(f"- {sentence}." for sentence in facts.proof) if facts.proof else "",
        f"## Licence\n\n{licence}",
        f"Made with LEP Studio (Learned Embedding Propagation, {PAPER}).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(facts: CardFacts) -> str:
    # JSON strings are YAML strings: nothing in a name can break out of them.
    lines = ["---", f"license: {facts.license}" if facts.license else f"# license: {LICENSE_NOTE}"]
    lines += [f"library_name: {facts.library}"] if facts.library else []
    lines.append("pipeline_tag: text-generation")
    lines += ["tags:", *(f"- {tag}" for tag in ("lep-studio", *facts.tags))]
    hub_ids = [source for source in dict.fromkeys(facts.lineage.sources.values()) if source.count("/") == 1]
    if hub_ids:
        lines += ["base_model:", *(f"- {_quoted(source)}" for source in hub_ids)]
    results = list(_index(facts.measurements.results))
    if results:
        lines += ["model-index:", f"- name: {_quoted(facts.title)}", "  results:", *results]
    return "\n".join([*lines, "---"])


def _index(measured: Iterable[Measured]) -> Iterable[str]:
    """The model's own rows as the hub's `model-index` wants them: one result a task, each with its metrics."""
    for one in measured:
        data = ", ".join(one.data) or one.place
        own = [row for row in one.rows if row.get("model") == one.name and _is_number(row.get("value"))]
        for task in dict.fromkeys(str(row.get("task")) for row in own):
            yield "  - task:\n      type: text-generation\n      name: " + _quoted(task)
            yield f"    dataset:\n      type: {_quoted(data)}\n      name: {_quoted(f'{task} ({data})')}"
            yield "    metrics:"
            for row in own:
                if str(row.get("task")) == task:
                    interval = (
                        f", interval {row['low']:.4g} to {row['high']:.4g}"
                        if _is_number(row.get("low")) and _is_number(row.get("high"))
                        else ""
                    )
                    name = f"{row.get('metric')} (n = {row.get('n')}{interval})"
                    yield f"    - type: {_quoted(str(row.get('metric')))}\n      value: {float(row['value'])!r}\n      name: {_quoted(name)}"


def _introduction(folder: ModelFolder, lineage: Lineage) -> str:
    made_from = " and ".join(f"{role} model **{_plain(name)}**" for role, name in lineage.sources.items())
    text = f"A {folder.architecture} with {folder.tokenizer_size:,} tokens."
    return f"{text} Made from the {made_from}." if made_from else text


def _model(folder: ModelFolder, facts: CardFacts) -> str:
    rows: list[tuple[str, Any]] = [
        ("parameters", f"{folder.parameters:,}"),
        ("hidden size", folder.hidden_size),
        ("layers", folder.layers),
        ("tokens", f"{folder.tokenizer_size:,}"),
        ("embedding rows", f"{folder.vocab_size:,}"),
        ("head", "shared with the embedding" if folder.tied else "separate"),
        ("precision of the weights", folder.dtype),
        ("chat template", folder.has_chat_template),
        ("fingerprint", facts.fingerprint),
    ]
    if facts.lineage.checkpoint:
        rows.append(("checkpoint", facts.lineage.checkpoint))
    rows += [
        (f"corpus {_plain(corpus.name)}", f"{corpus.documents:,} documents, {corpus.characters:,} characters, SHA-256 {corpus.sha256}")
        for corpus in facts.lineage.corpora
    ]
    return "## Model\n\n" + _table(("", ""), rows)


def _making(lineage: Lineage) -> list[str]:
    if not lineage.stages:
        return []
    parts = ["## How it was made"]
    for stage in lineage.stages:
        settings = ", ".join(f"{key} = {_value(value)}" for key, value in stage.settings.items())
        rows = [(name, stage.report[name]) for name in REPORTED.get(stage.verb, ()) if _is_simple(stage.report.get(name))]
        parts += [f"### {_plain(stage.verb)}", f"Settings: {_plain(settings)}", _table(("reported", "value"), rows) if rows else ""]
        fits = [
            (side, stage.report[side])
            for side in ("input", "output")
            if stage.verb == "propagate" and isinstance(stage.report.get(side), dict)
        ]
        if fits:
            parts.append(_table(("fit", *FIT), [(side, *(report.get(name) for name in FIT)) for side, report in fits]))
    return parts


def _measured(found: Measurements) -> list[str]:
    parts = []
    for title, kind, columns in (
        ("Text per token", found.fertility, FERTILITY_COLUMNS),
        ("Evaluation", found.results, RESULT_COLUMNS),
        ("Speed", found.speed, SPEED_COLUMNS),
    ):
        for one in kind:
            about = f"On {', '.join(map(_plain, one.data))}. " if one.data else ""
            table = _table(columns, [[row.get(name) for name in columns] for row in one.rows])
            parts.append(f"### {title}\n\n{about}This model is called {_plain(one.name)}.\n\n{table}")
    if found.results:
        parts.append("`low` and `high` bound the interval, `n` is the number of documents or items.")
    return ["## Measured", *parts] if parts else []


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(_value(cell) for cell in row) + " |" for row in rows)])


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value)
    return _plain(str(value))


def _is_simple(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)


def _plain(text: str) -> str:
    """Text that cannot break the table or start markup."""
    return " ".join(text.replace("|", "/").replace("`", "'").replace("<", "‹").replace(">", "›").split())
