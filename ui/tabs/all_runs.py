"""All runs of the project, whatever verb: filter, sort, compare settings, note, download, delete and put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from lep_core.errors import InputError
from lep_core.runs import trash
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.form import multi_choice
from ui.job_panel import ICONS
from ui.material import run_name
from ui.messages import action, escape, note_area, view
from ui.run_table import COLUMNS, chosen_runs, differences, rows, write_records, write_table
from ui.studio import Studio, TabParts
from ui.tabs.manage_project import Confirmation, TrashBin

LONGEST_NOTE = 2000
SHOWN_RUNS = 500


def build(studio: Studio) -> TabParts:
    """The folded part of the project tab."""
    with gr.Accordion(studio.t("runs.title"), open=False, elem_id="all-runs"):
        part = AllRuns(studio)
    return TabParts(part.outputs, part.refresh)


class AllRuns:
    """Filters, table, and what can be done with the chosen runs."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        self.intro = gr.Markdown(t("runs.none"), elem_id="runs-intro")
        with gr.Row():
            self.kinds = multi_choice(t("runs.kind"), elem_id="runs-kind", info=t("runs.kind_info"), allow_custom_value=False)
            states = [(t(f"state.{name}"), name) for name in ICONS]
            self.states = multi_choice(
                t("runs.state"), elem_id="runs-state", info=t("runs.kind_info"), choices=states, allow_custom_value=False
            )
            self.search = gr.Textbox("", label=t("runs.search"), info=t("runs.search_info"), max_lines=1, elem_id="runs-search")
        self.table = gr.Dataframe(
            headers=[t(f"runs.{name}") for name in COLUMNS],
            datatype=["number" if name == "seconds" else "str" for name in COLUMNS],
            interactive=False,
            wrap=True,
            elem_id="runs-table",
            column_widths=["32%", "18%", "18%", "12%", "20%"],
            max_height=380,
            visible=False,
        )
        self.chosen = multi_choice(t("runs.chosen"), elem_id="runs-chosen", allow_custom_value=False)
        self.differing = gr.Dataframe(
            headers=[t("runs.setting")],
            datatype="str",
            interactive=False,
            wrap=True,
            label=t("runs.differences"),
            elem_id="runs-differences",
            visible=False,
        )
        with gr.Row(equal_height=True, elem_classes=["run-line"]):
            self.text = gr.Textbox("", label=t("runs.note_for"), max_lines=3, max_length=LONGEST_NOTE, elem_id="runs-note-text", scale=4)
            self.note_save = gr.Button(t("runs.note_save"), size="sm", elem_id="runs-note-save", scale=0, min_width=170)
        with gr.Row():
            self.csv = gr.DownloadButton(t("runs.csv"), size="sm", elem_id="runs-csv", min_width=210)
            self.json = gr.DownloadButton(t("runs.json"), size="sm", elem_id="runs-json", interactive=False, min_width=240)
            self.delete = gr.Button(t("runs.delete"), size="sm", variant="stop", elem_id="runs-delete", min_width=200)
        self.sure = Confirmation(really=t("manage.really"), keep=t("manage.keep"), prefix="runs-delete")
        self.note = note_area("runs-note")
        self.bin = TrashBin(t, label=t("trash.runs"), prefix="runs", show=lambda item: item.id)
        self.filters = [self.kinds, self.states, self.search]
        self.drawn = [self.intro, self.table, self.chosen, self.csv]
        self.outputs = [*self.drawn, self.kinds, *self.bin.outputs]
        self._connect()

    def _connect(self) -> None:
        t, project = self.studio.t, self.studio.project
        for trigger in (self.kinds.change, self.states.change, self.search.change):
            inputs = [project, *self.filters]
            view(trigger, self.on_filter, inputs=inputs, outputs=self.drawn, t=t, trigger_mode="always_last")
        compared = [self.differing, self.text, self.json, *self.sure.outputs]
        view(self.chosen.change, self.on_choose, inputs=[project, self.chosen], outputs=compared, t=t, trigger_mode="always_last")
        # Gradio tells which row was clicked through the type of the handler's argument, so this one is connected by hand.
        self.table.select(
            self.on_row,
            inputs=[project, self.chosen],
            outputs=[self.chosen],
            queue=False,
            show_progress="hidden",
            show_progress_on=[],
            api_visibility="private",
        )
        changed = [*self.outputs, *self.sure.outputs]
        ways: list[tuple[Any, Callable[..., dict[Any, Any]], list[Any]]] = [
            (self.note_save.click, self.on_note, [project, self.chosen, self.text, *self.filters]),
            (self.text.submit, self.on_note, [project, self.chosen, self.text, *self.filters]),
            (self.delete.click, self.on_delete, [project, self.chosen]),
            (self.sure.really.click, self.on_delete_really, [project, self.chosen, *self.filters]),
            (self.sure.keep.click, self.sure.close, []),
            (self.bin.put_back.click, self.on_put_back, [project, self.bin.chosen, *self.filters]),
            (self.bin.empty.click, lambda project_id: self.bin.question(self.studio.open_project(project_id).path), [project]),
            (self.bin.sure.really.click, self.on_empty, [project]),
            (self.bin.sure.keep.click, self.bin.sure.close, []),
        ]
        for trigger, work, inputs in ways:
            action(trigger, work, inputs=inputs, outputs=changed, note=self.note, t=t)

    def refresh(self, project: Project) -> dict[Any, Any]:
        """Everything, without filters."""
        verbs = dict.fromkeys(run.verb for run in project.runs())
        kinds = [(self.studio.t.verb(verb), verb) for verb in verbs]
        return {self.kinds: gr.update(choices=kinds), **self._draw(project, [], [], ""), **self.bin.render(project.path)}

    def on_filter(self, project_id: str, kinds: list[str], states: list[str], search: str) -> dict[Any, Any]:
        return self._draw(self.studio.open_project(project_id), kinds, states, search) if project_id else {}

    def on_choose(self, project_id: str, run_ids: list[str]) -> dict[Any, Any]:
        """What was set differently, the note, the file with the settings."""
        if not project_id:
            return {}
        t, project = self.studio.t, self.studio.open_project(project_id)
        runs = _runs(project, run_ids)
        found = differences(runs, project, t) if len(runs) > 1 else []
        headers = [t("runs.setting"), *(run_name(run, project, t) for run in runs)]
        notes = {run.note for run in runs}
        file = str(write_records(runs, project)) if runs else None
        return {
            self.differing: gr.update(value={"headers": headers, "data": found} if found else None, visible=bool(found)),
            self.text: notes.pop() if len(notes) == 1 else "",
            self.json: gr.update(value=file, interactive=bool(runs)),
            **self.sure.close(),
        }

    def on_row(self, project_id: str, run_ids: list[str], event: gr.SelectData) -> dict[Any, Any]:
        """Add the clicked run to the chosen ones, or take it out."""
        t, project, row = self.studio.t, self.studio.open_project(project_id), event.row_value or [None]
        clicked = next((run.id for run in project.runs() if run_name(run, project, t) == row[0]), None)
        if clicked is None:
            return {self.chosen: gr.skip()}
        return {self.chosen: [item for item in run_ids if item != clicked] if clicked in run_ids else [*run_ids, clicked]}

    def on_note(self, project_id: str, run_ids: list[str], text: str, *filters: Any) -> dict[Any, Any]:
        """One note for all chosen runs."""
        project = self.studio.open_project(project_id)
        for run in self._checked(project, run_ids):
            run.write_note(" ".join(text.split())[:LONGEST_NOTE])
        return {key: value for key, value in self._draw(project, *filters).items() if key is not self.chosen}

    def on_delete(self, project_id: str, run_ids: list[str]) -> dict[Any, Any]:
        """Ask first, and say who uses the results."""
        t, project = self.studio.t, self.studio.open_project(project_id)
        runs = self._checked(project, run_ids)
        users = dict.fromkeys(user for run in runs for user in trash.users_of(run, project) if user not in runs)
        lines = [t("runs.sure", names=_named(runs, project, t)), *([t("runs.used", names=_named(users, project, t))] if users else [])]
        return self.sure.ask("  \n".join(lines))

    def on_delete_really(self, project_id: str, run_ids: list[str], *filters: Any) -> dict[Any, Any]:
        """Into the trash, the users before what they use."""
        project = self.studio.open_project(project_id)
        for run in sorted(self._checked(project, run_ids), key=lambda run: run.created, reverse=True):
            trash.delete_run(run, project)
        return {**self._draw(project, *filters), **self.bin.render(project.path), **self.sure.close()}

    def on_put_back(self, project_id: str, chosen: str | None, *filters: Any) -> dict[Any, Any]:
        project = self.studio.open_project(project_id)
        trash.restore_run(self.bin.taken(chosen), project)
        return {**self._draw(project, *filters), **self.bin.render(project.path)}

    def on_empty(self, project_id: str) -> dict[Any, Any]:
        project = self.studio.open_project(project_id)
        trash.empty(project.path)
        return self.bin.render(project.path)

    def _draw(self, project: Project, kinds: list[str], states: list[str], search: str) -> dict[Any, Any]:
        t = self.studio.t
        runs = chosen_runs(project, kinds, states, search, t)[:SHOWN_RUNS]
        return {
            self.intro: t("runs.intro" if project.runs() else "runs.none"),
            self.table: gr.update(value=rows(runs, project, t), visible=bool(runs)),
            self.chosen: gr.update(choices=[(run_name(run, project, t), run.id) for run in project.runs()[:SHOWN_RUNS]]),
            self.csv: gr.update(value=str(write_table(runs, project, t)) if runs else None, interactive=bool(runs)),
        }

    def _checked(self, project: Project, run_ids: list[str] | None) -> list[Run]:
        runs = _runs(project, run_ids)
        if not runs:
            raise InputError(self.studio.t("runs.choose"), self.studio.t("runs.choose_hint"))
        return runs


def _runs(project: Project, run_ids: list[str] | None) -> list[Run]:
    return [run for run in project.runs() if run.id in (run_ids or [])]


def _named(runs: Any, project: Project, t: Any) -> str:
    return ", ".join(escape(run_name(run, project, t)) for run in runs)
