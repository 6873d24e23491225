"""All trainings of the project: a sortable table, their held-out curves in one picture, what was set differently, and notes."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.form import multi_choice
from ui.job_panel import ICONS
from ui.material import run_name
from ui.messages import action, note_area, view
from ui.model_places import model_places
from ui.studio import Studio
from ui.trainings import AXES, differences, history, overlay

COLUMNS = ("name", "state", "created", "tokenizer", "steps", "learning_rate", "before", "after", "duration", "note")
NUMBERS = ("steps", "learning_rate", "before", "after", "duration")
WIDTHS = (98, 104, 88, 132, 66, 84, 70, 70, 78, 110)
PRESELECTED = 3
LONGEST_NOTE = 2000


class TrainingHistory:
    """The table of trainings and the comparison of those that are chosen."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        gr.Markdown(t("history.intro"))
        self.table = gr.Dataframe(
            headers=[t(f"history.{name}") for name in COLUMNS],
            datatype=["number" if name in NUMBERS else "str" for name in COLUMNS],
            interactive=False,
            wrap=True,
            elem_id="train-history",
            column_widths=list(WIDTHS),
            max_height=340,
            visible=False,
        )
        with gr.Row():
            self.chosen = multi_choice(t("history.compare"), elem_id="train-compare", info=t("history.compare_info"), scale=3)
            self.axis = gr.Radio(
                [(t(f"history.axis_{name}"), name) for name in AXES],
                value=AXES[0],
                label=t("history.axis"),
                elem_id="train-axis",
                scale=2,
                min_width=260,
            )
        self.curves = gr.Plot(show_label=False, elem_id="train-overlay", visible=False)
        self.differing = gr.Dataframe(
            headers=[t("history.setting")],
            datatype="str",
            interactive=False,
            wrap=True,
            label=t("history.differences"),
            elem_id="train-differences",
            visible=False,
        )
        with gr.Row(elem_classes=["run-line"]):
            self.noted = gr.Dropdown(choices=[], label=t("history.note_for"), elem_id="train-note-run", interactive=True, scale=1)
            self.note = gr.Textbox("", label=t("history.note"), max_lines=4, elem_id="train-note-text", max_length=LONGEST_NOTE, scale=3)
            self.save = gr.Button(t("history.note_save"), size="sm", elem_id="train-note-save", scale=0, min_width=120)
        self.problem = note_area("train-note-problem")
        self.outputs = [self.table, self.chosen, self.noted]
        self._connect()

    def _connect(self) -> None:
        t, project = self.studio.t, self.studio.project
        compared = [self.curves, self.differing]
        for trigger in (self.chosen.change, self.axis.input):
            view(trigger, self.compare, inputs=[project, self.chosen, self.axis], outputs=compared, t=t, trigger_mode="always_last")
        view(self.noted.change, self.show_note, inputs=[project, self.noted], outputs=[self.note], t=t)
        inputs = [project, self.noted, self.note]
        for trigger in (self.save.click, self.note.submit):
            action(trigger, self.keep_note, inputs=inputs, outputs=[self.table], note=self.problem, t=t)
        # Gradio tells which row was clicked through the type of the handler's argument, so this one is connected by hand.
        self.table.select(
            self.toggle,
            inputs=[project, self.chosen],
            outputs=[self.chosen],
            queue=False,
            show_progress="hidden",
            show_progress_on=[],
            api_visibility="private",
        )

    def refresh(self, project: Project) -> dict[Any, Any]:
        """The table, and what can be compared; the newest trainings with a curve are chosen at first."""
        runs = project.runs("train")
        choices = [(run_name(run, project, self.studio.t), run.id) for run in runs]
        ended = [run.id for run in runs if run.status().ended and any("heldout_bits_per_byte" in record for record in run.metrics())]
        return {
            self.table: self._table(project),
            self.chosen: gr.update(choices=choices, value=ended[:PRESELECTED]),
            self.noted: gr.update(choices=choices, value=choices[0][1] if choices else None),
        }

    def _table(self, project: Project) -> dict[str, Any]:
        t = self.studio.t
        rows = [[_cell(row, name, t) for name in COLUMNS] for row in history(project, t)]
        return gr.update(value=rows, visible=bool(rows))

    def compare(self, project_id: str | None, run_ids: list[str] | None, axis: str) -> dict[Any, Any]:
        """The curves of the chosen trainings, and the settings in which they differ."""
        from ui.plots import lines, model_colour

        hidden = gr.update(visible=False)
        if not project_id:
            return {}
        project, t = self.studio.open_project(project_id), self.studio.t
        runs = _runs(project, run_ids)
        drawn = {name: curve for name, curve in overlay(project, runs, axis, t).items() if curve[0]}
        if not drawn:
            return {self.curves: hidden, self.differing: hidden}
        places = model_places(project)
        colours = {run_name(run, project, t): model_colour(places[str(run.output)]) for run in runs}
        figure = lines(drawn, title=t("history.overlay"), x=t(f"history.axis_{axis}"), y=t("unit.bits_per_byte"), colours=colours)
        rows = differences(project, runs, t) if len(runs) > 1 else []
        headers = [t("history.setting"), *(run_name(run, project, t) for run in runs)]
        return {
            self.curves: gr.update(value=figure, visible=True),
            self.differing: gr.update(value={"headers": headers, "data": rows}, visible=bool(rows)),
        }

    def toggle(self, project_id: str | None, run_ids: list[str] | None, event: gr.SelectData) -> dict[Any, Any]:
        """Add the clicked training to the comparison, or take it out."""
        name = (event.row_value or [None])[0]
        project, chosen = self.studio.open_project(project_id), list(run_ids or [])
        clicked = next((run.id for run in project.runs("train") if run_name(run, project, self.studio.t) == name), None)
        if clicked is None:
            return {self.chosen: gr.skip()}
        return {self.chosen: [item for item in chosen if item != clicked] if clicked in chosen else [*chosen, clicked]}

    def show_note(self, project_id: str | None, run_id: str | None) -> dict[Any, Any]:
        """The note of the training that was picked."""
        runs = _runs(self.studio.open_project(project_id), [run_id or ""]) if project_id else []
        return {self.note: runs[0].note if runs else ""}

    def keep_note(self, project_id: str, run_id: str | None, text: str) -> dict[Any, Any]:
        """Write the note into the training's folder."""
        project = self.studio.open_project(project_id)
        for run in _runs(project, [run_id or ""]):
            run.write_note(" ".join(text.split())[:LONGEST_NOTE])
        return {self.table: self._table(project)}


def _runs(project: Project, run_ids: list[str] | None) -> list[Run]:
    return [run for run in reversed(project.runs("train")) if run.id in (run_ids or [])]


def _cell(row: dict[str, Any], name: str, t: Any) -> Any:
    if name == "state":
        return f"{ICONS[row['state']]} {t('state.' + row['state'])}"
    if name == "duration":
        return None if row["seconds"] is None else round(row["seconds"])
    value = row[name]
    return round(value, 4) if name in ("before", "after") and value is not None else value
