"""Calibrate: win skills back by the original's own answers, go on learning from own conversations, or make the traditional baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.calibration.preview import PAIRS_FILE
from lep_core.config import CalibrateConfig
from lep_core.errors import ConfigError
from lep_core.runs.workspace import Project
from ui.blockers import button
from ui.calibrations import DATA, PAIRS, PATHS, SELF, TRADITIONAL, VERB, WAY, pair_choices, runs_with_pairs
from ui.form import Form
from ui.material import Choice, calibrated, first, propagated, short, suggested, texts, trained
from ui.messages import action, note_area, view
from ui.studio import Studio, TabParts
from ui.tabs.calibrate_pairs import PairsView
from ui.tabs.calibrate_result import CalibrationResult
from ui.uploads import keep_uploads

FILTERS = (
    *("min_answer_characters", "max_answer_characters", "unfinished", "answer_script", "script_share", "max_repetition"),
    *("max_compression", "bad_conversations", "judge", "judge_method", "judge_share", "judge_template"),
)
PROMPTS = (
    *("max_prompts", "max_new_tokens", "copy_share", "copy_characters", "copy_template", "prompt_template"),
    *("max_prompt_characters", "answer_batch"),
)
LEARNING = (
    *("scope", "learning_rate", "epochs", "steps", "batch_size", "max_length", "too_long", "lora_rank", "lora_alpha", "lora_targets"),
    *("full_parts", "micro_batch_tokens", "warmup_steps", "schedule", "weight_decay", "gradient_clip", "gradient_checkpointing"),
    *("optimizer", "keep_adapter"),
)
MEASURING = ("heldout", "limit", "heldout_share", "evaluate_every", "checkpoint_every", "keep_checkpoints")
GROUPS = {
    "calibrate.group_pairs": PROMPTS,
    "calibrate.group_filters": FILTERS,
    "calibrate.group_learning": LEARNING,
    "calibrate.group_measuring": MEASURING,
}
OWN_FIELDS: dict[str, tuple[str, ...]] = {
    SELF: ("teacher", "prompt_file", *PROMPTS, *FILTERS),
    DATA: ("data", "bad_conversations"),
    TRADITIONAL: ("data", "bad_conversations", "template_from"),
}
"""Settings that belong to some ways only; all others hold for each."""
UPLOADS = {"prompt_file": (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet"), "data": (".jsonl", ".json", ".csv", ".tsv", ".parquet")}


def build(studio: Studio) -> TabParts:
    """The calibrate tab."""
    return CalibrateTab(studio).parts()


class CalibrateTab:
    """The form, the pairs below it, and what became of them."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        gr.Markdown(t("calibrate.intro"))
        self.way = gr.Radio([(t(f"path.{name}"), name) for name in PATHS], value=SELF, label=t("calibrate.path"), elem_id="calibrate-path")
        self.about = gr.Markdown(t(f"path_about.{SELF}"), elem_id="calibrate-about", elem_classes=["card"])
        with gr.Row():
            self.uploads = {
                "prompt_file": self._upload("calibrate.upload_prompts", "prompt_file", visible=True),
                "data": self._upload("calibrate.upload_data", "data", visible=False),
            }
            with gr.Column(scale=3):
                self.form = Form(
                    CalibrateConfig,
                    t,
                    prefix="calibrate",
                    leave_out=("pairs_only",),
                    groups={t(title): names for title, names in GROUPS.items()},
                    folded_under=t("calibrate.settings"),
                    wide_per_row=2,
                )
        for name in _foreign(SELF):
            self.form.components[name].visible = False
        self.pairs = gr.Dropdown(
            choices=[(t("calibrate.new_pairs"), "")],
            value="",
            label=t("calibrate.use_pairs"),
            info=t("calibrate.use_pairs_info"),
            elem_id="calibrate-use-pairs",
            interactive=True,
        )
        with gr.Row():
            self.make = gr.Button(t("calibrate.make_pairs"), elem_id="calibrate-make-pairs", scale=0, min_width=360)
            self.start = gr.Button(t("calibrate.train"), variant="primary", elem_id="calibrate-start", scale=0, min_width=300)
        self.note = note_area("calibrate-note")
        self.view = PairsView(studio)
        self.result = CalibrationResult(studio)
        self._connect()

    def _upload(self, key: str, name: str, *, visible: bool) -> gr.File:
        return gr.File(
            label=self.studio.t(key),
            file_count="multiple",
            file_types=list(UPLOADS[name]),
            height=140,
            elem_id=f"calibrate-upload-{name.replace('_', '-')}",
            visible=visible,
            scale=1,
            min_width=200,
        )

    @property
    def _deciding(self) -> list[Any]:
        """What decides whether a job can be started."""
        fields = self.form.components
        return [
            self.way,
            *(fields[name] for name in ("model", "teacher", "prompt_file", "input", "data")),
            *self.uploads.values(),
            self.pairs,
        ]

    def _connect(self) -> None:
        t, project = self.studio.t, self.studio.project
        inputs = [project, self.way, self.pairs, *self.uploads.values(), *self.form.inputs]
        cleared = [*self.uploads.values()]
        action(self.make.click, self.on_make, inputs=inputs, outputs=cleared, note=self.note, t=t)
        action(self.start.click, self.on_start, inputs=inputs, outputs=cleared, note=self.note, t=t)
        shaped = [self.about, *self.uploads.values(), self.pairs, self.make, self.start, *self._shaped]
        view(self.way.input, self.on_way, inputs=[project, *self._deciding], outputs=shaped, t=t)
        for item in self._deciding[1:]:
            view(item.change, self.on_change, inputs=self._deciding, outputs=[self.make, self.start], t=t, trigger_mode="always_last")

    @property
    def _shaped(self) -> list[Any]:
        """Inputs and folds that only some ways have, and those that change with the way."""
        names = {name for fields in OWN_FIELDS.values() for name in fields} | {"model", "preset"}
        components = [item for name, item in self.form.components.items() if name in names]
        return [*components, *dict.fromkeys(self.form.folds[name] for name in ("max_prompts", "judge"))]

    def parts(self) -> TabParts:
        """What the page refreshes when the project's runs changed."""
        fields = self.form.components
        own = [fields[name] for name in ("model", "teacher", "prompt_file", "input", "items", "template_from", "judge", "learning_rate")]
        tuned = [fields[name] for name in self._tuned if fields[name] not in own]
        outputs = [*own, *tuned, self.pairs, self.make, self.start, *self.view.outputs, *self.result.outputs]
        return TabParts(outputs, self.refresh)

    @property
    def _tuned(self) -> list[str]:
        """Settings that a project may suggest."""
        return ["preset", *(name for name in (*PROMPTS, *LEARNING, "limit") if name in self.form.components)]

    def refresh(self, project: Project) -> dict[Any, Any]:
        """What the project offers and suggests, its pairs and results."""
        t, fields = self.studio.t, self.form.components
        sources, prompts, items = texts(project, t), suggested(project, "prompt_files"), suggested(project, "item_files")
        chosen = self._models(project, SELF)
        text = [sources[0][1]] if sources else []
        given = project.settings.get(VERB, {})
        made = pair_choices(project, t)
        changes: dict[Any, Any] = {
            fields["model"]: gr.update(choices=chosen, value=first(chosen)),
            fields["teacher"]: gr.update(choices=_originals(project), value=project.instruct),
            fields["template_from"]: gr.update(choices=_originals(project)),
            fields["judge"]: gr.update(choices=[*chosen, *_originals(project)]),
            fields["prompt_file"]: gr.update(choices=[(short(path), path) for path in prompts], value=prompts),
            fields["input"]: gr.update(choices=sources, value=text),
            fields["items"]: gr.update(choices=[(short(path), path) for path in items], value=items),
            # Pairs that were just made to be looked at are what is learned next.
            self.pairs: gr.update(choices=[(t("calibrate.new_pairs"), ""), *made], value=_fresh_pairs(project)),
            **{fields[name]: gr.update(value=value) for name, value in given.items() if name in self._tuned},
            **self._buttons(SELF, bool(chosen), bool(project.instruct), bool(prompts or text), has_data=False, has_pairs=bool(made)),
        }
        return changes | self.view.refresh(project) | self.result.refresh(project)

    def _models(self, project: Project, way: str) -> list[Choice]:
        """What can be tuned in this way, the likeliest first."""
        t = self.studio.t
        return trained(project, t) if way == TRADITIONAL else [*propagated(project, t), *calibrated(project, t)]

    def on_way(self, project_id: str | None, way: str, *deciding: Any) -> dict[Any, Any]:
        """Show the fields of this way and offer its models."""
        if not project_id:
            return {}
        t, fields, project = self.studio.t, self.form.components, self.studio.open_project(project_id)
        foreign = _foreign(way)
        named = {name for names in OWN_FIELDS.values() for name in names}
        chosen = self._models(project, way)
        changes: dict[Any, Any] = {fields[name]: gr.update(visible=name not in foreign) for name in named if name in fields}
        changes |= {self.form.folds[name]: gr.update(visible=way == SELF) for name in ("max_prompts", "judge")}
        changes |= {item: gr.update(visible=name in OWN_FIELDS[way]) for name, item in self.uploads.items()}
        changes[fields["template_from"]] = gr.update(visible=way == TRADITIONAL, value=project.instruct if way == TRADITIONAL else None)
        changes[fields["model"]] = gr.update(choices=chosen, value=first(chosen))
        suggestion = project.settings.get(VERB, {}).get("preset", "auto")
        changes[fields["preset"]] = gr.update(value=TRADITIONAL if way == TRADITIONAL and suggestion == "auto" else suggestion)
        changes |= {self.about: t(f"path_about.{way}"), self.pairs: gr.update(visible=way == SELF)}
        buttons = self.on_change(way, first(chosen), *deciding[1:])
        return changes | buttons

    def on_change(self, way: str, model: Any, teacher: Any, prompts: Any, text: Any, data: Any, *further: Any) -> dict[Any, Any]:
        """Name on the buttons what is missing."""
        uploaded_prompts, uploaded_data, pairs = further
        return self._buttons(
            way, bool(model), bool(teacher), bool(prompts or text or uploaded_prompts), bool(data or uploaded_data), bool(pairs)
        )

    def _buttons(
        self, way: str, has_model: bool, has_teacher: bool, has_prompts: bool, has_data: bool, has_pairs: bool = False
    ) -> dict[Any, Any]:
        t = self.studio.t
        need = None
        if not has_model:
            need = {SELF: "propagated", DATA: "model", TRADITIONAL: "trained"}[way]
        elif way == SELF and not has_pairs:
            need = "teacher" if not has_teacher else "prompts" if not has_prompts else None
        elif way != SELF and not has_data:
            need = "data"
        label = t("calibrate.train") if way == SELF else t("calibrate.train_data")
        make_need = None if has_pairs and has_teacher and has_prompts else need
        need, make_need = (name and f"calibrate.need_{name}" for name in (need, make_need))
        return {self.start: button(label, need, t), self.make: button(t("calibrate.make_pairs"), make_need, t, visible=way == SELF)}

    def on_make(
        self, project_id: str, way: str, pairs: str | None, prompts: list[str] | None, data: list[str] | None, *entered: Any
    ) -> dict[Any, Any]:
        """Only the pairs."""
        project = self.studio.open_project(project_id)
        values = self._values(project, SELF, prompts, data, entered)
        self._checked({**values, "pairs_only": True})
        self.studio.start(project, VERB, {**values, "pairs_only": True}, inputs={WAY: SELF})
        return self._cleared()

    def on_start(
        self, project_id: str, way: str, pairs: str | None, prompts: list[str] | None, data: list[str] | None, *entered: Any
    ) -> dict[Any, Any]:
        """The pairs that were made, new ones, or the given conversations."""
        project = self.studio.open_project(project_id)
        inputs = {WAY: way}
        if way == SELF and pairs:
            values = self._values(project, DATA, None, None, entered)
            run = next((run for run in runs_with_pairs(project) if run.id == pairs), None)
            if run is None:
                raise ConfigError("data", self.studio.t("pairs.none"), self.studio.t("calibrate.need_prompts"))
            values |= {"data": [str(Path(str(run.output)) / PAIRS_FILE)], "preset": _preset(values, SELF)}
            inputs[PAIRS] = run.id
        else:
            values = self._values(project, way, prompts, data, entered)
        self._checked(values)
        self.studio.start(project, VERB, values, inputs=inputs)
        return self._cleared()

    def _values(
        self, project: Project, way: str, prompts: list[str] | None, data: list[str] | None, entered: Sequence[Any]
    ) -> dict[str, Any]:
        values = self.form.values(entered)
        if not values["model"]:
            raise ConfigError("model", self.studio.t("error.no_model"), self.studio.t("error.give_model"))
        values = {name: value for name, value in values.items() if name not in _foreign(way)}
        for name, uploaded in (("prompt_file", prompts), ("data", data)):
            if name in values and uploaded:
                moved = [str(path) for path in keep_uploads(project.path / "uploads", uploaded)]
                # What was uploaded takes the place of what the project suggested.
                suggestions = set(suggested(project, "prompt_files"))
                values[name] = [*moved, *(item for item in values[name] if item not in suggestions)]
        return values

    def _checked(self, values: Mapping[str, Any]) -> None:
        CalibrateConfig.from_mapping({**values, "output": "checked"})

    def _cleared(self) -> dict[Any, Any]:
        return dict.fromkeys(self.uploads.values())


def _foreign(way: str) -> set[str]:
    """Settings that only the other ways have."""
    return {name for names in OWN_FIELDS.values() for name in names} - set(OWN_FIELDS[way])


def _preset(values: Mapping[str, Any], way: str) -> str:
    """The preset; auto would take given data for foreign conversations, these are the model's own."""
    return "self-calibration" if way == SELF and values.get("preset", "auto") == "auto" else str(values["preset"])


def _fresh_pairs(project: Project) -> str:
    """The newest run of all when it has made only pairs; "" when pairs are made in the same job."""
    newest = next(iter(project.runs(VERB)), None)
    return newest.id if newest is not None and newest in runs_with_pairs(project) and newest.config.get("pairs_only") else ""


def _originals(project: Project) -> list[Choice]:
    return [(short(project.instruct), project.instruct)] if project.instruct else []
