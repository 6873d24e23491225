"""Propagate: carry the trained embeddings over to the instruct model, by one or several methods at once; see how well maps fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from lep_core.config import METHODS, PropagateConfig
from lep_core.errors import ConfigError
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.material import CONTROL, finished, first, result_of, run_name, short, trained
from ui.messages import action, escape, note_area
from ui.studio import Studio, TabParts

FIT_FIELDS = ("tokens", "rank", "condition_number", "relative_residual", "heldout_residual", "identity_residual", "distance_from_identity")


def build(studio: Studio) -> TabParts:
    """The propagate tab."""
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
        instruct = gr.Dropdown(
            choices=[],
            label=t.field_label("instruct"),
            info=t("propagate.instruct_info"),
            elem_id="propagate-instruct",
            interactive=True,
            allow_custom_value=True,
        )
    methods = gr.CheckboxGroup(
        [(t.choice(name), name) for name in METHODS], value=list(METHODS), label=t("propagate.methods"), elem_id="propagate-methods"
    )
    with gr.Accordion(t("form.advanced"), open=False):
        rcond = gr.Number(1e-6, label=t.field_label("rcond"), info=t.field_info(PropagateConfig, "rcond"), elem_id="propagate-rcond")
    start = gr.Button(t("propagate.start"), variant="primary", elem_id="propagate-start", scale=0, min_width=240)
    note = note_area("propagate-note")
    gr.Markdown(f"### {t('propagate.report')}")
    table = gr.Dataframe(
        headers=[t("propagate.result"), *(t(f"fit.{name}") for name in ("matrix", *FIT_FIELDS))],
        datatype="str",
        interactive=False,
        wrap=True,
        elem_id="propagate-table",
    )
    spectrum = gr.Plot(show_label=False, elem_id="propagate-spectrum", visible=False)
    proof = gr.Markdown(t("propagate.none"), elem_id="propagate-proof", elem_classes=["card"])
    with gr.Accordion(t("propagate.worst"), open=False):
        worst = gr.Markdown("", elem_id="propagate-worst")

    def refresh(project: Project) -> dict[Any, Any]:
        choices = trained(project, t)
        changes: dict[Any, Any] = {
            adapted: gr.update(choices=choices, value=first(choices)),
            instruct: gr.update(choices=[(short(project.instruct), project.instruct)] if project.instruct else [], value=project.instruct),
        }
        runs = [run for run in finished(project, "propagate") if not run.inputs.get(CONTROL)]
        if not runs:
            return {**changes, table: gr.update(value=[]), spectrum: gr.update(visible=False), proof: t("propagate.none"), worst: ""}
        return {
            **changes,
            table: gr.update(value=[row for run in runs for row in _rows(run, project, studio)]),
            **_spectrum(runs, project, studio, spectrum),
            proof: "  \n".join(_proof(run, project, studio) for run in runs),
            worst: _worst(runs, project, studio),
        }

    def on_start(project_id: str, folder: str | None, target: str | None, wished: Sequence[str], cutoff: float | None) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        if not folder:
            raise ConfigError("adapted", t("error.no_trained"), t("error.train_first"))
        if not wished:
            raise ConfigError("method", t("error.no_method"), t("error.choose_method"))
        shared: dict[str, Any] = {"base": project.base, "adapted": folder, "instruct": target}
        if cutoff is not None:
            shared["rcond"] = cutoff
        for method in wished:
            studio.start(project, "propagate", {**shared, "method": method})
        return {}

    action(start.click, on_start, inputs=[studio.project, adapted, instruct, methods, rcond], outputs=[], note=note, t=t)
    return TabParts([adapted, instruct, table, spectrum, proof, worst], refresh)


def _fits(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, report[name]) for name in ("input", "output") if isinstance(report.get(name), Mapping)]


def _rows(run: Run, project: Project, studio: Studio) -> list[list[str]]:
    t, rows = studio.t, []
    for name, fit in _fits(result_of(run)):
        cells = []
        for field in FIT_FIELDS:
            value = fit.get(field)
            cells.append("–" if value is None else t.number(value) if isinstance(value, int) else f"{value:.4g}")
        rows.append([run_name(run, project, t), t(f"fit.{name}"), *cells])
    return rows


def _spectrum(runs: Sequence[Run], project: Project, studio: Studio, plot: gr.Plot) -> dict[Any, Any]:
    from ui.plots import lines

    t, series = studio.t, {}
    for run in runs[:4]:
        for name, fit in _fits(result_of(run)):
            values = [value for value in fit.get("singular_values") or [] if value and value > 0]
            if values:
                series[f"{run_name(run, project, t)} · {t(f'fit.{name}')}"] = (list(range(1, len(values) + 1)), values)
    if not series:
        return {plot: gr.update(visible=False)}
    figure = lines(series, title=t("propagate.spectrum"), x=t("propagate.index"), y=t("propagate.singular"), log_y=True)
    return {plot: gr.update(value=figure, visible=True)}


def _proof(run: Run, project: Project, studio: Studio) -> str:
    t, report = studio.t, result_of(run)
    parts = [f"**{escape(run_name(run, project, t))}**"]
    if report.get("logits_equal") is not None:
        parts.append(t("propagate.logits_equal" if report["logits_equal"] else "propagate.logits_differ"))
    if report.get("bytes_written") is not None:
        parts.append(
            t("propagate.written", mib=t.number(report["bytes_written"] / 2**20, 1), linked=t.number(report.get("shards_linked") or 0))
        )
    if report.get("seconds") is not None:
        parts.append(t("jobs.seconds", time=t.duration(report["seconds"])))
    parts.append(escape(run.output))
    return " · ".join(parts)


def _worst(runs: Sequence[Run], project: Project, studio: Studio) -> str:
    lines = []
    for run in runs[:4]:
        for name, fit in _fits(result_of(run)):
            tokens = fit.get("worst_tokens") or []
            if tokens:
                shown = ", ".join(escape(_token_text(item)) for item in tokens[:12])
                lines.append(f"**{escape(run_name(run, project, studio.t))} · {studio.t(f'fit.{name}')}**: {shown}")
    return "  \n".join(lines) or "–"


def _token_text(item: Mapping[str, Any]) -> str:
    return f"{item['token']!r} ({item['relative_residual']:.2g})"
