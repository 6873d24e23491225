"""The tour: the nine steps with what is done and what comes next, each one click away. Open until somebody closes it in this browser."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lep_core.runs.workspace import Project
from ui.messages import view
from ui.studio import TABS, Studio, TabParts
from ui.tour_steps import DONE, NEXT, marks

COLUMNS = 3


def build(studio: Studio) -> TabParts:
    """The panel at the top of the first tab."""
    t = studio.t
    saved = gr.BrowserState({}, storage_key="lep-studio-tour", secret="not-secret")  # noqa: S106 - whether the tour was closed
    # Not a State: its changes by unqueued events reach no listener.
    found = gr.JSON({}, visible="hidden", elem_id="tour-found")
    buttons: dict[str, gr.Button] = {}
    with gr.Accordion(t("tour.title"), open=False, elem_id="tour") as panel:
        gr.Markdown(t("tour.intro"))
        for start in range(0, len(TABS), COLUMNS):
            with gr.Row(elem_classes=["tour-row"]):
                for name in TABS[start : start + COLUMNS]:
                    with gr.Column(min_width=180):
                        buttons[name] = gr.Button(t(f"tab.{name}"), size="sm", elem_id=f"tour-{name}")
                        gr.Markdown(t(f"tour.{name}"), elem_classes=["tour-text"])
        hide = gr.Button(t("tour.hide"), size="sm", elem_id="tour-hide", scale=0, min_width=160)

    def refresh(project: Project) -> dict[Any, Any]:
        return {found: marks(project)}

    def draw(marked: dict[str, str], closed: dict[str, bool] | None) -> dict[Any, Any]:
        if not marked:
            return {}
        done = sum(mark == DONE for mark in marked.values())
        changes: dict[Any, Any] = {
            button: gr.update(value=f"{marked[name]} {t(f'tab.{name}')}", variant="primary" if marked[name] == NEXT else "secondary")
            for name, button in buttons.items()
        }
        title = gr.update(label=t("tour.title_done", done=done))
        # Only told to be open: what a person has opened or closed on this page since stays so.
        return {**changes, panel: title if (closed or {}).get("closed") else title | {"open": True}}

    def remember(closed: bool) -> dict[Any, Any]:
        return {saved: {"closed": closed}}

    view(found.change, draw, inputs=[found, saved], outputs=[panel, *buttons.values()], t=t)
    view(panel.collapse, lambda: remember(True), inputs=[], outputs=[saved], t=t)
    view(panel.expand, lambda: remember(False), inputs=[], outputs=[saved], t=t)
    view(hide.click, lambda: {panel: gr.update(open=False), **remember(True)}, inputs=[], outputs=[panel, saved], t=t)
    for name, button in buttons.items():
        view(button.click, lambda name=name: {studio.tabs: gr.update(selected=name)}, inputs=[], outputs=[studio.tabs], t=t)
    return TabParts([found], refresh)
