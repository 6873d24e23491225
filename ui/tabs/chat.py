"""Chat: one prompt, up to four models answering at the same time, each from a process of its own.

A pane cannot answer with another pane's model: it shows the folder and the fingerprint that its own process read. Speed is given
in characters per second, which compares vocabularies fairly. Answers are shown as plain text.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from lep_core.config import GenerateConfig
from lep_core.errors import ConfigError, LepError
from lep_core.inference.client import WorkerClient
from lep_core.runs.workspace import Project
from ui.i18n import Translator
from ui.material import first, models, propagated, suggested
from ui.messages import LIGHT_HANDLERS, action, escape, explain, note_area, unexpected, view
from ui.studio import Studio, TabParts
from ui.tokens import COLOUR_MAP, coloured

PANES = 4
FRAME_SECONDS = 0.08
MOST_WORKERS = 6
LONGEST_CHAT = 40


class WorkerPool:
    """The model processes of this app, by model; the one that was used longest ago gives way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[str, WorkerClient] = {}
        self._used: dict[str, float] = {}

    def client(self, model: str) -> WorkerClient:
        """The process for a model; it is started when it is first asked."""
        with self._lock:
            self._used[model] = time.monotonic()
            if model not in self._clients:
                idle = sorted((name for name, one in self._clients.items() if one.state != "busy"), key=lambda name: self._used[name])
                if len(self._clients) >= MOST_WORKERS and idle:
                    self._clients.pop(idle[0]).close()
                self._clients[model] = WorkerClient(model)
            return self._clients[model]

    def stop(self, wanted: list[str]) -> None:
        """Stop what these models are writing."""
        with self._lock:
            clients = [self._clients[name] for name in wanted if name in self._clients]
        for one in clients:
            one.stop()

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for one in clients:
            one.close()


_POOLS: dict[int, WorkerPool] = {}


def _pool(studio: Studio) -> WorkerPool:
    """One pool for all languages of a backend."""
    key = id(studio.backend)
    if key not in _POOLS:
        _POOLS[key] = WorkerPool()
        studio.backend.closers.append(_POOLS[key].close)
    return _POOLS[key]


@dataclass
class _Answer:
    """What one pane is receiving."""

    model: str
    history: list[dict[str, str]]
    text: str = ""
    pieces: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    done: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    changed: bool = True

    def take(self, event: dict[str, Any]) -> None:
        self.changed = True
        if event["event"] == "delta":
            self.text += event.get("text", "")
            self.pieces += event.get("pieces") or []
            self.ids += event.get("token_ids") or []
        elif event["event"] == "done":
            self.done = event
        elif event["event"] == "error":
            self.error = event

    @property
    def ended(self) -> bool:
        return self.done is not None or self.error is not None

    def messages(self, t: Translator) -> list[dict[str, str]]:
        shown = self.text
        if self.error is not None:
            shown += f"\n⚠ {self.error['message']}. {self.error['hint']}."
        return [*self.history, {"role": "assistant", "content": shown or ("…" if not self.ended else t("chat.empty_answer"))}]


@dataclass
class _Pane:
    """The components of one pane."""

    column: gr.Column
    model: gr.Dropdown
    chat: gr.Chatbot
    facts: gr.Markdown
    tokens: gr.HighlightedText


