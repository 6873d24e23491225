"""Past chats of the project: a table, and for the chosen one open, rename, delete and downloads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import gradio as gr

from lep_core.errors import InputError, JobError
from lep_core.runs.chats import LONGEST_TITLE, ChatStore, Summary
from ui.chat_files import DOWNLOADS, remove_downloads, write_chat_downloads
from ui.messages import action, escape, note_area, view
from ui.studio import Studio

if TYPE_CHECKING:
    from ui.tabs.chat import Conversation, Visit

COLUMNS = ("chat_title", "changed", "messages", "models", "votes")


class PastChats:
    """The list, and what can be done with a chat of it."""

    def __init__(self, studio: Studio, conversation: Conversation, parts: gr.Tabs) -> None:
        self.studio, t = studio, studio.t
        self.conversation, self.parts = conversation, parts
        self.intro = gr.Markdown(t("past.none"), elem_id="past-intro")
        bare: dict[str, Any] = {"container": False, "show_label": False}
        with gr.Row(equal_height=True, visible=False) as self.chosen_row:
            self.chosen = gr.Dropdown(
                choices=[], label=t("past.chat"), elem_id="past-chat", interactive=True, scale=4, min_width=260, **bare
            )
            self.open = gr.Button(t("past.open"), variant="primary", size="md", elem_id="past-open", scale=0, min_width=150)
        with gr.Row(equal_height=True, visible=False) as self.title_row:
            self.title = gr.Textbox(
                "", label=t("past.chat_title"), max_lines=1, max_length=LONGEST_TITLE, elem_id="past-title", scale=4, min_width=260, **bare
            )
            self.rename = gr.Button(t("past.rename"), size="md", elem_id="past-rename", scale=0, min_width=150)
        with gr.Row(visible=False) as self.files_row:
            self.downloads = [
                gr.DownloadButton(t(f"past.{kind}"), size="sm", elem_id=f"past-download-{kind}", scale=0, min_width=210)
                for kind in DOWNLOADS
            ]
            self.delete = gr.Button(t("past.delete"), size="sm", variant="stop", elem_id="past-delete", scale=0, min_width=120)
        with gr.Row(visible=False, equal_height=True, elem_classes=["confirm"]) as self.confirm_row:
            self.question = gr.Markdown("", elem_id="past-sure")
            self.really = gr.Button(
                t("past.delete_really"), variant="stop", size="sm", elem_id="past-delete-really", scale=0, min_width=150
            )
            self.keep = gr.Button(t("past.keep"), size="sm", elem_id="past-keep", scale=0, min_width=100)
        self.note = note_area("past-note")
        self.table = gr.Dataframe(
            headers=[t(f"past.{name}") for name in COLUMNS],
            datatype="str",
            interactive=False,
            wrap=True,
            elem_id="past-table",
            column_widths=["32%", "17%", "13%", "28%", "10%"],
            max_height=320,
            visible=False,
        )

    @property
    def rows(self) -> list[Any]:
        return [self.chosen_row, self.title_row, self.files_row]

    @property
    def outputs(self) -> list[Any]:
        """What `render` may change."""
        return [self.intro, self.table, self.chosen, self.title, *self.downloads, *self.rows, self.confirm_row]

    def connect(self, tab: gr.Tab) -> None:
        t, project, visit = self.studio.t, self.studio.project, self.conversation.visit
        here = [project, self.chosen]
        view(tab.select, self.on_show, inputs=[project, visit, self.chosen], outputs=self.outputs, t=t)
        action(self.chosen.input, self.render, inputs=here, outputs=self.outputs, note=self.note, t=t, show_progress="hidden")
        inputs = [project, visit, self.conversation.saved, self.chosen]
        outputs = [*self.conversation.opened, self.parts]
        opening = action(self.open.click, self.on_open, inputs=inputs, outputs=outputs, note=self.note, t=t)
        self.conversation.follow_after(opening.then)
        for trigger in (self.rename.click, self.title.submit):
            action(
                trigger,
                self.on_rename,
                inputs=[project, visit, self.chosen, self.title],
                outputs=[*self.outputs, self.conversation.layout.pick],
                note=self.note,
                t=t,
            )
        sure = [self.confirm_row, self.question]
        action(self.delete.click, self.on_delete, inputs=here, outputs=sure, note=self.note, t=t, show_progress="hidden")
        action(self.keep.click, lambda: {self.confirm_row: gr.update(visible=False)}, inputs=[], outputs=sure, note=self.note, t=t)
        outputs = list(dict.fromkeys([*self.outputs, *self.conversation.opened]))
        inputs = [project, visit, self.conversation.saved, self.chosen]
        action(self.really.click, self.on_delete_really, inputs=inputs, outputs=outputs, note=self.note, t=t)
        # Gradio tells which row was clicked through the type of the handler's argument, so this one is connected by hand.
        self.table.select(
            self.on_row,
            inputs=[project],
            outputs=self.outputs,
            queue=False,
            show_progress="hidden",
            show_progress_on=[],
            api_visibility="private",
        )

    def on_show(self, project_id: str, visit: Visit, chosen: str | None) -> dict[Any, Any]:
        """The list as it is now; the chat that is open is chosen at first."""
        return self.render(project_id, chosen or visit.chat)

    def render(self, project_id: str, chosen: str | None) -> dict[Any, Any]:
        """Table, chosen chat, its downloads."""
        t, project = self.studio.t, self.studio.open_project(project_id)
        store = ChatStore(project.path)
        listed, problems = store.listing()
        known = {item.id: item for item in listed}
        picked = known.get(chosen or "") or (listed[0] if listed else None)
        lines = [t("past.intro") if listed else t("past.none"), *(f"⚠ {escape(problem)}" for problem in problems)]
        changes: dict[Any, Any] = {
            self.intro: "  \n".join(lines),
            self.table: gr.update(value=[[_cell(item, name) for name in COLUMNS] for item in listed], visible=bool(listed)),
            self.chosen: gr.update(choices=_labels(listed), value=picked.id if picked else None),
            self.title: picked.title if picked else "",
            **dict.fromkeys(self.rows, gr.update(visible=picked is not None)),
            self.confirm_row: gr.update(visible=False),
        }
        if picked is not None:
            chat = store.read(picked.id)
            if chat.skipped:
                changes[self.intro] += f"  \n⚠ {t('chat.damaged', count=chat.skipped)}"
            files = write_chat_downloads(chat)
            changes |= {button: gr.update(value=str(path)) for button, path in zip(self.downloads, files, strict=True)}
        return changes

    def on_row(self, project_id: str, event: gr.SelectData) -> dict[Any, Any]:
        """Choose the clicked chat."""
        listed, _ = ChatStore(self.studio.open_project(project_id).path).listing()
        row = event.row_value or []
        clicked = next((item.id for item in listed if [_cell(item, name) for name in COLUMNS] == list(row)), None)
        return self.render(project_id, clicked) if clicked else {self.chosen: gr.skip()}

    def on_open(self, project_id: str, visit: Visit, saved: dict[str, str] | None, chosen: str | None) -> dict[Any, Any]:
        """Show the chat on the first tab."""
        self._check(chosen)
        return {**self.conversation.open(project_id, visit, saved, chosen), self.parts: gr.update(selected="conversation")}

    def on_rename(self, project_id: str, visit: Visit, chosen: str | None, title: str) -> dict[Any, Any]:
        """Give the chat another title."""
        project = self.studio.open_project(project_id)
        ChatStore(project.path).rename(self._check(chosen), title)
        return {**self.render(project_id, chosen), self.conversation.layout.pick: self.conversation.layout.chats(project, visit.chat)}

    def on_delete(self, project_id: str, chosen: str | None) -> dict[Any, Any]:
        """Ask first."""
        chat = ChatStore(self.studio.open_project(project_id).path).read(self._check(chosen))
        question = self.studio.t("past.sure", title=escape(chat.title))
        return {self.confirm_row: gr.update(visible=True), self.question: question}

    def on_delete_really(self, project_id: str, visit: Visit, saved: dict[str, str] | None, chosen: str | None) -> dict[Any, Any]:
        """Delete it; a browser that shows it gets empty panes."""
        t, project, chat_id = self.studio.t, self.studio.open_project(project_id), self._check(chosen)
        if self.conversation.running.running(project, chat_id) is not None:
            raise JobError(t("past.running"), t("past.running_hint"))
        ChatStore(project.path).delete(chat_id)
        remove_downloads(chat_id)
        left = self.conversation.on_new(project_id, visit, saved) if visit.chat == chat_id else {}
        return {**left, **self.render(project_id, None)}

    def _check(self, chosen: str | None) -> str:
        if not chosen:
            raise InputError(self.studio.t("past.choose"), self.studio.t("past.none"))
        return chosen


def _labels(listed: list[Summary]) -> list[tuple[str, str]]:
    return [(f"{item.title} · {_when(item.changed)}", item.id) for item in listed]


def _cell(item: Summary, name: str) -> str:
    if name == "changed":
        return _when(item.changed)
    values = {"chat_title": item.title, "messages": item.exchanges, "models": ", ".join(item.models), "votes": len(item.votes) or ""}
    return str(values[name])


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
