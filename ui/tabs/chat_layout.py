"""The components of the chat tab's first part, and what a chat makes of them: no handlers, no state."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lep_core.config import GenerateConfig
from lep_core.runs.chats import Chat, ChatStore, Exchange
from lep_core.runs.workspace import Project
from ui.form import Form, multi_choice
from ui.i18n import Translator
from ui.messages import note_area
from ui.tabs.chat_panes import build_pane
from ui.tabs.chat_vote import VoteRow

PANES = 4
SIDE, BLIND = "side", "blind"
NEW = "new"
"""Stands for no chat in the list of chats."""
SETTINGS = ("system", "plain", "max_new_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "seed")
MOST_LISTED = 50

Changes = dict[Any, Any]


class ChatLayout:
    """Prompt, panes, vote and settings."""

    def __init__(self, t: Translator) -> None:
        self.t = t
        self.intro = gr.Markdown(t("chat.intro"), elem_id="chat-intro")
        # The labels of bare inputs are for screen readers: what they are for shows in their choices.
        bare: dict[str, Any] = {"container": False, "show_label": False}
        with gr.Row(equal_height=True, elem_classes=["chat-bar"]):
            modes = [(t("chat.mode_side"), SIDE), (t("chat.mode_blind"), BLIND)]
            self.mode = gr.Radio(modes, value=SIDE, label=t("chat.mode"), elem_id="chat-mode", min_width=250, scale=0, **bare)
            counts = [(t("chat.count", count=number), number) for number in range(1, PANES + 1)]
            self.count = gr.Dropdown(
                counts, value=2, label=t("chat.panes"), elem_id="chat-panes", min_width=120, scale=0, filterable=False, **bare
            )
            self.pick = gr.Dropdown(
                [(t("chat.new"), NEW)], value=NEW, label=t("chat.pick"), elem_id="chat-pick", min_width=180, scale=3, **bare
            )
            self.clear = gr.Button(t("chat.new"), elem_id="chat-clear", size="md", scale=0, min_width=110)
        self.competitors = multi_choice(t("chat.competitors"), elem_id="chat-competitors", max_choices=PANES, visible=False)
        with gr.Row(equal_height=True):
            self.prompt = gr.Textbox(
                label=t("chat.prompt"),
                placeholder=t("chat.placeholder"),
                lines=1,
                max_lines=8,
                elem_id="chat-prompt",
                scale=6,
                min_width=300,
                **bare,
            )
            self.send = gr.Button(t("chat.send"), variant="primary", elem_id="chat-send", size="md", scale=0, min_width=130)
            self.stop = gr.Button(t("chat.stop"), variant="stop", elem_id="chat-stop", size="md", scale=0, min_width=80, interactive=False)
        self.note = note_area("chat-note")
        said = gr.Markdown("", visible=False, elem_id="vote-said", elem_classes=["good"])
        with gr.Row(elem_classes=["panes"]):
            self.panes = [build_pane(number, t) for number in range(PANES)]
        self.vote = VoteRow(t, said=said)
        with gr.Row(visible=False) as self.actions:
            self.again = gr.Button(t("chat.again"), size="sm", elem_id="chat-again", scale=0, min_width=150)
            self.edit = gr.Button(t("chat.edit"), size="sm", elem_id="chat-edit", scale=0, min_width=170)
        with gr.Accordion(t("chat.settings"), open=False, elem_id="chat-settings"):
            self.form = Form(GenerateConfig, t, prefix="chat", only=SETTINGS, unfold=SETTINGS)

    @property
    def models(self) -> list[Any]:
        return [pane.model for pane in self.panes]

    @property
    def columns(self) -> list[Any]:
        """What `arrange` may change."""
        return [item for pane in self.panes for item in (pane.column, pane.model)]

    @property
    def drawn(self) -> list[Any]:
        """What `draw` may change."""
        return [*(item for pane in self.panes for item in pane.drawn), self.intro, self.stop, self.actions, *self.vote.outputs]

    @property
    def opened(self) -> list[Any]:
        """What opening a chat may change."""
        bar = [self.mode, self.count, self.competitors, self.pick, self.prompt]
        return [*self.drawn, *bar, *self.columns, *self.form.inputs]

    def draw(self, chat: Chat | None, *, intro: str, running: bool = False) -> Changes:
        """Everything that a chat decides: panes, buttons, vote; the introduction stands above an empty one."""
        changes: Changes = {}
        for pane in self.panes:
            changes |= pane.draw(chat, self.t, running=running)
        last = chat.exchanges[-1] if chat is not None and chat.exchanges else None
        replaceable = chat is not None and last is not None and (not last.blind or chat.names_hidden(last.round))
        return {
            **changes,
            self.intro: gr.update(value=intro, visible=last is None),
            self.stop: gr.update(interactive=running),
            self.actions: gr.update(visible=replaceable and not running),
            **self.vote.draw(chat, self.t, running=running),
        }

    def arrange(self, mode: str, count: int | None, rivals: list[str] | None) -> Changes:
        """As many panes as models; in a blind vote the panes carry no names."""
        seats = min(PANES, max(2, len(rivals or []))) if mode == BLIND else int(count or 2)
        changes: Changes = {}
        for pane in self.panes:
            changes |= {pane.column: gr.update(visible=pane.number < seats), pane.model: gr.update(visible=mode != BLIND)}
        return changes

    def bar(self, mode: str, count: int | None, rivals: list[str] | None) -> Changes:
        """The inputs above the panes, as the mode needs them."""
        return {
            self.mode: gr.update(value=mode),
            self.count: gr.update(value=int(count or 2), visible=mode != BLIND),
            self.competitors: gr.update(value=list(rivals or []), visible=mode == BLIND),
        }

    def as_in(self, last: Exchange) -> Changes:
        """The models and settings of an exchange."""
        mode = BLIND if last.blind else SIDE
        # Sorted: the order of the panes must not be read from the order of this list.
        rivals = sorted(answer.model for answer in last.answers)
        changes = self.bar(mode, len(last.answers), rivals) | self.arrange(mode, len(last.answers), rivals)
        if not last.blind:
            changes |= {
                pane.model: gr.update(value=answer.model, visible=True) for pane, answer in zip(self.panes, last.answers, strict=False)
            }
        values = {**last.settings, "system": last.system, "plain": last.plain}
        return changes | {item: values[name] for name, item in self.form.components.items() if name in values}

    def chats(self, project: Project, chat_id: str | None) -> dict[str, Any]:
        """The list of the newest chats, with one of them or none chosen."""
        listed, _ = ChatStore(project.path).listing()
        chosen = [(item.title, item.id) for item in listed if item.id == chat_id]
        others = [(item.title, item.id) for item in listed[:MOST_LISTED] if item.id != chat_id]
        return gr.update(choices=[(self.t("chat.new"), NEW), *chosen, *others], value=chat_id if chosen else NEW)


def merged(first: Changes, second: Changes) -> Changes:
    """Two sets of updates; where both change a component, the fields of the second win and those of the first stay."""
    result = dict(first)
    for key, change in second.items():
        both = isinstance(change, dict) and isinstance(first.get(key), dict) and "__type__" in change and "__type__" in first[key]
        result[key] = {**first[key], **change} if both else change
    return result
