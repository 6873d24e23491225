"""Calibrate: not there yet. The tab says so, and what it will do."""

from __future__ import annotations

import gradio as gr

from ui.studio import Studio, TabParts


def build(studio: Studio) -> TabParts:
    """The calibrate tab."""
    gr.Markdown(f"### {studio.t('calibrate.title')}\n{studio.t('calibrate.text')}", elem_id="calibrate-text", elem_classes=["card"])
    return TabParts([], lambda project: {})
