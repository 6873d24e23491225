"""Chat: one prompt, up to four models answering at the same time, side by side or as a blind vote.

The page only shows: prompts and answers live in `ui.chats` and on the disk, so a reload, another browser or a restarted app finds them
again. Every browser has its own `Visit`; an update of a chat that it has left never stays in its panes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lep_core.config import GenerateConfig
from lep_core.errors import LepError
from lep_core.runs.chats import ChatStore
from lep_core.runs.workspace import Project
from ui.chats import Question, Sending, shared_chats
from ui.material import label_of, models, propagated, short, suggested
from ui.messages import LIGHT_HANDLERS, action, explain, unexpected, view
from ui.studio import Studio, TabParts
from ui.tabs.chat_history import PastChats
from ui.tabs.chat_layout import BLIND, NEW, PANES, SIDE, Changes, ChatLayout, merged
from ui.tabs.chat_vote import VoteSummary

TOKENS_EVERY = 6
"""Frames from one update of the coloured tokens to the next: the page draws them slowly."""


@dataclass
class Visit:
    """What one browser looks at. The server keeps it for the session; handlers change it in place."""

    project: str = ""
    chat: str | None = None
    mode: str = SIDE
    replacing: bool = False
    touched: bool = False
    adapted: bool = True


def build(studio: Studio) -> TabParts:
    """The chat tab."""
    t = studio.t
    with gr.Tabs(elem_id="chat-parts") as parts:
        with gr.Tab(t("chat.title"), id="conversation", elem_id="chat-tab-conversation"):
            conversation = Conversation(studio)
        with gr.Tab(t("past.title"), id="past", elem_id="chat-tab-past") as past_tab:
            past = PastChats(studio, conversation, parts)
        with gr.Tab(t("vote.title"), id="votes", elem_id="chat-tab-votes") as votes_tab:
            votes = VoteSummary(studio)
    conversation.connect()
    past.connect(past_tab)
    votes.connect(votes_tab)
    return TabParts([conversation.offer], conversation.refresh)


class Conversation:
    """What happens in the first part of the tab."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.running = shared_chats(studio.backend)
        self.visit = gr.State(Visit())
        # Not a State: its changes by unqueued events reach no listener.
        self.offer = gr.JSON({}, visible="hidden", elem_id="chat-offer")
        self.saved = studio.shown_chats or gr.State({})
        self.layout = ChatLayout(studio.t)

    @property
    def opened(self) -> list[Any]:
        """What opening a chat may change."""
        return [*self.layout.opened, self.saved]

    def connect(self) -> None:
        """Connect everything; the tab's other parts exist by now."""
        t, page, project = self.studio.t, self.layout, self.studio.project
        asked = [page.prompt, project, self.visit, self.saved, page.mode, page.count, page.competitors, *page.models, *page.form.inputs]
        sent = [page.note, self.saved, page.prompt, page.pick, *page.drawn, page.form.components["seed"]]
        for trigger in (page.send.click, page.prompt.submit):
            self._stream(trigger, self.on_send, inputs=asked, outputs=sent)
        self._stream(page.again.click, self.on_again, inputs=asked, outputs=sent)
        here = [project, self.visit]
        quiet: dict[str, Any] = {"note": page.note, "t": t, "show_progress": "hidden"}
        action(page.stop.click, self.on_stop, inputs=here, outputs=[], queue=False, **quiet)
        action(page.edit.click, self.on_edit, inputs=here, outputs=[page.prompt], **quiet)
        for choice, button in page.vote.buttons.items():
            action(button.click, self._voting(choice), inputs=here, outputs=page.drawn, **quiet)
        known = [*here, self.saved]
        action(page.clear.click, self.on_new, inputs=known, outputs=[*page.drawn, page.pick, self.saved], **quiet)
        opening = action(page.pick.input, self.open, inputs=[*known, page.pick], outputs=self.opened, **quiet)
        offered = [self.offer, self.saved, self.visit]
        offering = view(self.offer.change, self.on_offer, inputs=[*offered, page.mode], outputs=self.opened, t=t)
        for after in (opening.then, offering.then):
            self.follow_after(after)
        arrangement = [page.mode, page.count, page.competitors]
        view(page.mode.input, self.on_mode, inputs=[*known, *arrangement], outputs=self.opened, t=t)
        for component in (page.count, page.competitors):
            view(component.input, page.arrange, inputs=arrangement, outputs=page.columns, t=t)
        for component in (page.competitors, *page.models):
            view(component.input, _touch, inputs=[self.visit], outputs=[page.note], t=t)

    def follow_after(self, trigger: Any) -> None:
        """Show the answers that are still coming once a chat was opened."""
        outputs = [self.layout.note, self.layout.pick, *self.layout.drawn]
        self._stream(trigger, self.on_follow, inputs=[self.studio.project, self.visit], outputs=outputs)

    def _stream(self, trigger: Any, work: Any, *, inputs: list[Any], outputs: list[Any]) -> None:
        note, t = self.layout.note, self.studio.t

        def handler(*values: Any) -> Iterator[Changes]:
            try:
                yield from work(*values)
            except LepError as error:
                yield {note: gr.update(value=explain(error, t), visible=True)}
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - the boundary of the interface
                yield {note: gr.update(value=unexpected(error, t), visible=True)}

        trigger(
            handler,
            inputs=inputs,
            outputs=outputs,
            concurrency_limit=LIGHT_HANDLERS,
            concurrency_id="chat",
            show_progress="hidden",
            show_progress_on=[],
            api_visibility="private",
            trigger_mode="once",
        )

    def refresh(self, project: Project) -> Changes:
        """What the project offers; `on_offer` brings it together with what this browser shows."""
        t = self.studio.t
        choices = models(project, t)
        results = [value for _, value in propagated(project, t)]
        control = [value for _, value in propagated(project, t, control=True)]
        wished = [project.instruct, *results, *control, *(value for _, value in choices)]
        offer = {
            "project": project.id,
            "choices": [list(choice) for choice in choices],
            "picked": list(dict.fromkeys(item for item in wished if item)),
            "results": len(results),
            "question": first_question(project),
        }
        return {self.offer: offer}

    def on_offer(self, offer: dict[str, Any], saved: dict[str, str] | None, visit: Visit, mode: str) -> Changes:
        """New models or another project: choices for all, values only where nothing would be lost."""
        if not offer:
            return {}
        page, project = self.layout, self.studio.open_project(offer["project"])
        choices, picked = [tuple(choice) for choice in offer["choices"]], offer["picked"] or [None]
        entering = visit.project != project.id
        if entering:
            kept = (saved or {}).get(project.id)
            visit.project, visit.mode, visit.replacing, visit.touched = project.id, mode, False, False
            visit.chat = kept if ChatStore(project.path).has(kept) else None
        changes: Changes = {item: gr.update(choices=choices) for item in (page.competitors, *page.models)}
        visit.adapted = bool(offer["results"])
        if entering or (visit.chat is None and not visit.touched):
            for number, model in enumerate(page.models):
                changes[model] = gr.update(choices=choices, value=picked[number] if number < len(picked) else picked[0])
            changes[page.competitors] = gr.update(choices=choices, value=[item for item in picked[:2] if item])
        if visit.chat is None:
            changes[page.intro] = gr.update(value=self._intro(visit), visible=True)
        if not entering:
            return changes
        if visit.chat is not None:
            return merged(changes, self._shown(project, visit))
        return {
            **changes,
            **page.draw(None, intro=self._intro(visit)),
            page.pick: page.chats(project, None),
            page.prompt: offer["question"],
        }

    def on_send(self, text: str, project_id: str, visit: Visit, saved: Any, mode: str, count: int, rivals: list[str], *rest: Any) -> Any:
        """Ask the chosen models and show what comes."""
        project = self._project(project_id, visit)
        picked = _named(rivals if mode == BLIND else rest[: int(count)])
        values = self._settings(picked, text, rest[PANES:])
        chat = ChatStore(project.path).read(visit.chat) if visit.chat else None
        replaces = chat.exchanges[-1].id if visit.replacing and chat and chat.exchanges else ""
        question = self._question(project, text, picked, values, blind=mode == BLIND, replaces=replaces)
        sending = self.running.send(project, visit.chat, question)
        visit.mode = mode
        yield from self._sent(project, visit, saved, sending, {self.layout.prompt: ""})

    def on_again(self, text: str, project_id: str, visit: Visit, saved: Any, mode: str, count: int, rivals: list[str], *rest: Any) -> Any:
        """Ask the last message again with the present models and settings; a seed that was used already is counted up."""
        project = self._project(project_id, visit)
        last = ChatStore(project.path).read(visit.chat or "").exchanges[-1]
        before = [answer.model for answer in last.answers]
        picked = before if last.blind else _named(rest[: int(count)])
        values = self._settings(picked, last.prompt, rest[PANES:])
        changes: Changes = {}
        said = ""
        present = {**values, "system": values["system"] or ""}
        same = {**last.settings, "system": last.system, "plain": last.plain} == present and picked == before
        if same and last.ended and values["temperature"] > 0:
            values["seed"] += 1
            changes[self.layout.form.components["seed"]] = values["seed"]
            said = self.studio.t("chat.next_seed", seed=values["seed"])
        question = self._question(project, last.prompt, picked, values, blind=last.blind, replaces=last.id)
        yield from self._sent(project, visit, saved, self.running.send(project, visit.chat, question), changes, said)

    def on_follow(self, project_id: str | None, visit: Visit) -> Iterator[Changes]:
        """The answers of an opened chat that are still coming."""
        # Gradio empties the outputs of a generator that yields nothing.
        yield {self.layout.note: gr.skip()}
        if project_id and visit.project == project_id and visit.chat is not None:
            project = self.studio.open_project(project_id)
            sending = self.running.running(project, visit.chat)
            if sending is not None:
                yield from self._frames(project, visit, sending)
            else:
                # They may have come to their end since the chat was drawn.
                yield self._now(project, visit)

    def on_stop(self, project_id: str, visit: Visit) -> Changes:
        """End the answers of this browser's chat."""
        sending = self.running.running(self._project(project_id, visit), visit.chat)
        if sending is not None:
            sending.stop()
        return {}

    def on_edit(self, project_id: str, visit: Visit) -> Changes:
        """Bring the last message back into the input; the next one that is sent takes its place."""
        chat = ChatStore(self._project(project_id, visit).path).read(visit.chat or "")
        visit.replacing = True
        said = gr.update(value=self.studio.t("chat.editing"), visible=True)
        return {self.layout.prompt: chat.exchanges[-1].prompt, self.layout.note: said}

    def on_new(self, project_id: str, visit: Visit, saved: dict[str, str] | None) -> Changes:
        """Empty panes; the chat that was shown stays among the past ones."""
        page, project = self.layout, self._project(project_id, visit)
        visit.chat, visit.replacing = None, False
        kept = {key: value for key, value in (saved or {}).items() if key != project.id}
        return {**page.draw(None, intro=self._intro(visit)), page.pick: page.chats(project, None), self.saved: kept}

    def open(self, project_id: str, visit: Visit, saved: dict[str, str] | None, chat_id: str | None) -> Changes:
        """Show a chat with its models and settings, ready to go on."""
        if not chat_id or chat_id == NEW:
            return self.on_new(project_id, visit, saved)
        project = self._project(project_id, visit)
        ChatStore(project.path).read(chat_id)
        visit.chat, visit.replacing = chat_id, False
        return {**self._shown(project, visit), self.saved: {**(saved or {}), project.id: chat_id}}

    def on_mode(self, project_id: str, visit: Visit, saved: Any, mode: str, count: int, rivals: list[str]) -> Changes:
        """The other mode begins a new chat: what was said under names does not belong into a blind vote."""
        page = self.layout
        visit.mode = mode
        changes = self.on_new(project_id, visit, saved) if visit.chat else page.draw(None, intro=self._intro(visit))
        return {**changes, **page.arrange(mode, count, rivals), **page.bar(mode, count, rivals)}

    def _intro(self, visit: Visit) -> str:
        text = self.studio.t("chat.intro_blind" if visit.mode == BLIND else "chat.intro")
        return text if visit.adapted else f"{text}  \n{self.studio.t('chat.intro_no_result')}"

    def _voting(self, choice: str) -> Any:
        def vote(project_id: str, visit: Visit) -> Changes:
            project = self._project(project_id, visit)
            return self.layout.draw(ChatStore(project.path).vote(visit.chat or "", choice), intro=self._intro(visit))

        return vote

    def _project(self, project_id: str | None, visit: Visit) -> Project:
        project = self.studio.open_project(project_id)
        if visit.project != project.id:
            visit.project, visit.chat, visit.replacing = project.id, None, False
        return project

    def _settings(self, picked: list[str], text: str, entered: Any) -> dict[str, Any]:
        """Checked as on the command line."""
        values = self.layout.form.values(entered)
        config = GenerateConfig(model=tuple(picked), prompt=text, **values)
        return {name: getattr(config, name) for name in values}

    def _question(self, project: Project, text: str, picked: list[str], values: dict[str, Any], *, blind: bool, replaces: str) -> Question:
        choices = models(project, self.studio.t)
        labels = [label_of(model, choices) for model in picked]
        named = [(model, short(model) if label == model else label) for model, label in zip(picked, labels, strict=True)]
        settings = {name: value for name, value in values.items() if name not in ("system", "plain")}
        system, plain = values["system"] or "", bool(values["plain"])
        return Question(prompt=text, models=named, settings=settings, system=system, plain=plain, blind=blind, replaces=replaces)

    def _sent(self, project: Project, visit: Visit, saved: Any, sending: Sending, changes: Changes, said: str = "") -> Iterator[Changes]:
        visit.chat, visit.replacing = sending.chat_id, False
        yield {
            self.layout.note: gr.update(value=said, visible=bool(said)),
            self.saved: {**(saved or {}), project.id: sending.chat_id},
            self.layout.pick: self.layout.chats(project, sending.chat_id),
            **changes,
        }
        yield from self._frames(project, visit, sending)

    def _frames(self, project: Project, visit: Visit, sending: Sending) -> Iterator[Changes]:
        """What is new, about twelve times a second; the last word belongs to the chat that the browser shows by then."""
        slow = {pane.tokens for pane in self.layout.panes}
        before: Changes = {}
        for number, chat in enumerate(sending.changes()):
            if (visit.project, visit.chat) != (project.id, sending.chat_id):
                break
            running = not chat.exchanges[-1].ended
            now = self.layout.draw(chat, intro=self._intro(visit), running=running)
            fresh = {key: value for key, value in now.items() if before.get(key) != value}
            if running and number % TOKENS_EVERY:
                fresh = {key: value for key, value in fresh.items() if key not in slow}
            before |= fresh
            if fresh:
                yield fresh
        if sending.problem is not None and visit.chat == sending.chat_id:
            yield {self.layout.note: gr.update(value=explain(sending.problem, self.studio.t), visible=True)}
        else:
            shown = self.studio.open_project(visit.project)
            yield {**self._now(shown, visit), self.layout.pick: self.layout.chats(shown, visit.chat)}

    def _now(self, project: Project, visit: Visit) -> Changes:
        """The chat that the browser shows, as it is now."""
        store = ChatStore(project.path)
        sending = self.running.running(project, visit.chat)
        if sending is not None:
            return self.layout.draw(sending.chat(), intro=self._intro(visit), running=True)
        chat = store.read(visit.chat) if visit.chat and store.has(visit.chat) else None
        return self.layout.draw(chat, intro=self._intro(visit))

    def _shown(self, project: Project, visit: Visit) -> Changes:
        """A chat with the models and settings of its last message."""
        chat = ChatStore(project.path).read(visit.chat or "")
        last = chat.exchanges[-1] if chat.exchanges else None
        visit.mode = BLIND if last is not None and last.blind else SIDE
        changes = {**self._now(project, visit), self.layout.pick: self.layout.chats(project, visit.chat)}
        return changes if last is None else changes | self.layout.as_in(last)


def first_question(project: Project) -> str:
    """A question of the project's own in the language that was learned, so that the demo can be tried at once."""
    for path in suggested(project, "item_files"):
        with open(path, encoding="utf-8") as stream:
            items = (json.loads(line) for line in stream if line.strip())
            return next((str(item["prompt"]) for item in items if item.get("language") == project.language), "")
    return ""


def _named(chosen: Any) -> list[str]:
    return [model for model in chosen or [] if isinstance(model, str) and model]


def _touch(visit: Visit) -> Changes:
    """The models were chosen by hand: new results must not change them."""
    visit.touched = True
    return {}
