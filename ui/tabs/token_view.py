"""Tokenizer tab, third part: the same text cut by two tokenizers, and the tokens that a new vocabulary brought."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lep_core.errors import LepError
from lep_core.runs.workspace import Project
from ui.material import first, texts, tokenizers
from ui.messages import action, note_area
from ui.studio import Studio, TabParts
from ui.tokens import BROWSER_ORDERS, BROWSER_ROWS, COLOUR_MAP_WITH_DIFFERENCES, SHOWN_CHARACTERS, compared, new_tokens

SIDES = ("left", "right")


def build(studio: Studio) -> TabParts:
    """Coloured tokens and the new-token browser."""
    parts = [_coloured(studio), _browser(studio)]

    def refresh(project: Project) -> dict[Any, Any]:
        return {key: change for part in parts for key, change in part.refresh(project).items()}

    return TabParts([item for part in parts for item in part.outputs], refresh)


def _coloured(studio: Studio) -> TabParts:
    t = studio.t
    gr.Markdown(f"### {t('tokens.title')}\n{t('tokens.intro')}")
    sample = gr.Textbox(t("tokens.sample"), label=t("tokens.text"), lines=3, max_lines=6, elem_id="tokens-text")
    with gr.Row():
        with_spaces = gr.Checkbox(True, label=t("tokens.spaces"), elem_id="tokens-spaces")
        with_ids = gr.Checkbox(False, label=t("tokens.ids"), elem_id="tokens-ids")
    with gr.Row():
        (left, left_text), (right, right_text) = (_token_pane(studio, side) for side in SIDES)
    note = note_area("tokens-note")

    def draw(text: str, spaces: bool, ids: bool, one: str | None, other: str | None) -> dict[Any, Any]:
        changes: dict[Any, Any] = {}
        for folder, against, pane in ((one, other, left_text), (other, one, right_text)):
            if not folder or not text:
                changes[pane] = gr.update(value=[])
                continue
            cut = compared(folder, against or folder, text, with_ids=ids, visible_spaces=spaces)
            label = t("tokens.count", count=t.number(cut.tokens), rate=t.number(cut.characters / max(1, cut.tokens), 2))
            if len(text) > cut.characters:
                label += " · " + t("tokens.cut", count=t.number(SHOWN_CHARACTERS))
            changes[pane] = gr.update(value=cut.pieces, label=label)
        return changes

    def refresh(project: Project) -> dict[Any, Any]:
        choices = tokenizers(project, t)
        newest = first(choices)
        changes = {left: gr.update(choices=choices, value=project.base), right: gr.update(choices=choices, value=newest)}
        try:
            drawn = draw(t("tokens.sample"), True, False, project.base, newest)
        except LepError:
            # The project tab says what is wrong with the model; here the panes just stay empty.
            drawn = {left_text: gr.update(value=[]), right_text: gr.update(value=[])}
        return {**changes, **drawn, sample: t("tokens.sample"), with_ids: False, with_spaces: True}

    inputs = [sample, with_spaces, with_ids, left, right]
    light: dict[str, Any] = {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
    for trigger in (sample.input, with_spaces.input, with_ids.input, left.input, right.input):
        action(trigger, draw, inputs=inputs, outputs=[left_text, right_text], note=note, t=t, **light)
    return TabParts([left, right, left_text, right_text, sample, with_ids, with_spaces], refresh)


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
        gr.Markdown(t("browser.intro"))
        with gr.Row():
            chosen = gr.Dropdown(choices=[], label=t("browser.tokenizer"), elem_id="browser-tokenizer", interactive=True)
            text = gr.Dropdown(choices=[], label=t("browser.text"), elem_id="browser-text", interactive=True)
        with gr.Row():
            wanted = gr.Textbox(label=t("browser.search"), elem_id="browser-search", scale=2)
            order = gr.Radio(
                [(t(f"browser.by_{name}"), name) for name in BROWSER_ORDERS],
                value=BROWSER_ORDERS[0],
                label=t("browser.order"),
                elem_id="browser-order",
                scale=3,
            )
            page = gr.Number(1, label=t("browser.page"), precision=0, minimum=1, elem_id="browser-page", scale=0, min_width=120)
        found = gr.Markdown("", elem_id="browser-found")
        table = gr.Dataframe(
            headers=[t(f"browser.{name}") for name in ("id", "token", "count", "length", "pieces")],
            datatype="str",
            interactive=False,
            elem_id="browser-table",
            wrap=True,
            column_widths=["10%", "25%", "13%", "12%", "40%"],
        )
        note = note_area("browser-note")

    def draw(project_id: str, folder: str | None, source: str | None, search: str, by: str, number: float | None) -> dict[Any, Any]:
        base = studio.open_project(project_id).base
        if not folder or not base:
            return {table: gr.update(value=[]), found: ""}
        shown = max(1, int(number or 1))
        rows, total = new_tokens(folder, base, source, search, order=by, page=shown)
        pages = max(1, -(-total // BROWSER_ROWS))
        return {table: gr.update(value=rows), found: t("browser.found", count=t.number(total), page=min(shown, pages), pages=pages)}

    def from_the_start(project_id: str, folder: str | None, source: str | None, search: str, by: str) -> dict[Any, Any]:
        return {page: 1, **draw(project_id, folder, source, search, by, 1)}

    def refresh(project: Project) -> dict[Any, Any]:
        choices = [item for item in tokenizers(project, t) if item[1] != project.base]
        sources = texts(project, t)
        return {chosen: gr.update(choices=choices, value=first(choices)), text: gr.update(choices=sources, value=first(sources))}

    inputs = [studio.project, chosen, text, wanted, order]
    for trigger in (chosen.change, text.input, wanted.submit, order.input):
        action(trigger, from_the_start, inputs=inputs, outputs=[page, table, found], note=note, t=t, show_progress="hidden")
    action(page.input, draw, inputs=[*inputs, page], outputs=[table, found], note=note, t=t, show_progress="hidden")
    return TabParts([chosen, text], refresh)
