"""Tokenizer: how well vocabularies fit the user's text, building a better one, and seeing what it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from lep_core.config import BuildTokenizerConfig
from lep_core.errors import ConfigError, LepError
from lep_core.models.folder import inspect_model
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.form import Form
from ui.material import corpora, finished, first, label_of, result_of, run_name, texts, tokenizers
from ui.messages import action, escape, note_area
from ui.studio import Studio, TabParts
from ui.tokens import COLOUR_MAP_WITH_DIFFERENCES, compared, new_tokens

COLUMNS = (
    "name",
    "vocab_size",
    "tokens",
    "saved",
    "characters_per_token",
    "tokens_per_word",
    "bytes_per_token",
    "continued_word_rate",
    "single_token_word_rate",
    "vocabulary_used_rate",
    "embedding_mib",
    "round_trip_ok",
)


def build(studio: Studio) -> TabParts:
    """The tokenizer tab."""
    parts = [_fertility(studio), _building(studio), _coloured(studio), _browser(studio)]

    def refresh(project: Project) -> dict[Any, Any]:
        changes: dict[Any, Any] = {}
        for part in parts:
            changes |= part.refresh(project)
        return changes

    return TabParts([item for part in parts for item in part.outputs], refresh)


def _fertility(studio: Studio) -> TabParts:
    t = studio.t
    gr.Markdown(f"### {t('fertility.title')}\n{t('fertility.intro')}")
    with gr.Row():
        chosen = gr.Dropdown(
            choices=[],
            multiselect=True,
            allow_custom_value=True,
            label=t("fertility.tokenizers"),
            elem_id="fertility-tokenizers",
            interactive=True,
        )
        text = gr.Dropdown(
            choices=[], multiselect=True, allow_custom_value=True, label=t("fertility.text"), elem_id="fertility-text", interactive=True
        )
    measure = gr.Button(t("fertility.measure"), variant="primary", elem_id="fertility-measure", scale=0, min_width=240)
    note = note_area("fertility-note")
    headline = gr.Markdown(t("fertility.none"), elem_id="fertility-headline", elem_classes=["headline"])
    table = gr.Dataframe(
        headers=[t(f"column.{name}") for name in COLUMNS],
        datatype="str",
        interactive=False,
        elem_id="fertility-table",
        wrap=True,
        visible=False,
        column_widths=[190, *([104] * (len(COLUMNS) - 1))],
    )
    with gr.Row():
        left = gr.Plot(show_label=False, elem_id="fertility-plot", visible=False)
        right = gr.Plot(show_label=False, elem_id="fertility-plot-words", visible=False)
    with gr.Accordion(t("fertility.formulas"), open=False, elem_id="fertility-formulas"):
        gr.Markdown(t("fertility.formulas_text"))

    def refresh(project: Project) -> dict[Any, Any]:
        options, sources = tokenizers(project, t), texts(project, t)
        changes: dict[Any, Any] = {
            chosen: gr.update(choices=options, value=[value for _, value in options][:4]),
            text: gr.update(choices=sources, value=[sources[0][1]] if sources else []),
        }
        runs = finished(project, "measure-fertility")
        hidden = gr.update(visible=False)
        if not runs:
            return {**changes, headline: t("fertility.none"), table: hidden, left: hidden, right: hidden}
        rows = fertility_rows(runs[0], project, studio)
        return {
            **changes,
            headline: _headline(rows, studio),
            table: gr.update(value=[[_cell(row, name, studio) for name in COLUMNS] for row in rows], visible=True),
            **_charts(rows, studio, left, right),
        }

    def on_measure(project_id: str, folders: list[str], sources: list[str]) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        if not folders:
            raise ConfigError("tokenizer", t("error.no_tokenizer"), t("error.choose_tokenizer"))
        if not sources:
            raise ConfigError("input", t("error.no_text"), t("error.give_corpus"))
        studio.start(project, "measure-fertility", {"tokenizer": folders, "input": sources})
        return {}

    action(measure.click, on_measure, inputs=[studio.project, chosen, text], outputs=[], note=note, t=t)
    return TabParts([chosen, text, headline, table, left, right], refresh)


def fertility_rows(run: Run, project: Project, studio: Studio) -> list[dict[str, Any]]:
    """The report's tokenizers under the names used here, the model's own first, with the share of tokens saved against it."""
    labels = tokenizers(project, studio.t)
    rows: list[dict[str, Any]] = []
    for path, row in zip(run.config["tokenizer"], result_of(run).get("tokenizers", []), strict=False):
        rows.append({**row, "path": path, "name": label_of(path, labels)})
    rows.sort(key=lambda row: row["path"] != project.base)
    hidden_bytes = _bytes_per_row(project)
    for row in rows:
        row["saved"] = 1 - row["tokens"] / rows[0]["tokens"] if rows[0].get("tokens") else 0.0
        row["embedding_mib"] = row["vocab_size"] * hidden_bytes / 2**20 if hidden_bytes else None
    return rows


def _bytes_per_row(project: Project) -> int:
    """Bytes that one more token costs in embedding and head."""
    try:
        model = inspect_model(project.base or "")
    except LepError:
        return 0
    size = {"float64": 8, "float32": 4}.get(model.dtype, 2)
    return model.hidden_size * size * (1 if model.tied else 2)


def _cell(row: dict[str, Any], name: str, studio: Studio) -> str:
    t, value = studio.t, row.get(name)
    if isinstance(value, bool):
        return t("yes" if value else "no")
    if name in ("saved", "continued_word_rate", "single_token_word_rate", "vocabulary_used_rate") and value is not None:
        return f"{value:.1%}"
    return t.number(value, 1 if name == "embedding_mib" else 3) if isinstance(value, (int, float)) else str(value or "–")


def _headline(rows: Sequence[dict[str, Any]], studio: Studio) -> str:
    t = studio.t
    if len(rows) < 2:
        return (
            t("fertility.one", name=escape(rows[0]["name"]), value=t.number(rows[0]["characters_per_token"], 2))
            if rows
            else t("fertility.none")
        )
    best = min(rows, key=lambda row: row["tokens"])
    if best is rows[0]:
        return t("fertility.own_is_best", name=escape(best["name"]))
    gain = rows[0]["tokens"] / best["tokens"]
    return t("fertility.best", name=escape(best["name"]), saved=f"{best['saved']:.0%}", gain=t.number(gain, 2))


def _charts(rows: Sequence[dict[str, Any]], studio: Studio, left: gr.Plot, right: gr.Plot) -> dict[Any, Any]:
    from ui.plots import bars

    t = studio.t
    names = [row["name"] for row in rows]
    per_token = bars(
        names,
        {t("column.characters_per_token"): [row["characters_per_token"] for row in rows]},
        title=t("fertility.chart_characters"),
        y="",
    )
    per_word = bars(names, {t("column.tokens_per_word"): [row["tokens_per_word"] for row in rows]}, title=t("fertility.chart_words"), y="")
    return {left: gr.update(value=per_token, visible=True), right: gr.update(value=per_word, visible=True)}


def _building(studio: Studio) -> TabParts:
    t = studio.t
    gr.Markdown(f"### {t('build.title')}\n{t('build.intro')}")
    form = Form(BuildTokenizerConfig, t, prefix="build")
    start = gr.Button(t("build.start"), variant="primary", elem_id="build-start", scale=0, min_width=240)
    note = note_area("build-note")
    result = gr.Markdown("", elem_id="build-result", elem_classes=["card"], visible=False)
    base, text = form.components["base"], form.components["input"]

    def refresh(project: Project) -> dict[Any, Any]:
        sources = texts(project, t)
        defaults = project.settings.get("defaults", {})
        changes: dict[Any, Any] = {
            base: gr.update(choices=tokenizers(project, t), value=project.base),
            text: gr.update(choices=sources, value=[sources[0][1]] if sources else []),
        }
        for name in ("new_tokens", "vocab_size", "variant"):
            if name in defaults:
                changes[form.components[name]] = defaults[name]
        runs = finished(project, "build-tokenizer")
        changes[result] = gr.update(value=_built(runs[0], project, studio), visible=True) if runs else gr.update(visible=False)
        return changes

    def on_start(project_id: str, *entered: Any) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        values = form.values(entered)
        if not values["input"]:
            raise ConfigError("input", t("error.no_text"), t("error.give_corpus"))
        built = studio.start(project, "build-tokenizer", values)
        # What everyone wants to know next: how much better it is on the same text.
        compared_with = {"tokenizer": [values["base"], str(built.output)], "input": values["input"]}
        studio.start(project, "measure-fertility", compared_with, after=[built])
        return {}

    action(start.click, on_start, inputs=[studio.project, *form.inputs], outputs=[], note=note, t=t)
    defaults_shown = [form.components[name] for name in ("new_tokens", "vocab_size", "variant")]
    return TabParts([base, text, result, *defaults_shown], refresh)


def _built(run: Run, project: Project, studio: Studio) -> str:
    t, report = studio.t, result_of(run)
    before, after = report.get("characters_per_token_before"), report.get("characters_per_token_after")
    lines = [
        f"**{escape(run_name(run, project, t))}**",
        t(
            "build.sizes",
            size=t.number(report.get("vocab_size")),
            new=t.number(report.get("new_tokens")),
            removed=t.number(report.get("removed_tokens")),
        ),
        t("build.change", before=t.number(before, 2), after=t.number(after, 2)) if before and after else "",
        t("build.round_trip_ok") if report.get("round_trip_ok") else t("build.round_trip_bad"),
    ]
    if report.get("unreachable_tokens"):
        lines.append(t("build.unreachable", count=t.number(report["unreachable_tokens"])))
    return "  \n".join(line for line in lines if line)


def _coloured(studio: Studio) -> TabParts:
    t = studio.t
    gr.Markdown(f"### {t('tokens.title')}")
    sample = gr.Textbox(t("tokens.sample"), label=t("tokens.text"), lines=3, max_lines=6, elem_id="tokens-text")
    with_ids = gr.Checkbox(False, label=t("tokens.ids"), elem_id="tokens-ids")
    with gr.Row():
        panes = [_token_pane(studio, side) for side in ("left", "right")]
    (left, left_text), (right, right_text) = panes
    note = note_area("tokens-note")

    def draw(text: str, ids: bool, one: str | None, other: str | None) -> dict[Any, Any]:
        changes: dict[Any, Any] = {}
        for folder, against, pane in ((one, other, left_text), (other, one, right_text)):
            if folder and text:
                pieces, count = compared(folder, against or folder, text, with_ids=ids)
                label = t("tokens.count", count=t.number(count), rate=t.number(len(text) / max(1, count), 2))
                changes[pane] = gr.update(value=pieces, label=label)
            else:
                changes[pane] = gr.update(value=[])
        return changes

    def refresh(project: Project) -> dict[Any, Any]:
        choices = tokenizers(project, t)
        newest = first(choices)
        changes = {left: gr.update(choices=choices, value=project.base), right: gr.update(choices=choices, value=newest)}
        try:
            drawn = draw(t("tokens.sample"), False, project.base, newest)
        except LepError:
            # The project tab says what is wrong with the model; here the panes just stay empty.
            drawn = {left_text: gr.update(value=[]), right_text: gr.update(value=[])}
        return {**changes, **drawn, sample: t("tokens.sample"), with_ids: False}

    inputs = [sample, with_ids, left, right]
    for trigger in (sample.input, with_ids.input, left.input, right.input):
        action(
            trigger,
            draw,
            inputs=inputs,
            outputs=[left_text, right_text],
            note=note,
            t=t,
            queue=False,
            show_progress="hidden",
            trigger_mode="always_last",
        )
    return TabParts([left, right, left_text, right_text, sample, with_ids], refresh)


def _token_pane(studio: Studio, side: str) -> tuple[gr.Dropdown, gr.HighlightedText]:
    t = studio.t
    with gr.Column():
        chosen = gr.Dropdown(
            choices=[], label=t.field_label("tokenizer"), elem_id=f"tokens-{side}", interactive=True, allow_custom_value=True
        )
        shown = gr.HighlightedText(
            [],
            color_map=COLOUR_MAP_WITH_DIFFERENCES,
            show_inline_category=False,
            show_legend=False,
            label=t("tokens.title"),
            elem_id=f"tokens-{side}-text",
            elem_classes=["tokens"],
        )
    return chosen, shown


def _browser(studio: Studio) -> TabParts:
    t = studio.t
    with gr.Accordion(t("browser.title"), open=False, elem_id="browser"):
        with gr.Row():
            chosen = gr.Dropdown(choices=[], label=t("browser.tokenizer"), elem_id="browser-tokenizer", interactive=True)
            wanted = gr.Textbox(label=t("browser.search"), elem_id="browser-search")
        table = gr.Dataframe(
            headers=[t(f"browser.{name}") for name in ("id", "token", "count", "pieces")],
            datatype="str",
            interactive=False,
            elem_id="browser-table",
            wrap=True,
        )
        note = note_area("browser-note")

    def draw(project_id: str, folder: str | None, search: str) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        rows = new_tokens(folder, project.base, first(corpora(project, t)), search) if folder and project.base else []
        return {table: gr.update(value=rows)}

    def refresh(project: Project) -> dict[Any, Any]:
        choices = [item for item in tokenizers(project, t) if item[1] != project.base]
        return {chosen: gr.update(choices=choices, value=first(choices))}

    for trigger in (chosen.change, wanted.submit):
        action(trigger, draw, inputs=[studio.project, chosen, wanted], outputs=[table], note=note, t=t, show_progress="hidden")
    return TabParts([chosen], refresh)
