"""All stages as one job: text in, adapted and measured instruct models out. A stopped or failed one goes on at the stage it had reached."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lep_core.config import METHODS, AdaptConfig
from lep_core.errors import ConfigError
from lep_core.runs.workspace import Project
from ui.form import multi_choice
from ui.material import suggested, texts
from ui.messages import action, note_area
from ui.studio import Studio, TabParts

USUAL_METHODS = METHODS[:3]


def build(studio: Studio) -> TabParts:
    """The folded part of the project tab that starts everything at once."""
    t = studio.t
    with gr.Accordion(t("path.title"), open=False, elem_id="whole-path"):
        gr.Markdown(t("path.intro"))
        with gr.Row():
            text = multi_choice(t.field_label("input"), elem_id="path-input", info=t("path.text_info"))
            old_text = multi_choice(t.field_label("replay"), elem_id="path-replay", info=t.field_info(AdaptConfig, "replay"))
        with gr.Row():
            methods = gr.Dropdown(
                list(METHODS), value=list(USUAL_METHODS), multiselect=True, label=t.field_label("method"), elem_id="path-method"
            )
            items = multi_choice(t.field_label("items"), elem_id="path-items", info=t.field_info(AdaptConfig, "items"))
        with gr.Row(equal_height=True):
            new_tokens = gr.Number(None, label=t.field_label("new_tokens"), precision=0, elem_id="path-new-tokens", minimum=1)
            steps = gr.Number(
                None, label=t.field_label("steps"), info=t.field_info(AdaptConfig, "steps"), precision=0, elem_id="path-steps"
            )
            calibrate = gr.Checkbox(
                False, label=t.field_label("calibrate"), info=t.field_info(AdaptConfig, "calibrate"), elem_id="path-calibrate"
            )
        start = gr.Button(t("path.start"), variant="primary", elem_id="path-start", scale=0, min_width=240)
        note = note_area("path-note")

    def refresh(project: Project) -> dict[Any, Any]:
        choices, defaults = texts(project, t), project.settings.get("defaults", {})
        known = [value for _, value in choices]
        old, new = suggested(project, "replay_files"), suggested(project, "corpus_files")
        return {
            text: gr.update(choices=choices, value=new or [value for value in known if value not in old][:1]),
            old_text: gr.update(choices=choices, value=old),
            items: gr.update(choices=suggested(project, "item_files"), value=suggested(project, "item_files")),
            new_tokens: gr.update(value=defaults.get("new_tokens", 16_000)),
            steps: gr.update(value=defaults.get("steps")),
        }

    def on_start(
        project_id: str, chosen: Any, old: Any, wished: Any, tasks: Any, tokens: Any, number: Any, calibrated: bool
    ) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        if not project.base or not project.instruct:
            raise ConfigError("base", t("error.no_model"), t("error.give_model"))
        recipe = project.settings.get("calibrate", {}) if calibrated else {}
        values = {
            **{name: value for name, value in project.settings.get("defaults", {}).items() if name in AdaptConfig.__dataclass_fields__},
            "base": project.base,
            "instruct": project.instruct,
            "input": list(chosen or []),
            "replay": list(old or []),
            "items": list(tasks or []),
            "method": [method for method in METHODS if method in (wished or [])],
            "new_tokens": tokens,
            "steps": number,
            "calibrate": bool(calibrated),
            "prompt_file": suggested(project, "prompt_files") if calibrated else [],
            **{name: recipe[key] for name, key in CALIBRATION.items() if key in recipe},
        }
        studio.start(project, "adapt", values)
        return {}

    inputs = [studio.project, text, old_text, methods, items, new_tokens, steps, calibrate]
    action(start.click, on_start, inputs=inputs, outputs=[], note=note, t=t)
    return TabParts([text, old_text, items, new_tokens, steps], refresh)


CALIBRATION = {"calibration_preset": "preset", "calibration_learning_rate": "learning_rate"}
"""Setting of `adapt` -> setting of `calibrate` that a project's recipe may hold."""
