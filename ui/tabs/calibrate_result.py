"""What calibration has done: sentences, before and after with intervals, the loss, and every run of the project."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.calibrations import calibrations, comparison_rows, history_rows, loss_curves, outcome_lines
from ui.job_panel import error_text
from ui.material import label_of, models, result_of, run_name
from ui.messages import escape, view
from ui.studio import Studio

COLUMNS = ("name", "state", "created", "way", "steps", "right_before", "right_after", "bits_before", "bits_after", "seconds")
NUMBERS = COLUMNS[4:]


class CalibrationResult:
    """One result at a time, and the history of all."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        gr.Markdown(f"### {t('calibrated.title')}")
        self.shown = gr.Dropdown(choices=[], label=t("calibrated.select"), elem_id="calibrate-select", interactive=True, visible=False)
        self.card = gr.Markdown(t("calibrated.none"), elem_id="calibrate-result", elem_classes=["card"])
        headers = ("measure", "before", "after", "teacher", "difference", "n")
        self.table = gr.Dataframe(
            headers=[t(f"calibrated.{name}") for name in headers],
            datatype="str",
            interactive=False,
            wrap=True,
            elem_id="calibrate-table",
            column_widths=["18%", "19%", "19%", "19%", "18%", "7%"],
            visible=False,
        )
        self.curve = gr.Plot(show_label=False, elem_id="calibrate-curve", visible=False)
        with gr.Accordion(t("calibrated.history"), open=False, elem_id="calibrate-history-fold"):
            self.history = gr.Dataframe(
                headers=[t(f"calibrated.{name}") for name in COLUMNS],
                datatype=["number" if name in NUMBERS else "str" for name in COLUMNS],
                interactive=False,
                wrap=True,
                elem_id="calibrate-history",
                max_height=340,
            )
        self.outputs: list[Any] = [self.shown, self.card, self.table, self.curve, self.history]
        view(self.shown.input, self.show, inputs=[studio.project, self.shown], outputs=self.outputs, t=t)

    def refresh(self, project: Project) -> dict[Any, Any]:
        """The newest calibration, and the history."""
        t, runs = self.studio.t, calibrations(project)
        choices = [(run_name(run, project, t), run.id) for run in runs]
        newest = choices[0][1] if choices else None
        return {
            **self.show(project.id, newest),
            self.shown: gr.update(choices=choices, value=newest, visible=bool(choices)),
            self.history: gr.update(value=history_rows(project, t)),
        }

    def show(self, project_id: str, run_id: str | None) -> dict[Any, Any]:
        """Card, table and curve of a run."""
        project, t = self.studio.open_project(project_id), self.studio.t
        hidden = gr.update(visible=False)
        run = next((item for item in calibrations(project) if item.id == run_id), None)
        if run is None:
            return {self.card: t("calibrated.none"), self.table: hidden, self.curve: hidden}
        rows, curves = comparison_rows(result_of(run), t), loss_curves(run.metrics(), t)
        changes: dict[Any, Any] = {self.card: card_text(run, project, self.studio), self.table: gr.update(value=rows, visible=bool(rows))}
        if not curves:
            return {**changes, self.curve: hidden}
        from ui.plots import lines

        figure = lines(curves, title=t("calibrated.curve"), x=t("history.axis_step"), y=t("calibrated.loss_axis"))
        return {**changes, self.curve: gr.update(value=figure, visible=True)}


def card_text(run: Run, project: Project, studio: Studio) -> str:
    """Markdown: what became of a calibration."""
    t, report, status = studio.t, result_of(run), run.status()
    lines = [f"**{escape(run_name(run, project, t))}** ← {escape(label_of(run.config['model'], models(project, t)))}"]
    if not report:
        lines.append(
            t("calibrated.waiting", name=escape(t.verb(run.verb)), state=t(f"state.{status.state}"), stage=escape(t.stage(status.stage)))
        )
        return "  \n".join([*lines, *filter(None, [error_text(run, t)])])
    lines += outcome_lines(report, t)
    if report.get("steps") is not None:
        learned = t(
            "calibrated.learned",
            conversations=t.number(report["conversations"]),
            steps=t.number(report["steps"]),
            parameters=t.number(report["learned_parameters"]),
            time=t.duration(report["seconds"]),
        )
        lines.append(learned)
    before, after = report.get("loss_per_byte_before"), report.get("loss_per_byte_after")
    if before is not None and after is not None:
        lines.append(t("calibrated.loss", before=t.number(before, 4), after=t.number(after, 4)))
    if status.state == "succeeded":
        lines.append(t("calibrated.next"))
    return "  \n".join(lines)
