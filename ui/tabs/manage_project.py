"""What can be done with a whole project: its settings as a file, copies, another name, the trash and back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.errors import InputError
from lep_core.runs import trash
from lep_core.runs.copies import clone_project, project_from, read_settings, write_settings
from lep_core.runs.workspace import LONGEST_NAME, Project
from ui.i18n import Translator
from ui.messages import action, escape, note_area
from ui.studio import Studio, TabParts, latest_project


def build(studio: Studio) -> TabParts:
    """The folded part of the project tab."""
    with gr.Accordion(studio.t("manage.title"), open=False, elem_id="manage"):
        part = ManagedProject(studio)
    return TabParts(part.outputs, part.refresh)


class Confirmation:
    """A question with two buttons, hidden until somebody asks."""

    def __init__(self, *, really: str, keep: str, prefix: str) -> None:
        with gr.Row(visible=False, equal_height=True, elem_classes=["confirm"]) as self.row:
            self.question = gr.Markdown("", elem_id=f"{prefix}-sure")
            self.really = gr.Button(really, variant="stop", size="sm", elem_id=f"{prefix}-really", scale=0, min_width=160)
            self.keep = gr.Button(keep, size="sm", elem_id=f"{prefix}-keep", scale=0, min_width=110)
        self.outputs = [self.row, self.question]

    def ask(self, text: str) -> dict[Any, Any]:
        return {self.row: gr.update(visible=True), self.question: text}

    def close(self) -> dict[Any, Any]:
        return {self.row: gr.update(visible=False)}


class TrashBin:
    """What is in the trash of a folder: put back, or delete for good after a question."""

    def __init__(self, t: Translator, *, label: str, prefix: str, show: Callable[[trash.Deleted], str]) -> None:
        self.t, self._show = t, show
        with gr.Row(visible=False, equal_height=True, elem_classes=["run-line"]) as self.row:
            self.chosen = gr.Dropdown(choices=[], label=label, elem_id=f"{prefix}-deleted", interactive=True, scale=4, min_width=260)
            self.put_back = gr.Button(t("trash.put_back"), size="sm", elem_id=f"{prefix}-restore", scale=0, min_width=130)
            self.empty = gr.Button(t("trash.empty"), size="sm", elem_id=f"{prefix}-empty", scale=0, min_width=190)
        self.sure = Confirmation(really=t("trash.empty_really"), keep=t("manage.keep"), prefix=f"{prefix}-empty")
        self.outputs = [self.row, self.chosen, *self.sure.outputs]

    def render(self, folder: Path) -> dict[Any, Any]:
        """The list; nothing is shown of an empty trash."""
        found = trash.listing(folder)
        choices = [(self._label(item), item.id) for item in found]
        value = choices[0][1] if choices else None
        return {self.row: gr.update(visible=bool(found)), self.chosen: gr.update(choices=choices, value=value), **self.sure.close()}

    def question(self, folder: Path) -> dict[Any, Any]:
        found = trash.listing(folder)
        size = in_mib(sum(item.size_bytes for item in found), self.t)
        return self.sure.ask(self.t("trash.empty_sure", count=len(found), size=size))

    def taken(self, chosen: str | None) -> str:
        """The chosen entry; InputError when there is none."""
        if not chosen:
            raise InputError(self.t("trash.choose"), self.t("trash.choose_hint"))
        return chosen

    def _label(self, item: trash.Deleted) -> str:
        moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.deleted))
        return self.t("trash.row", name=self._show(item), time=moment, size=in_mib(item.size_bytes, self.t))


class ManagedProject:
    """Components and what they do."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        gr.Markdown(t("manage.intro"))
        with gr.Row():
            self.save = gr.DownloadButton(t("manage.save"), size="sm", elem_id="manage-save", min_width=230)
            self.load = gr.UploadButton(t("manage.load"), size="sm", file_types=[".json"], elem_id="manage-load", min_width=260)
        with gr.Row(equal_height=True, elem_classes=["run-line"]):
            self.name = gr.Textbox(
                "", label=t("manage.name"), info=t("manage.name_info"), max_lines=1, max_length=LONGEST_NAME, elem_id="manage-name", scale=3
            )
            self.rename = gr.Button(t("manage.rename"), size="sm", elem_id="manage-rename", scale=0, min_width=130)
        with gr.Row():
            self.clone = gr.Button(t("manage.clone"), size="sm", elem_id="manage-clone", min_width=210)
            self.clone_runs = gr.Button(t("manage.clone_runs"), size="sm", elem_id="manage-clone-runs", min_width=230)
            self.delete = gr.Button(t("manage.delete"), size="sm", variant="stop", elem_id="manage-delete", min_width=170)
        self.sure = Confirmation(really=t("manage.really"), keep=t("manage.keep"), prefix="manage-delete")
        self.note = note_area("manage-note")
        self.done = gr.Markdown("", visible=False, elem_id="manage-done", elem_classes=["good"])
        self.bin = TrashBin(t, label=t("trash.projects"), prefix="manage", show=_project_name)
        self.outputs = [self.save, *self.bin.outputs]
        self._connect()

    def _connect(self) -> None:
        t, project = self.studio.t, self.studio.project
        shown = [self.done, self.name, *self.sure.outputs, *self.outputs]
        changed = [project, *shown] if project is not None else shown
        ways: list[tuple[Any, Callable[..., dict[Any, Any]], list[Any]]] = [
            (self.load.upload, self.on_load, [self.load]),
            (self.rename.click, self.on_rename, [project, self.name]),
            (self.clone.click, lambda *given: self.on_clone(*given, with_runs=False), [project, self.name]),
            (self.clone_runs.click, lambda *given: self.on_clone(*given, with_runs=True), [project, self.name]),
            (self.delete.click, self.on_delete, [project]),
            (self.sure.really.click, self.on_delete_really, [project]),
            (self.sure.keep.click, self.sure.close, []),
            (self.bin.put_back.click, self.on_put_back, [self.bin.chosen]),
            (self.bin.empty.click, lambda: self.bin.question(self.root), []),
            (self.bin.sure.really.click, self.on_empty, []),
            (self.bin.sure.keep.click, self.bin.sure.close, []),
        ]
        for trigger, work, inputs in ways:
            action(trigger, work, inputs=inputs, outputs=changed, note=self.note, t=t)

    @property
    def root(self) -> Path:
        return self.studio.backend.workspace.path

    def refresh(self, project: Project) -> dict[Any, Any]:
        """The file to download, the trash."""
        file = write_settings(project, Path(os.environ["GRADIO_TEMP_DIR"]) / f"settings-{project.id}" / f"{project.id}.json")
        return {self.save: gr.update(value=str(file)), **self.bin.render(self.root)}

    def on_load(self, uploaded: str | None) -> dict[Any, Any]:
        """A new project from an uploaded settings file."""
        settings = read_settings(Path(str(uploaded or "")))
        made = project_from(self.studio.backend.workspace, settings)
        return self._opened(made, self.studio.t("manage.cloned", name=escape(made.name)))

    def on_clone(self, project_id: str, name: str, *, with_runs: bool) -> dict[Any, Any]:
        """A copy, opened."""
        made = clone_project(
            self.studio.backend.workspace, self.studio.open_project(project_id), " ".join(name.split()), with_runs=with_runs
        )
        return self._opened(made, self.studio.t("manage.cloned", name=escape(made.name)))

    def on_rename(self, project_id: str, name: str) -> dict[Any, Any]:
        """Another name; the folder keeps its own."""
        t, project, called = self.studio.t, self.studio.open_project(project_id), " ".join(name.split())
        if not called:
            raise InputError(t("project.no_name"), t("project.give_name"))
        if any(item.name == called and item != project for item in self.studio.backend.workspace.projects()):
            raise InputError(t("project.name_taken", name=called), t("project.give_name"))
        project.update_settings(name=called)
        return self._opened(project, t("manage.renamed", name=escape(called)))

    def on_delete(self, project_id: str) -> dict[Any, Any]:
        """Ask first."""
        project = self.studio.open_project(project_id)
        return self.sure.ask(self.studio.t("manage.sure", name=escape(project.name), runs=len(project.runs())))

    def on_delete_really(self, project_id: str) -> dict[Any, Any]:
        """Into the trash; the project that was worked on last is opened."""
        workspace, project = self.studio.backend.workspace, self.studio.open_project(project_id)
        name = project.name
        trash.delete_project(workspace, project)
        return self._opened(latest_project(workspace), self.studio.t("manage.deleted", name=escape(name)))

    def on_put_back(self, chosen: str | None) -> dict[Any, Any]:
        """Out of the trash."""
        project = trash.restore_project(self.studio.backend.workspace, self.bin.taken(chosen))
        return self._opened(project, self.studio.t("trash.restored", name=escape(project.name)))

    def on_empty(self) -> dict[Any, Any]:
        """Delete for good."""
        trash.empty(self.root)
        return self.bin.render(self.root)

    def _opened(self, project: Project | None, said: str) -> dict[Any, Any]:
        choices = [(item.name, item.id) for item in self.studio.backend.workspace.projects()]
        shown = {self.studio.project: gr.update(choices=choices, value=project.id if project else None)}
        done = {self.done: gr.update(value=f"✔ {said}", visible=True), self.name: ""}
        return {**shown, **done, **self.sure.close(), **self.bin.render(self.root)}


def _project_name(item: trash.Deleted) -> str:
    return Project(item.path).name


def in_mib(size: int, t: Translator) -> str:
    """A size that people read."""
    return t("size.gib", value=t.number(size / 2**30, 1)) if size >= 2**30 else t("size.mib", value=t.number(size / 2**20, 1))
