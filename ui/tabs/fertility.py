"""Tokenizer tab, first part: what each tokenizer costs on the user's text, in the old language, and in many languages side by side."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.errors import ConfigError
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.fertility import (
    LANGUAGES,
    OLD_LANGUAGE,
    PARITY_VALUES,
    PURPOSE,
    gains,
    headline,
    newest_parity,
    old_language_rates,
    parity_series,
    rates_by_text,
    rows_on_same_text,
    table,
)
from ui.form import multi_choice
from ui.material import label_of, suggested, texts, tokenizers
from ui.messages import action, note_area, view
from ui.studio import Studio, TabParts
from ui.uploads import keep_uploads

FILE_TYPES = [".txt", ".md", ".gz", ".zst"]
# Shares of the table's width; with many tokenizers it scrolls.
METRIC_SHARE, FORMULA_SHARE, MOST_WITHOUT_SCROLLING = 20, 38, 4


def build(studio: Studio) -> TabParts:
    """The fertility dashboard."""
    parts = [_measuring(studio), _languages(studio)]

    def refresh(project: Project) -> dict[Any, Any]:
        return {key: change for part in parts for key, change in part.refresh(project).items()}

    return TabParts([item for part in parts for item in part.outputs], refresh)


def start_measurement(
    studio: Studio, project: Project, folders: Sequence[str], text: Sequence[str], old_text: Sequence[str], *, after: Sequence[Run] = ()
) -> None:
    """Measure the user's text; text in the old language is measured on its own, so that every rate is one language's."""
    if old_text:
        values = {"tokenizer": list(folders), "input": list(old_text)}
        studio.start(project, "measure-fertility", values, inputs={PURPOSE: OLD_LANGUAGE}, after=list(after))
    studio.start(project, "measure-fertility", {"tokenizer": list(folders), "input": list(text)}, after=list(after))


def _measuring(studio: Studio) -> TabParts:
    t = studio.t
    gr.Markdown(f"### {t('fertility.title')}\n{t('fertility.intro')}")
    chosen = multi_choice(t("fertility.tokenizers"), elem_id="fertility-tokenizers")
    with gr.Row():
        text = multi_choice(t("fertility.text"), elem_id="fertility-text")
        old_text = multi_choice(t("fertility.old_text"), elem_id="fertility-old-text")
    measure = gr.Button(t("fertility.measure"), variant="primary", elem_id="fertility-measure", scale=0, min_width=240)
    note = note_area("fertility-note")
    said = gr.Markdown(t("fertility.none"), elem_id="fertility-headline", elem_classes=["headline"])
    figures = gr.Dataframe(
        headers=[t("fertility.metric"), t("fertility.formula")],
        datatype="str",
        interactive=False,
        elem_id="fertility-table",
        wrap=True,
        visible=False,
        max_height=1200,
    )
    with gr.Row():
        rates = gr.Plot(show_label=False, elem_id="fertility-plot", visible=False)
        gained = gr.Plot(show_label=False, elem_id="fertility-plot-gains", visible=False)

    def refresh(project: Project) -> dict[Any, Any]:
        options, sources = tokenizers(project, t), texts(project, t)
        changes: dict[Any, Any] = {
            chosen: gr.update(choices=options, value=_newest_and_own(options, project)),
            text: gr.update(choices=sources, value=[sources[0][1]] if sources else []),
            old_text: gr.update(choices=sources, value=suggested(project, "replay_files")),
        }
        measured, rows = rows_on_same_text(project, studio)
        if not rows:
            hidden = gr.update(visible=False)
            return {**changes, said: t("fertility.none"), figures: hidden, rates: hidden, gained: hidden}
        old_rates = old_language_rates(project)
        shown = table(rows, t)
        return {
            **changes,
            said: headline(rows, old_rates, studio),
            figures: gr.update(value=shown, visible=True, column_widths=_widths(len(rows))),
            **_charts(rows, [label_of(path, sources) for path in measured], old_rates, studio, rates, gained),
        }

    def on_measure(project_id: str, folders: list[str], sources: list[str], old_sources: list[str]) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        check_choice(folders, sources, studio)
        start_measurement(studio, project, folders, sources, old_sources)
        return {}

    action(measure.click, on_measure, inputs=[studio.project, chosen, text, old_text], outputs=[], note=note, t=t)
    return TabParts([chosen, text, old_text, said, figures, rates, gained], refresh)


def check_choice(folders: Sequence[str], sources: Sequence[str], studio: Studio) -> None:
    """Refuse to measure nothing."""
    t = studio.t
    if not folders:
        raise ConfigError("tokenizer", t("error.no_tokenizer"), t("error.choose_tokenizer"))
    if not sources:
        raise ConfigError("input", t("error.no_text"), t("error.give_corpus"))


def _newest_and_own(options: Sequence[tuple[str, str]], project: Project) -> list[str]:
    newest = [value for _, value in options if value != project.base][:3]
    return [*newest, *([project.base] if project.base else [])]


def _widths(tokenizers: int) -> list[str]:
    if tokenizers > MOST_WITHOUT_SCROLLING:
        return ["170px", *["132px"] * tokenizers, "320px"]
    return [f"{METRIC_SHARE}%", *[f"{(100 - METRIC_SHARE - FORMULA_SHARE) / tokenizers:.1f}%"] * tokenizers, f"{FORMULA_SHARE}%"]


def _charts(
    rows: Sequence[dict[str, Any]], text_names: Sequence[str], old_rates: dict[str, float], studio: Studio, left: gr.Plot, right: gr.Plot
) -> dict[Any, Any]:
    t = studio.t
    first = _bars(rows, rates_by_text(rows, text_names, old_rates, t), t("fertility.chart_characters"))
    if len(rows) < 2:
        return {left: gr.update(value=first, visible=True), right: gr.update(visible=False)}
    second = _bars(rows, gains(rows, t), t("fertility.chart_gains"))
    return {left: gr.update(value=first, visible=True), right: gr.update(value=second, visible=True)}


def _bars(rows: Sequence[dict[str, Any]], series: dict[str, list[float | None]], title: str) -> Any:
    """Upright bars; lying ones where so many names would not fit beside each other."""
    from ui.plots import bars, lying_bars

    names = [row["name"] for row in rows]
    if len(rows) <= MOST_WITHOUT_SCROLLING:
        return bars(names, series, title=title, y="")
    figure = lying_bars(names, series, title=title, x="")
    figure.update_layout(legend={"y": -0.07, "yanchor": "top"}, margin={"t": 42})
    figure.update_traces(textangle=0)
    return figure


def _languages(studio: Studio) -> TabParts:
    t = studio.t
    with gr.Accordion(t("parity.title"), open=False, elem_id="parity"):
        gr.Markdown(t("parity.intro"))
        with gr.Row():
            upload = gr.File(label=t("parity.upload"), file_count="multiple", file_types=FILE_TYPES, height=120, elem_id="parity-upload")
            with gr.Column():
                files = multi_choice(t("parity.files"), elem_id="parity-files")
                reference = gr.Dropdown(
                    choices=[], label=t("parity.reference"), info=t("parity.reference_info"), elem_id="parity-reference", interactive=True
                )
        chosen = multi_choice(t("fertility.tokenizers"), elem_id="parity-tokenizers")
        compare = gr.Button(t("parity.start"), variant="primary", elem_id="parity-start", scale=0, min_width=240)
        note = note_area("parity-note")
    value = gr.Radio(
        [(t(f"parity.{name}"), name) for name in PARITY_VALUES],
        value=PARITY_VALUES[0],
        label=t("parity.show"),
        elem_id="parity-value",
        visible=False,
    )
    plot = gr.Plot(show_label=False, elem_id="parity-plot", visible=False)

    def draw(project_id: str, name: str) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        run = newest_parity(project)
        if run is None:
            return {plot: gr.update(visible=False)}
        from ui.plots import bars

        languages, series = parity_series(run, project, name, t)
        return {plot: gr.update(value=bars(languages, series, title=t(f"parity.chart_{name}"), y=""), visible=True)}

    def languages_of(uploaded: list[str] | None, paths: list[str]) -> dict[Any, Any]:
        names = [language_name(path) for path in [*(uploaded or []), *paths]]
        return {
            reference: gr.update(choices=names, value=next((name for name in names if name.startswith("en")), names[0] if names else None))
        }

    def on_compare(project_id: str, uploaded: list[str] | None, paths: list[str], wished: str | None, folders: list[str]) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        if len(uploaded or []) + len(paths) < 2:
            raise ConfigError("parallel", t("error.one_language"), t("error.give_languages"))
        kept = keep_uploads(project.path / "uploads" / f"parallel-{secrets.token_hex(3)}", uploaded or [])
        parallel = [*map(str, kept), *paths]
        check_choice(folders, parallel, studio)
        values = {"tokenizer": folders, "parallel": parallel, **({"reference": wished} if wished else {})}
        studio.start(project, "measure-fertility", values, inputs={PURPOSE: LANGUAGES})
        return {upload: None, files: gr.update(value=parallel)}

    def refresh(project: Project) -> dict[Any, Any]:
        options, known = tokenizers(project, t), suggested(project, "parallel_files")
        return {
            chosen: gr.update(choices=options, value=_newest_and_own(options, project)),
            files: gr.update(choices=[(Path(path).name, path) for path in known], value=known),
            value: gr.update(visible=newest_parity(project) is not None),
            **draw(project.id, PARITY_VALUES[0]),
        }

    action(compare.click, on_compare, inputs=[studio.project, upload, files, reference, chosen], outputs=[upload, files], note=note, t=t)
    for trigger in (upload.change, files.change):
        view(trigger, languages_of, inputs=[upload, files], outputs=[reference], t=t)
    view(value.input, draw, inputs=[studio.project, value], outputs=[plot], t=t)
    return TabParts([chosen, files, value, plot], refresh)


def language_name(path: str) -> str:
    """What a parallel file's language is called: its name without the endings."""
    name = Path(path)
    return Path(name.stem).stem if name.suffix in (".gz", ".zst") else name.stem
