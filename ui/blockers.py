"""Buttons that say what they wait for: the label names what is missing, and pressing them is possible once it is there."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.i18n import Translator


def button(label: str, need: str | None, t: Translator, *, visible: bool = True) -> dict[str, Any]:
    """An update: the plain label, or with the text called `need` behind it while that is missing."""
    text = label if need is None else t("blocked", button=label, need=t(need))
    return gr.update(value=text, interactive=need is None, visible=visible)
