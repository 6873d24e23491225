"""Propagate tab, last part: what embedding rows stand for, before and after. Nearest neighbours of words and a map of the rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import gradio as gr

from lep_core.config import ExploreEmbeddingsConfig
from lep_core.errors import ConfigError
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.form import Form, multi_choice
from ui.i18n import Translator
from ui.material import finished, first, label_of, models, propagated, result_of, short, trained
from ui.messages import action, note_area, view
from ui.studio import Studio, TabParts

VERB = "explore-embeddings"
KINDS = ("shared", "new", "special")
SIDES = ("input", "output")
PANES = ("left", "right")
MOST_RESULTS = 2


def build(studio: Studio) -> TabParts:
    """The embedding explorer."""
    t = studio.t
    gr.Markdown(f"### {t('explore.title')}\n{t('explore.intro')}")
    with gr.Row():
        chosen = multi_choice(t("explore.models"), info=t("explore.models_info"), elem_id="explore-models")
        words = gr.Textbox(t("explore.sample"), label=t("explore.words"), info=t("explore.words_info"), elem_id="explore-words")
    form = Form(ExploreEmbeddingsConfig, t, prefix="explore", leave_out=("model", "words"))
    start = gr.Button(t("explore.start"), variant="primary", elem_id="explore-start", scale=0, min_width=240)
    note = note_area("explore-note")
    with gr.Row():
        word = gr.Radio([], label=t("explore.word"), elem_id="explore-word", interactive=True, visible=False, scale=3)
        side = gr.Radio(
            [(t(f"fit.{name}"), name) for name in SIDES], value=SIDES[0], label=t("explore.side"), elem_id="explore-side", visible=False
        )
    table = gr.Dataframe(datatype="str", interactive=False, wrap=True, elem_id="explore-table", visible=False, max_height=620)
    selectors, maps = [], []
    with gr.Row():
        for pane in PANES:
            with gr.Column():
                selectors.append(
                    gr.Dropdown(choices=[], label=t("explore.map_of"), elem_id=f"explore-{pane}", interactive=True, visible=False)
                )
                maps.append(gr.Plot(show_label=False, elem_id=f"explore-map-{pane}", visible=False))

    def refresh(project: Project) -> dict[Any, Any]:
        choices = models(project, t)
        results = [path for _, path in propagated(project, t)[:MOST_RESULTS]]
        wished = [project.base, first(trained(project, t)), project.instruct, *results]
        changes: dict[Any, Any] = {chosen: gr.update(choices=choices, value=[path for path in wished if path])}
        run = newest(project)
        drawn = map_of(run)["models"] if run else []
        named = [(label, str(index)) for index, label in enumerate(labels(run, project, t) if run else [])] if drawn else []
        ends = (named[0][1], named[-1][1]) if named else (None, None)
        for selector, value in zip(selectors, ends, strict=True):
            changes[selector] = gr.update(choices=named, value=value, visible=bool(named))
        asked = words_of(run) if run else []
        changes[word] = gr.update(choices=asked, value=next(iter(asked), None), visible=bool(asked))
        changes[side] = gr.update(value=SIDES[0], visible=bool(asked))
        shown = show_neighbours(project.id, next(iter(asked), None), SIDES[0])
        return {**changes, **shown, **show_maps(project.id, *ends)}

    def show_neighbours(project_id: str, asked: str | None, wanted: str) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        run = newest(project)
        rows = neighbour_table(run, project, asked, wanted, t) if run and asked else None
        if rows is None:
            return {table: gr.update(visible=False)}
        share = f"{100 / len(rows['headers']):.1f}%"
        return {table: gr.update(value=rows, visible=True, column_widths=[share] * len(rows["headers"]))}

    def show_maps(project_id: str, *wanted: str | None) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        run = newest(project)
        return {plot: _map(run, project, index, t) for plot, index in zip(maps, wanted, strict=True)}

    def on_start(project_id: str, folders: Sequence[str], typed: str, *entered: Any) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        if not folders:
            raise ConfigError("model", t("error.no_model"), t("error.give_model"))
        studio.start(project, VERB, {**form.values(entered), "model": list(folders), "words": split_words(typed)})
        return {}

    action(start.click, on_start, inputs=[studio.project, chosen, words, *form.inputs], outputs=[], note=note, t=t)
    for choice in (word, side):
        view(choice.input, show_neighbours, inputs=[studio.project, word, side], outputs=[table], t=t)
    for selector in selectors:
        view(selector.input, show_maps, inputs=[studio.project, *selectors], outputs=maps, t=t)
    return TabParts([chosen, word, side, table, *selectors, *maps], refresh)


def split_words(typed: str | None) -> list[str]:
    """Words between commas, semicolons or line breaks; spaces inside belong to the word."""
    return list(dict.fromkeys(word.strip() for word in re.split(r"[,;\n]", typed or "") if word.strip()))


def newest(project: Project) -> Run | None:
    """The newest finished look into embeddings."""
    return next(iter(finished(project, VERB)), None)


def map_of(run: Run) -> Mapping[str, Any]:
    return result_of(run).get("map") or {"tokens": [], "kinds": [], "models": []}


def labels(run: Run, project: Project, t: Translator) -> list[str]:
    """What the run's models are called here, in its order; a folder that is gone goes by its name."""
    known = models(project, t)
    return [label_of(path, known) if label_of(path, known) != path else short(path) for path in run.config["model"]]


def words_of(run: Run) -> list[str]:
    """The words that were looked up and found."""
    return list(dict.fromkeys(str(row["word"]) for row in result_of(run).get("neighbours") or []))


def neighbour_table(run: Run, project: Project, word: str, side: str, t: Translator) -> dict[str, Any] | None:
    """One column per model: how it spells the word, then the nearest tokens. None when no model has that matrix."""
    found = result_of(run).get("neighbours") or []
    called = dict(zip(dict.fromkeys(row["model"] for row in found), labels(run, project, t), strict=False))
    columns = {called.get(row["model"], row["model"]): row for row in found if row["side"] == side and row["word"] == word}
    if not columns:
        return None
    spelled = [t("explore.spelled", token=_visible(row["token"])) for row in columns.values()]
    near = [[f"{_visible(item['token'])}  {item['similarity']:.2f}" for item in row["neighbours"]] for row in columns.values()]
    return {"headers": list(columns), "data": [spelled, *map(list, zip_longest(*near, fillvalue=""))]}


def _visible(token: str) -> str:
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def map_groups(run: Run, index: int, t: Translator) -> dict[str, tuple[list[float], list[float], list[str]]]:
    """The tokens that a model has, by kind: coordinates and the tokens themselves."""
    drawn = map_of(run)
    model = drawn["models"][index]
    groups: dict[str, tuple[list[float], list[float], list[str]]] = {}
    for kind in KINDS:
        points = [
            (x, y, _visible(str(token)))
            for token, is_kind, x, y in zip(drawn["tokens"], drawn["kinds"], model["x"], model["y"], strict=True)
            if is_kind == kind and x is not None and y is not None
        ]
        # Kinds that the model lacks stay in the list, so that every map has the same colours.
        across, up, tokens = map(list, zip(*points, strict=True)) if points else ([], [], [])
        groups[t(f"explore.kind_{kind}")] = (across, up, tokens)
    return groups


def _map(run: Run | None, project: Project, index: str | None, t: Translator) -> dict[str, Any]:
    if run is None or index is None or int(index) >= len(map_of(run)["models"]):
        return gr.update(visible=False)
    from ui.plots import points

    return gr.update(value=points(map_groups(run, int(index), t), title=labels(run, project, t)[int(index)]), visible=True)
