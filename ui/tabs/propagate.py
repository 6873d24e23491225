"""Propagate: carry the trained embeddings over to instruct models, by several methods at once; see how well the maps fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from lep_core.config import METHODS, PropagateConfig
from lep_core.errors import ConfigError
from lep_core.runs.workspace import Project
from ui.blockers import button
from ui.form import Form, multi_choice
from ui.i18n import Translator
from ui.material import first, short, texts, trained
from ui.messages import action, note_area, view
from ui.model_places import model_places
from ui.propagations import (
    FIT_COLUMNS,
    MATRICES,
    Shown,
    cross_validations,
    curve_name,
    fit_rows,
    method_lines,
    place_lines,
    proof_text,
    propagations,
    residual_series,
    settings_for,
    special_settings,
    spectra,
    values_for,
    warnings,
    worst_rows,
)
from ui.studio import Studio, TabParts
from ui.tabs import explore

USUAL_METHODS = METHODS[:3]
"""Ticked at first: the three of the paper."""
FEW_DECADES = 1000
CHOSEN_ABOVE = ("base", "adapted", "instruct", "method")


def build(studio: Studio) -> TabParts:
    """The propagate tab."""
    parts = [_starting(studio), _report(studio), explore.build(studio)]

    def refresh(project: Project) -> dict[Any, Any]:
        return {key: change for part in parts for key, change in part.refresh(project).items()}

    return TabParts([item for part in parts for item in part.outputs], refresh)


def _starting(studio: Studio) -> TabParts:
    t = studio.t
    gr.Markdown(t("propagate.intro"))
    with gr.Row():
        adapted = gr.Dropdown(
            choices=[],
            label=t.field_label("adapted"),
            info=t.field_info(PropagateConfig, "adapted"),
            elem_id="propagate-adapted",
            interactive=True,
            allow_custom_value=True,
        )
        instruct = multi_choice(t("propagate.instructs"), info=t("propagate.instruct_info"), elem_id="propagate-instruct")
    methods = gr.CheckboxGroup(
        list(METHODS),
        value=list(USUAL_METHODS),
        label=t("propagate.methods"),
        info=t("propagate.methods_info"),
        elem_id="propagate-methods",
    )
    explained = gr.Markdown(method_lines(USUAL_METHODS, t), elem_id="propagate-explained", elem_classes=["card"])
    form = Form(PropagateConfig, t, prefix="propagate", leave_out=CHOSEN_ABOVE)
    counted = form.components["input"]
    special = {name: item for name, item in form.components.items() if name in special_settings()}
    start = gr.Button(t("propagate.start"), variant="primary", elem_id="propagate-start", scale=0, min_width=240)
    note = note_area("propagate-note")

    def on_methods(wished: Sequence[str]) -> dict[Any, Any]:
        needed = settings_for(wished)
        ordered = [method for method in METHODS if method in wished]
        return {explained: method_lines(ordered, t), **{item: gr.update(visible=name in needed) for name, item in special.items()}}

    def on_adapted(folder: str | None) -> dict[Any, Any]:
        return {start: button(t("propagate.start"), None if folder else "need.trained", t)}

    def refresh(project: Project) -> dict[Any, Any]:
        choices = trained(project, t)
        own = [project.instruct] if project.instruct else []
        return {
            adapted: gr.update(choices=choices, value=first(choices)),
            **on_adapted(first(choices)),
            instruct: gr.update(choices=[(short(path), path) for path in own], value=own),
            **on_methods(USUAL_METHODS),
            counted: gr.update(choices=texts(project, t), visible=True),
        }

    def on_start(project_id: str, folder: str | None, targets: Sequence[str], wished: Sequence[str], *entered: Any) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        if not folder:
            raise ConfigError("adapted", t("error.no_trained"), t("error.train_first"))
        if not targets:
            raise ConfigError("instruct", t("error.no_model"), t("error.give_model"))
        if not wished:
            raise ConfigError("method", t("error.no_method"), t("error.choose_method"))
        shared = {**form.values(entered), "base": project.base, "adapted": folder}
        wanted = [{**values_for(method, shared), "instruct": target} for target in targets for method in METHODS if method in wished]
        for values in wanted:
            # All are checked before the first is made, so that a wrong setting leaves nothing behind.
            PropagateConfig.from_mapping({**values, "output": "checked"})
        for values in wanted:
            studio.start(project, "propagate", values)
        return {}

    view(methods.input, on_methods, inputs=[methods], outputs=[explained, *special.values()], t=t)
    action(start.click, on_start, inputs=[studio.project, adapted, instruct, methods, *form.inputs], outputs=[], note=note, t=t)
    view(adapted.change, on_adapted, inputs=[adapted], outputs=[start], t=t, trigger_mode="always_last")
    return TabParts([adapted, start, instruct, explained, *special.values()], refresh)


def _report(studio: Studio) -> TabParts:
    t = studio.t
    gr.Markdown(f"### {t('propagate.report')}")
    proof = gr.Markdown(t("propagate.none"), elem_id="propagate-proof", elem_classes=["card"])
    warned = gr.Markdown("", visible=False, elem_id="propagate-warnings", elem_classes=["note"])
    table = gr.Dataframe(
        headers=[t("propagate.result"), *(t(f"fit.{name}") for name in ("matrix", *FIT_COLUMNS, "options"))],
        datatype="str",
        interactive=False,
        wrap=True,
        elem_id="propagate-table",
        column_widths=["14%", "12%", "9%", "8%", "12%", "13%", "14%", "10%", "8%"],
        max_height=620,
    )
    residuals = {name: gr.Plot(show_label=False, elem_id=f"propagate-residuals-{name}", visible=False) for name in MATRICES}
    with gr.Row():
        spectrum = gr.Plot(show_label=False, elem_id="propagate-spectrum", visible=False)
        curve = gr.Plot(show_label=False, elem_id="propagate-cross-validation", visible=False)
    with gr.Accordion(t("propagate.fit_formulas"), open=False):
        gr.Markdown(t("propagate.fit_formulas_text"))
    with gr.Accordion(t("propagate.places"), open=False):
        places = gr.Markdown("", elem_id="propagate-places")
    with gr.Accordion(t("propagate.worst"), open=False):
        worst = gr.Dataframe(
            headers=[t("propagate.result"), t("fit.matrix"), t("propagate.token"), t("propagate.residual_axis")],
            datatype="str",
            interactive=False,
            wrap=True,
            elem_id="propagate-worst",
            column_widths=["30%", "20%", "30%", "20%"],
        )

    def refresh(project: Project) -> dict[Any, Any]:
        shown = propagations(project, t)
        said = warnings(shown, t)
        return {
            proof: proof_text(shown, t),
            places: place_lines(shown, t) or t("propagate.none"),
            warned: gr.update(value="\n".join(f"- ⚠ {line}" for line in said), visible=bool(said)),
            table: gr.update(value=fit_rows(shown, t), visible=bool(shown)),
            worst: gr.update(value=worst_rows(shown, t)),
            **{plot: _residuals(shown, name, studio) for name, plot in residuals.items()},
            **_curves(shown, project, studio, spectrum, curve),
        }

    return TabParts([proof, places, warned, table, worst, *residuals.values(), spectrum, curve], refresh)


def _residuals(shown: Sequence[Shown], matrix: str, studio: Studio) -> dict[str, Any]:
    names, series = residual_series(shown, matrix, studio.t)
    if not names:
        return gr.update(visible=False)
    from ui.plots import bars

    title = studio.t("propagate.residuals", matrix=studio.t(f"fit.{matrix}"))
    figure = bars(names, series, title=title, y="")
    # The table has the figures; in so narrow bars they could not be read.
    figure.update_traces(text=None)
    return gr.update(value=figure, visible=True)


def _strokes(shown: Sequence[Shown], project: Project, t: Translator) -> tuple[dict[str, str], list[str]]:
    """Name of a curve -> the colour of its model; and the curves of heads, which are dashed."""
    from ui.plots import model_colour

    places = model_places(project)
    colours: dict[str, str] = {}
    for item in shown:
        colour = model_colour(places.get(str(item.run.output), 0))
        colours |= {curve_name(item, matrix, t): colour for matrix in MATRICES}
    return colours, [curve_name(item, MATRICES[-1], t) for item in shown]


def _curves(shown: Sequence[Shown], project: Project, studio: Studio, spectrum: gr.Plot, curve: gr.Plot) -> dict[Any, Any]:
    from ui.plots import lines

    t = studio.t
    values, validated = spectra(shown, t), cross_validations(shown, t)
    changes: dict[Any, Any] = {spectrum: gr.update(visible=False), curve: gr.update(visible=False)}
    if values:
        own, dashed = _strokes(shown, project, t)
        across, up = t("propagate.index"), t("propagate.singular")
        figure = lines(values, title=t("propagate.spectrum"), x=across, y=up, log_y=True, colours=own, dashed=dashed)
        largest, smallest = (choose(choose(up) for _, up in values.values()) for choose in (max, min))
        figure.update_yaxes(tickformat="~g", dtick="D2" if largest < FEW_DECADES * smallest else 1)
        changes[spectrum] = gr.update(value=figure, visible=True)
    if validated:
        figure = lines(validated, title=t("propagate.cross_validation"), x="α", y=t("propagate.residual_axis"), log_x=True)
        changes[curve] = gr.update(value=figure, visible=True)
    return changes
