"""The panes of the chat tab: what one model answered, who it is by its own account, how fast, and its tokens.

What a pane shows is a function of the chat alone. In an open blind round that is the text of the answers and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lep_core.runs.chats import LETTERS, Chat, ChatAnswer
from ui.i18n import Translator
from ui.messages import core_words, escape
from ui.tokens import COLOUR_MAP, coloured

HEIGHT = "clamp(230px, 36vh, 560px)"
STOP_NOTES = ("length", "context", "stopped")


@dataclass
class Pane:
    """The components of one pane."""

    number: int
    column: gr.Column
    title: gr.Markdown
    model: gr.Dropdown
    chat: gr.Chatbot
    facts: gr.Markdown
    fold: gr.Accordion
    tokens: gr.HighlightedText

    @property
    def drawn(self) -> list[Any]:
        """What `draw` may change."""
        return [self.title, self.chat, self.facts, self.fold, self.tokens]

    def draw(self, chat: Chat | None, t: Translator, *, running: bool) -> dict[Any, Any]:
        """The pane's part of the newest round."""
        hidden = gr.update(value="", visible=False)
        items = chat.of_round(chat.round) if chat is not None else []
        answers = [item.answers[self.number] if self.number < len(item.answers) else None for item in items]
        newest = answers[-1] if answers else None
        if chat is None or newest is None:
            fold = gr.update(visible=False)
            return {self.title: hidden, self.chat: [], self.facts: gr.update(value="", visible=False), self.fold: fold, self.tokens: []}
        blind = chat.names_hidden(chat.round)
        messages: list[dict[str, str]] = []
        for item, answer in zip(items, answers, strict=True):
            going_on = running and item is items[-1]
            shown = _shown(answer, t, running=going_on, blind=blind, wait=not item.ended)
            messages += [{"role": "user", "content": _text(item.prompt)}, {"role": "assistant", "content": _text(shown)}]
        title = gr.update(value=_title(newest, self.number, t, blind=blind), visible=True) if items[-1].blind else hidden
        pieces = [] if blind else coloured(newest.pieces)
        return {
            self.title: title,
            self.chat: messages,
            self.facts: gr.update(value="" if blind else facts(chat, self.number, t, running=running), visible=not blind),
            self.fold: gr.update(visible=bool(pieces)),
            self.tokens: pieces,
        }


def build_pane(number: int, t: Translator) -> Pane:
    """One pane; the first two are visible at first."""
    with gr.Column(min_width=220, visible=number < 2, elem_id=f"pane-{number + 1}") as column:
        title = gr.Markdown("", visible=False, elem_id=f"chat-title-{number + 1}", elem_classes=["pane-title"])
        model = gr.Dropdown(
            choices=[],
            label=t("chat.model", number=number + 1),
            elem_id=f"chat-model-{number + 1}",
            interactive=True,
            allow_custom_value=True,
            container=False,
            show_label=False,
        )
        chat = gr.Chatbot(
            [],
            show_label=False,
            height=HEIGHT,
            render_markdown=False,
            # Its copy button would copy what `_text` makes of the text; selecting copies the text itself.
            buttons=[],
            latex_delimiters=[],
            feedback_options=None,
            elem_id=f"chat-answer-{number + 1}",
            placeholder=t("chat.nothing_yet"),
        )
        facts_shown = gr.Markdown("", visible=False, elem_id=f"chat-facts-{number + 1}", elem_classes=["facts"])
        with gr.Accordion(t("chat.tokens"), open=True, visible=False) as fold:
            tokens = gr.HighlightedText(
                [],
                color_map=COLOUR_MAP,
                show_inline_category=False,
                show_legend=False,
                show_label=False,
                elem_id=f"chat-tokens-{number + 1}",
                elem_classes=["tokens"],
            )
    return Pane(number, column, title, model, chat, facts_shown, fold, tokens)


def facts(chat: Chat, seat: int, t: Translator, *, running: bool) -> str:
    """Markdown: who answers (fingerprint and folder as the model's own process read them), how fast, and what is special."""
    exchange = chat.exchanges[-1]
    answer = exchange.answers[seat]
    if not answer.fingerprint:
        return escape(answer.model) if answer.error or not running else f"{t('chat.loading')}  \n{escape(answer.name)}"
    lines = [f"`{answer.fingerprint}` {escape(answer.path or answer.model)}"]
    if answer.stop_reason:
        numbers = {
            "tokens": t.number(answer.tokens),
            "characters": t.number(len(answer.text)),
            "speed": t.number(round(answer.characters_per_second)),
            "first": t.number(answer.time_to_first_token_seconds * 1000, 0),
        }
        lines.append(t("chat.numbers", **numbers))
    elif answer.tokens:
        lines.append(t("chat.tokens_so_far", tokens=t.number(answer.tokens)))
    if notes := _notes(chat, seat, t):
        lines.append(" · ".join(notes))
    return "  \n".join(lines)


def _notes(chat: Chat, seat: int, t: Translator) -> list[str]:
    exchange = chat.exchanges[-1]
    answer = exchange.answers[seat]
    others = [number for number, other in enumerate(exchange.answers) if number != seat and answer.body and other.body == answer.body]
    notes = []
    if answer.stop_reason in STOP_NOTES:
        notes.append(f"⚠ {t(f'chat.stopped_{answer.stop_reason}')}")
    if answer.without_template:
        notes.append(t("chat.plain_asked" if exchange.plain else "chat.plain_model"))
    if answer.without_adapter:
        notes.append(t("chat.without_adapter"))
    if others:
        names = ", ".join(LETTERS[number] if exchange.blind else str(number + 1) for number in others)
        notes.append(t("chat.shared_body", panes=names))
    earlier = [item.answers[seat] for item in chat.of_round(chat.round)[:-1] if seat < len(item.answers)]
    names = dict.fromkeys(one.name or one.model for one in earlier if one.model != answer.model)
    if names:
        notes.append(t("chat.earlier_model", name=escape(", ".join(names))))
    return notes


def _title(answer: ChatAnswer, number: int, t: Translator, *, blind: bool) -> str:
    letter = LETTERS[number]
    return f"### {letter}" if blind else f"### {letter} = {escape(answer.name or answer.model)}"


def _text(text: str) -> str:
    """Text that the chat shows as it is: without Markdown it still reads HTML, and swallows tags that it does not know (`</s>`)."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _shown(answer: ChatAnswer | None, t: Translator, *, running: bool, blind: bool, wait: bool) -> str:
    """The text of an answer as it stands in the pane; blind answers appear when all are written."""
    if answer is None:
        return "–"
    if blind and wait:
        return "…" if running else t("chat.not_finished")
    if answer.error:
        return f"{answer.text}\n⚠ {core_words(answer.error, t)}".strip()
    if answer.ended:
        return answer.text or t("chat.empty_answer")
    return answer.text or ("…" if running else t("chat.not_finished"))
