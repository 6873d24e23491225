"""The pairs before they are learned: what was asked, what the original answered, and why an answer is left out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.calibration.preview import PAIRS_FILE, SHOWN, preview_pairs
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.calibrations import pair_choices, pairs_summary, reason_text, runs_with_pairs
from ui.messages import view
from ui.studio import Studio

PAGE_ROWS = 10
LONGEST_SHOWN = 1500


class PairsView:
    """A summary, and a table that is turned page by page; everything is plain text."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        gr.Markdown(f"### {t('pairs.title')}")
        self.chosen = gr.Dropdown(choices=[], label=t("pairs.select"), elem_id="calibrate-pairs-select", interactive=True, visible=False)
        self.summary = gr.Markdown(t("pairs.none"), elem_id="calibrate-pairs-summary", elem_classes=["card"])
        with gr.Row(visible=False) as self.row:
            self.kind = gr.Radio(
                [(t(f"shown.{name}"), name) for name in SHOWN],
                value="all",
                label=t("pairs.shown"),
                elem_id="calibrate-pairs-shown",
                scale=3,
            )
            self.page = gr.Number(1, label=t("pairs.page"), precision=0, minimum=1, elem_id="calibrate-pairs-page", scale=0, min_width=140)
            self.download = gr.DownloadButton(t("pairs.download"), size="sm", elem_id="calibrate-pairs-download", scale=0, min_width=220)
        self.table = gr.Dataframe(
            headers=[t("pairs.prompt"), t("pairs.answer"), t("pairs.verdict")],
            datatype="str",
            interactive=False,
            wrap=True,
            elem_id="calibrate-pairs",
            column_widths=["45%", "38%", "17%"],
            visible=False,
        )
        self.hint = gr.Markdown(t("pairs.edit"), visible=False, elem_id="calibrate-pairs-edit")
        self.outputs: list[Any] = [self.chosen, self.summary, self.row, self.page, self.download, self.table, self.hint]
        inputs = [studio.project, self.chosen, self.kind, self.page]
        for trigger in (self.page.change, self.kind.change):
            view(trigger, self.turn, inputs=inputs, outputs=[self.table], t=t, trigger_mode="always_last")
        view(self.chosen.input, self.show, inputs=[studio.project, self.chosen], outputs=self.outputs, t=t)

    def refresh(self, project: Project) -> dict[Any, Any]:
        """The newest pairs."""
        choices = pair_choices(project, self.studio.t)
        newest = choices[0][1] if choices else None
        return {**self.show(project.id, newest), self.chosen: gr.update(choices=choices, value=newest, visible=bool(choices))}

    def show(self, project_id: str, run_id: str | None) -> dict[Any, Any]:
        """Summary and first page of a run's pairs."""
        run = self._run(project_id, run_id)
        seen = run is not None
        changes: dict[Any, Any] = {item: gr.update(visible=seen) for item in (self.row, self.hint)}
        if run is None:
            return {**changes, self.summary: self.studio.t("pairs.none"), self.table: gr.update(value=[], visible=False)}
        return {
            **changes,
            self.summary: pairs_summary(run, self.studio.t),
            self.page: gr.update(value=1),
            self.download: gr.update(value=str(_download(run))),
            self.table: gr.update(value=self._rows(run, "all", 1), visible=True),
        }

    def turn(self, project_id: str, run_id: str | None, kind: str, page: float | None) -> dict[Any, Any]:
        """Another page, or other rows."""
        run = self._run(project_id, run_id)
        return {} if run is None else {self.table: gr.update(value=self._rows(run, kind, int(page or 1)))}

    def _rows(self, run: Run, kind: str, page: int) -> list[list[str]]:
        start = (max(1, page) - 1) * PAGE_ROWS
        rows = preview_pairs(Path(str(run.output)), start, PAGE_ROWS, shown=kind, maximum_characters=LONGEST_SHOWN)
        return [[row["prompt"], row["answer"], reason_text(row, self.studio.t)] for row in rows]

    def _run(self, project_id: str, run_id: str | None) -> Run | None:
        return next((run for run in runs_with_pairs(self.studio.open_project(project_id)) if run.id == run_id), None)


def _download(run: Run) -> Path:
    """A copy in the folder that Gradio may serve from (never the workspace itself)."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / f"pairs-{run.id}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / PAIRS_FILE).exists():
        shutil.copyfile(Path(str(run.output)) / PAIRS_FILE, folder / PAIRS_FILE)
    return folder / PAIRS_FILE
