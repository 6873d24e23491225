"""The words of a tab, explained where they are used: folded away at its foot."""

from __future__ import annotations

import gradio as gr

from ui.i18n import LANGUAGES, Translator
from ui.messages import escape
from ui.texts.glossary import GLOSSARY


def build(t: Translator, tab: str) -> None:
    """The fold with the words of one tab."""
    with gr.Accordion(t("glossary.title"), open=False, elem_id=f"{tab}-glossary"):
        gr.Markdown(text(t, tab), elem_classes=["glossary"])


def text(t: Translator, tab: str) -> str:
    """Markdown: a line for each word, with its formula and its source."""
    column = LANGUAGES.index(t.language)
    lines = []
    for term in GLOSSARY[tab]:
        formula = f" `{term.formula}`" if term.formula else ""
        source = f" *({escape(term.source)})*" if term.source else ""
        lines.append(f"- **{escape(term.name[column])}** – {escape(term.meaning[column])}{formula}{source}")
    return "\n".join(lines)