def build(studio: Studio) -> TabParts:
    """The chat tab."""
    t, pool = studio.t, _pool(studio)
    with gr.Row(equal_height=True):
        prompt = gr.Textbox(label=t("chat.prompt"), placeholder=t("chat.placeholder"), lines=2, max_lines=6, elem_id="chat-prompt", scale=6)
        with gr.Column(scale=2, min_width=220):
            send = gr.Button(t("chat.send"), variant="primary", elem_id="chat-send", size="md")
            with gr.Row():
                stop = gr.Button(t("chat.stop"), variant="stop", elem_id="chat-stop", size="md", min_width=80)
                clear = gr.Button(t("chat.clear"), elem_id="chat-clear", size="md", min_width=80)
    note = note_area("chat-note")
    count = gr.Radio([1, 2, 3, 4], value=2, label=t("chat.panes"), elem_id="chat-panes", container=False)
    with gr.Row(elem_classes=["panes"]):
        panes = [_pane(studio, number) for number in range(PANES)]
    with gr.Accordion(t("chat.settings"), open=False):
        with gr.Row():
            settings = [_setting(name, t) for name in ("max_new_tokens", "temperature", "top_p", "seed")]
        plain = gr.Checkbox(False, label=t.field_label("plain"), info=t.field_info(GenerateConfig, "plain"), elem_id="chat-plain")
    histories = gr.State([[] for _ in range(PANES)])

    def refresh(project: Project) -> dict[Any, Any]:
        choices = models(project, t)
        results = [value for _, value in propagated(project, t)]
        control = [value for _, value in propagated(project, t, control=True)]
        wished = [project.instruct, *results, *control, *(value for _, value in choices)]
        picked = list(dict.fromkeys(item for item in wished if item))
        changes: dict[Any, Any] = {}
        for number, pane in enumerate(panes):
            value = picked[number] if number < len(picked) else first(choices)
            changes[pane.model] = gr.update(choices=choices, value=value)
        question = _first_question(project)
        return {**changes, prompt: question} if question else changes

    pane_outputs = [item for pane in panes for item in (pane.chat, pane.facts, pane.tokens)]

    def on_send(text: str, shown: int, plainly: bool, old: list[list[dict[str, str]]], *rest: Any) -> Iterator[dict[Any, Any]]:
        try:
            chosen = [model for model in rest[: int(shown)] if isinstance(model, str) and model]
            values = dict(zip(("max_new_tokens", "temperature", "top_p", "seed"), rest[PANES:], strict=True))
            # Checked here as on the command line; the worker gets plain values.
            config = GenerateConfig(
                model=tuple(chosen), prompt=text, **{name: value for name, value in values.items() if value is not None}
            )
            if not text.strip():
                raise ConfigError("prompt", t("error.empty_field"), t("error.type_prompt"))
            checked = {name: getattr(config, name) for name in values}
            yield from _answers(text, chosen, plainly, [list(item) for item in old], checked, panes, histories, note, pool, t)
        except LepError as error:
            yield {note: gr.update(value=explain(error, t), visible=True)}
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - the boundary of the interface
            yield {note: gr.update(value=unexpected(error, t), visible=True)}

    def on_stop(*chosen: str | None) -> dict[Any, Any]:
        pool.stop([model for model in chosen if model])
        return {}

    def on_clear() -> dict[Any, Any]:
        changes: dict[Any, Any] = {histories: [[] for _ in range(PANES)]}
        for pane in panes:
            changes |= {pane.chat: [], pane.facts: "", pane.tokens: []}
        return changes

    def on_count(shown: int) -> dict[Any, Any]:
        return {pane.column: gr.update(visible=number < int(shown)) for number, pane in enumerate(panes)}

    inputs = [prompt, count, plain, histories, *(pane.model for pane in panes), *settings]
    for trigger in (send.click, prompt.submit):
        trigger(
            on_send,
            inputs=inputs,
            outputs=[note, histories, *pane_outputs],
            concurrency_limit=LIGHT_HANDLERS,
            concurrency_id="chat",
            show_progress="hidden",
            api_visibility="private",
            trigger_mode="once",
        )
    action(stop.click, on_stop, inputs=[pane.model for pane in panes], outputs=[], note=note, t=t, queue=False, show_progress="hidden")
    action(clear.click, on_clear, inputs=[], outputs=[histories, *pane_outputs], note=note, t=t, show_progress="hidden")
    view(count.change, on_count, inputs=[count], outputs=[pane.column for pane in panes], t=t)
    return TabParts([*(pane.model for pane in panes), prompt], refresh)


def _first_question(project: Project) -> str:
    """A question of the project's own in the language that was learned, so that the demo can be tried at once."""
    for path in suggested(project, "item_files"):
        with open(path, encoding="utf-8") as stream:
            items = (json.loads(line) for line in stream if line.strip())
            return next((str(item["prompt"]) for item in items if item.get("language") == project.language), "")
    return ""


def _pane(studio: Studio, number: int) -> _Pane:
    t = studio.t
    with gr.Column(min_width=220, visible=number < 2, elem_id=f"pane-{number + 1}") as column:
        model = gr.Dropdown(
            choices=[],
            label=t("chat.model", number=number + 1),
            elem_id=f"chat-model-{number + 1}",
            interactive=True,
            allow_custom_value=True,
        )
        chat = gr.Chatbot(
            [],
            show_label=False,
            height=260,
            render_markdown=False,
            buttons=["copy"],
            feedback_options=None,
            elem_id=f"chat-answer-{number + 1}",
            placeholder=t("chat.nothing_yet"),
        )
        facts = gr.Markdown("", elem_id=f"chat-facts-{number + 1}", elem_classes=["facts"])
        with gr.Accordion(t("chat.tokens"), open=True):
            tokens = gr.HighlightedText(
                [],
                color_map=COLOUR_MAP,
                show_inline_category=False,
                show_legend=False,
                show_label=False,
                elem_id=f"chat-tokens-{number + 1}",
                elem_classes=["tokens"],
            )
    return _Pane(column, model, chat, facts, tokens)


