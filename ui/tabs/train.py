"""Train: give the base model the new vocabulary and train its embeddings; watch it live, whatever page or browser looks.

One click makes a chain of jobs: initialisation (or one that is there already), a check of memory, disk and time, the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.config import InitializeConfig, TrainConfig
from lep_core.config.training import METHODS_WITH_TEXT
from lep_core.errors import ConfigError
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.blockers import button
from ui.form import Form
from ui.material import first, models, suggested, texts, tokenizers
from ui.messages import action, note_area, view
from ui.studio import Studio, TabParts
from ui.tabs import train_check, train_sweep
from ui.tabs.train_check import TrainingCheck
from ui.tabs.train_history import TrainingHistory
from ui.tabs.train_live import LiveTraining
from ui.tabs.train_sweep import LearningRateSweep
from ui.trainings import prompt_from, reusable_initialization

PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {"steps": 500, "batch_size": 8, "block_size": 256, "learning_rate": 5e-4},
    "gpu": {"batch_size": 32, "block_size": 1024, "micro_batch_size": 8, "precision": "bfloat16"},
    "many": {"batch_size": 128, "block_size": 2048, "micro_batch_size": 4, "precision": "bfloat16"},
}
"""What each preset sets; every other setting of these goes to its default. Many GPUs also get a process each."""
PRESET_FIELDS = ("warmup_steps", "anchor", "replay_share", "gradient_checkpointing", "optimizer", "quantize", "processes", "strategy")
GROUPS: dict[str, tuple[str, ...]] = {
    "train.group_memory": (
        "batch_size",
        "block_size",
        "micro_batch_size",
        "precision",
        "gradient_checkpointing",
        "optimizer",
        "quantize",
        "compile",
    ),
    "train.group_devices": ("device", "processes", "strategy", "threads"),
    "train.group_measuring": ("evaluate_every", "checkpoint_every", "keep_checkpoints", "sample_prompt", "heldout"),
    "train.group_lora": ("lora", "lora_rank", "lora_alpha"),
}


def build(studio: Studio) -> TabParts:
    """The train tab."""
    return _TrainTab(studio).parts()


class _TrainTab:
    """The form, and below it what becomes of it."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        gr.Markdown(t("train.intro"))
        with gr.Row():
            self.tokenizer = gr.Dropdown(
                choices=[],
                label=t("train.tokenizer"),
                info=t("train.tokenizer_info"),
                elem_id="train-tokenizer",
                interactive=True,
                allow_custom_value=True,
                scale=2,
            )
            self.preset = gr.Radio(
                [(t(f"preset.{name}"), name) for name in ("project", *PRESETS)],
                value="project",
                label=t("train.preset"),
                info=t("train.preset_info"),
                elem_id="train-preset",
                scale=3,
            )
        groups = {t(title): names for title, names in GROUPS.items()}
        self.form = Form(
            TrainConfig,
            t,
            prefix="train",
            leave_out=("model", "initial"),
            groups=groups,
            folded_under=t("train.settings"),
            wide_per_row=2,
        )
        with gr.Accordion(t("train.initialization"), open=False, elem_id="train-initialization"):
            self.beginning = Form(InitializeConfig, t, prefix="init", leave_out=("base", "tokenizer"), wide_per_row=2)
        with gr.Row():
            self.start = gr.Button(t("train.start"), variant="primary", elem_id="train-start", scale=0, min_width=240)
            self.check_first = gr.Button(t("check.start"), elem_id="train-check", scale=0, min_width=300, visible=train_check.available())
        self.note = note_area("train-note")
        self.check = TrainingCheck(studio, self.form)
        self.entered = [self.tokenizer, *self.beginning.inputs, *self.form.inputs]
        with gr.Tabs(elem_id="train-parts"):
            with gr.Tab(t("live.title"), elem_id="train-tab-live"):
                self.live = LiveTraining(studio)
            with gr.Tab(t("history.title"), elem_id="train-tab-history"):
                self.history = TrainingHistory(studio)
            self.sweep = None
            if train_sweep.available():
                with gr.Tab(t("sweep.title"), elem_id="train-tab-sweep"):
                    rate = self.form.components["learning_rate"]
                    self.sweep = LearningRateSweep(studio, inputs=self.entered, start=self._start_with, learning_rate=rate)
        self.seen = gr.State({})
        self.tuned = list(dict.fromkeys([*(name for values in PRESETS.values() for name in values), *PRESET_FIELDS]))
        self.tuned = [name for name in self.tuned if name in self.form.components]
        self._connect()

    def _connect(self) -> None:
        t, studio = self.studio.t, self.studio
        inputs = [studio.project, *self.entered]
        chosen = [item for item in (self.live.shown, studio.job) if item is not None]
        action(self.start.click, self.on_start, inputs=inputs, outputs=chosen, note=self.note, t=t)
        action(self.check_first.click, self.on_check, inputs=inputs, outputs=[], note=self.note, t=t)
        action(self.live.prepare.click, self.on_prepare, inputs=inputs, outputs=chosen, note=self.live.prepare_note, t=t)
        view(self.tokenizer.change, self.on_tokenizer, inputs=[self.tokenizer], outputs=[self.start], t=t, trigger_mode="always_last")
        tuned = [self.form.components[name] for name in self.tuned]
        view(self.preset.input, self.on_preset, inputs=[studio.project, self.preset], outputs=tuned, t=t)
        drawn = [self.seen, *self.live.drawn, *self.check.outputs, *(self.sweep.drawn if self.sweep else [])]
        inputs = [*self.live.inputs, self.seen]
        if (pulse := self.studio.pulses.get("train")) is not None:
            view(pulse.change, self.on_tick, inputs=inputs, outputs=drawn, t=t, trigger_mode="always_last")

    def parts(self) -> TabParts:
        """What the page refreshes when the project's runs changed."""
        chosen = ("input", "replay", "sample_prompt")
        fields = [self.form.components[name] for name in dict.fromkeys([*chosen, *self.tuned])]
        fields += [self.beginning.components[name] for name in ("input", "donor") if name in self.beginning.components]
        others = [*self.live.outputs, *self.history.outputs, *(self.sweep.outputs if self.sweep else [])]
        return TabParts([self.tokenizer, self.start, *fields, *others], self.refresh)

    def refresh(self, project: Project) -> dict[Any, Any]:
        """What the project offers, and its trainings."""
        t, components = self.studio.t, self.form.components
        sources = texts(project, t)
        text = [sources[0][1]] if sources else []
        built = [item for item in tokenizers(project, t) if item[1] != project.base]
        changes: dict[Any, Any] = {
            self.tokenizer: gr.update(choices=built, value=first(built)),
            **self.on_tokenizer(first(built)),
            components["input"]: gr.update(choices=sources, value=text),
            components["replay"]: gr.update(choices=sources, value=suggested(project, "replay_files")),
            components["sample_prompt"]: gr.update(value=prompt_from(text[0]) if text else ""),
            **self._preset(project, "project"),
            **self.live.refresh(project),
            **self.history.refresh(project),
        }
        if "input" in self.beginning.components:
            changes[self.beginning.components["input"]] = gr.update(choices=sources)
        if "donor" in self.beginning.components:
            changes[self.beginning.components["donor"]] = gr.update(choices=models(project, t))
        return changes | (self.sweep.refresh(project) if self.sweep else {})

    def on_tick(self, project_id: str | None, run_id: str | None, seen_live: str, seen: dict[str, str]) -> dict[Any, Any]:
        """Redraw what looks different from before: the training, the check, the sweep."""
        if not project_id:
            return {}
        project = self.studio.open_project(project_id)
        changes = self.live.draw(project_id, run_id, seen_live)
        # What an earlier visit checked is shown, but marks nothing: the fields hold other values now.
        here, after = "opened" in seen, {**seen, "opened": "yes"}
        if (signature := self.check.signature(project)) != seen.get("check", ""):
            changes |= self.check.draw(project, marked=here)
            after["check"] = signature
        if self.sweep is not None and (signature := self.sweep.signature(project)) != seen.get("sweep", ""):
            changes |= self.sweep.draw(project)
            after["sweep"] = signature
        return {**changes, self.seen: after} if after != seen else changes

    def on_tokenizer(self, folder: str | None) -> dict[Any, Any]:
        """Name on the button what is missing."""
        return {self.start: button(self.studio.t("train.start"), None if folder else "need.tokenizer", self.studio.t)}

    def on_preset(self, project_id: str, name: str) -> dict[Any, Any]:
        """Fill in the fields that presets know."""
        return self._preset(self.studio.open_project(project_id), name)

    def on_check(self, project_id: str, *entered: Any) -> dict[Any, Any]:
        """Only the check."""
        self._start_with(self.studio.open_project(project_id), train_check.VERB, {}, entered)
        return {}

    def on_start(self, project_id: str, *entered: Any) -> dict[Any, Any]:
        """Initialise, check and train; when other work is going on, panel and page turn to the new training, which waits."""
        project, queue = self.studio.open_project(project_id), self.studio.backend.queue
        busy = bool(queue.running("device") or queue.waiting("device"))
        training = self._start_with(project, "train", {}, entered, checked=train_check.available())
        return self._turn_to(project, training.id if busy else "")

    def on_prepare(self, project_id: str, *entered: Any) -> dict[Any, Any]:
        """Make the training for a cluster: its script is shown, and the queue here leaves it alone."""
        project = self.studio.open_project(project_id)
        return self._turn_to(project, self._start_with(project, "train", {}, entered, prepared=True).id)

    def _turn_to(self, project: Project, run_id: str) -> dict[Any, Any]:
        shown = gr.update(choices=self.live.choices(project), value=run_id)
        return {self.live.shown: shown} | ({} if self.studio.job is None else {self.studio.job: gr.update(value=run_id)})

    def _start_with(
        self,
        project: Project,
        verb: str,
        values: dict[str, Any],
        entered: Sequence[Any],
        *,
        checked: bool = False,
        prepared: bool = False,
    ) -> Run:
        """Start a verb that takes the training's settings on the initialised model, which is made first unless it is there."""
        folder, count = entered[0], len(self.beginning.inputs) + 1
        beginning, settings = self.beginning.values(entered[1:count]), self.form.values(entered[count:])
        t = self.studio.t
        if not folder:
            raise ConfigError("tokenizer", t("error.no_new_tokenizer"), t("error.build_first"))
        if not settings["input"]:
            raise ConfigError("input", t("error.no_text"), t("error.give_corpus"))
        settings["initial"] = project.base
        # The later runs are checked before the first is made, so that a wrong setting leaves nothing behind.
        TrainConfig.from_mapping({**settings, "model": "checked", "output": "checked"})
        settings = {**settings, **values}
        if verb == train_sweep.VERB:
            train_sweep.check_settings(settings)
            settings.pop("learning_rate")
        beginning = _used(beginning, settings["input"])
        start = {**beginning, "base": project.base, "tokenizer": str(Path(folder).expanduser().absolute())}
        initialized = reusable_initialization(project, start) or self.studio.start(project, "initialize", start)
        settings["model"], after = str(initialized.output), [initialized]
        if checked:
            after = [*after, self.studio.start(project, train_check.VERB, settings, after=after)]
        if prepared:
            return project.create_run(verb, settings, after=[item.id for item in after], prepared=True)
        return self.studio.start(project, verb, settings, after=after)

    def _preset(self, project: Project, name: str) -> dict[Any, Any]:
        given = project.settings.get("defaults", {}) if name == "project" else PRESETS[name]
        if name == "many":
            given = {**given, "processes": max(2, _gpus())}
        defaults = {item: TrainConfig.__dataclass_fields__[item].default for item in self.tuned}
        values = {item: given.get(item, defaults[item]) for item in self.tuned}
        return {self.form.components[item]: gr.update(value="" if value is None else value) for item, value in values.items()}


def _used(beginning: dict[str, Any], text: list[str]) -> dict[str, Any]:
    """Without inputs that the method does not read, so that equal models are recognised; a method that needs text gets the training's."""
    method, values = beginning.get("method"), dict(beginning)
    if "input" in values:
        values["input"] = (values["input"] or text) if method in METHODS_WITH_TEXT else []
    if "donor" in values and method != "omp":
        values["donor"] = None
    return values


def _gpus() -> int:
    """How many GPUs this machine has, asked from the driver without torch."""
    try:
        import pynvml

        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        pynvml.nvmlShutdown()
    except (ImportError, OSError, pynvml.NVMLError):
        return 0
    return count