def _setting(name: str, t: Translator) -> gr.Number:
    default: Any = GenerateConfig.__dataclass_fields__[name].default
    whole = 0 if isinstance(default, int) else None
    return gr.Number(
        default,
        label=t.field_label(name),
        info=t.field_info(GenerateConfig, name),
        precision=whole,
        elem_id=f"chat-{name.replace('_', '-')}",
        min_width=140,
    )


def _answers(
    text: str,
    chosen: list[str],
    plainly: bool,
    old: list[list[dict[str, str]]],
    settings: dict[str, Any],
    panes: list[_Pane],
    histories: gr.State,
    note: gr.Markdown,
    pool: WorkerPool,
    t: Translator,
) -> Iterator[dict[Any, Any]]:
    """Ask all chosen models at the same time and yield what is new, about twelve times a second."""
    answers = [_Answer(model, [*old[number][-LONGEST_CHAT:], {"role": "user", "content": text}]) for number, model in enumerate(chosen)]
    events: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
    stopped = threading.Event()
    for number, answer in enumerate(answers):
        threading.Thread(
            target=_ask, args=(pool.client(answer.model), number, answer.history, plainly, settings, events, stopped), daemon=True
        ).start()
    yield {note: gr.update(value="", visible=False), **_frame(answers, panes, pool, t)}
    try:
        while not all(answer.ended for answer in answers):
            _take_events(events, answers)
            changes = _frame(answers, panes, pool, t)
            if changes:
                yield changes
    finally:
        stopped.set()
    kept = [answers[number].messages(t) if number < len(answers) else item for number, item in enumerate(old)]
    yield {histories: kept, **_frame(answers, panes, pool, t)}


def _ask(
    client: WorkerClient,
    number: int,
    history: list[dict[str, str]],
    plainly: bool,
    settings: dict[str, Any],
    events: queue.Queue[tuple[int, dict[str, Any]]],
    stopped: threading.Event,
) -> None:
    """Body of one pane's thread: hand its worker's events over."""
    loaded = client.wait_until_loaded()
    if loaded["event"] == "error":
        events.put((number, loaded))
        return
    question: dict[str, Any] = {"messages": history} if loaded.get("is_chat") and not plainly else {"prompt": history[-1]["content"]}
    for event in client.generate(**question, settings=settings):
        events.put((number, event))
        if stopped.is_set():
            return


def _take_events(events: queue.Queue[tuple[int, dict[str, Any]]], answers: list[_Answer]) -> None:
    """All events of the next short while."""
    until = time.monotonic() + FRAME_SECONDS
    while (left := until - time.monotonic()) > 0:
        try:
            number, event = events.get(timeout=left)
        except queue.Empty:
            return
        answers[number].take(event)


def _frame(answers: list[_Answer], panes: list[_Pane], pool: WorkerPool, t: Translator) -> dict[Any, Any]:
    changes: dict[Any, Any] = {}
    for pane, answer in zip(panes, answers, strict=False):
        if answer.changed:
            answer.changed = False
            changes |= {pane.chat: answer.messages(t), pane.facts: _facts(answer, pool, t), pane.tokens: coloured(answer.pieces)}
    return changes


def _facts(answer: _Answer, pool: WorkerPool, t: Translator) -> str:
    """Who answers (folder and fingerprint read by the pane's own process), and how fast."""
    loaded = pool.client(answer.model).loaded or {}
    lines = [f"`{str(loaded.get('fingerprint', ''))[:12]}` {escape(loaded.get('path', answer.model))}" if loaded else t("chat.loading")]
    done = answer.done
    if done is not None:
        lines.append(
            t(
                "chat.numbers",
                tokens=t.number(done.get("new_tokens", len(answer.ids))),
                characters=t.number(done.get("characters", len(answer.text))),
                speed=t.number(round(done.get("characters_per_second") or 0)),
                first=t.number((done.get("time_to_first_token_seconds") or 0) * 1000, 0),
            )
        )
        if not loaded.get("is_chat", True):
            lines.append(t("chat.plain_model"))
    elif answer.ids:
        lines.append(t("chat.tokens_so_far", tokens=t.number(len(answer.ids))))
    return "  \n".join(lines)
