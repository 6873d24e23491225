"""Train: give the base model the new vocabulary and train its embeddings; watch it live, whatever page or browser looks."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lep_core.config import InitializeConfig, TrainConfig
from lep_core.errors import ConfigError
from lep_core.jobs.command import cli_command
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.form import Form
from ui.material import first, result_of, run_name, suggested, texts, tokenizers
from ui.messages import action, escape, note_area, view
from ui.studio import Studio, TabParts

PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {"steps": 500, "batch_size": 8, "block_size": 256, "learning_rate": 5e-4, "micro_batch_size": None, "precision": "auto"},
    "gpu": {"steps": None, "batch_size": 32, "block_size": 1024, "learning_rate": 2e-4, "micro_batch_size": 8, "precision": "bfloat16"},
}
LIVE_SECONDS = 2.0
MOST_POINTS = 600


def build(studio: Studio) -> TabParts:
    """The train tab."""
    t = studio.t
    gr.Markdown(t("train.intro"))
    with gr.Row():
        tokenizer = gr.Dropdown(
            choices=[],
            label=t("train.tokenizer"),
            info=t("train.tokenizer_info"),
            elem_id="train-tokenizer",
            interactive=True,
            allow_custom_value=True,
        )
        preset = gr.Radio(
            [(t(f"preset.{name}"), name) for name in ("project", *PRESETS)],
            value="project",
            label=t("train.preset"),
            info=t("train.preset_info"),
            elem_id="train-preset",
        )
    with gr.Accordion(t("train.initialization"), open=False):
        first_form = Form(InitializeConfig, t, prefix="init", leave_out=("base", "tokenizer"))
    form = Form(TrainConfig, t, prefix="train", leave_out=("model", "initial", "new_rows_only"))
    start = gr.Button(t("train.start"), variant="primary", elem_id="train-start", scale=0, min_width=240)
    note = note_area("train-note")
    live = _Live(studio)
    text, replay = form.components["input"], form.components["replay"]
    tuned = [
        name
        for name in ("steps", "learning_rate", "batch_size", "block_size", "warmup_steps", "replay_share", "micro_batch_size", "precision")
        if name in form.components
    ]

    def refresh(project: Project) -> dict[Any, Any]:
        sources = texts(project, t)
        old_language = suggested(project, "replay_files")
        built = [item for item in tokenizers(project, t) if item[1] != project.base]
        return {
            tokenizer: gr.update(choices=built, value=first(built)),
            text: gr.update(choices=sources, value=[sources[0][1]] if sources else []),
            replay: gr.update(choices=sources, value=old_language),
            **_preset(project, "project"),
            **live.refresh(project),
        }

    def _preset(project: Project, name: str) -> dict[Any, Any]:
        defaults = {item: TrainConfig.__dataclass_fields__[item].default for item in tuned}
        given = project.settings.get("defaults", {}) if name == "project" else PRESETS[name]
        values = {item: given.get(item, defaults[item]) for item in tuned}
        return {form.components[item]: gr.update(value="" if value is None else value) for item, value in values.items()}

    def on_preset(project_id: str, name: str) -> dict[Any, Any]:
        return _preset(studio.open_project(project_id), name)

    def on_start(project_id: str, folder: str | None, *entered: Any) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        count = len(first_form.inputs)
        beginning, values = first_form.values(entered[:count]), form.values(entered[count:])
        if not folder:
            raise ConfigError("tokenizer", t("error.no_new_tokenizer"), t("error.build_first"))
        if not values["input"]:
            raise ConfigError("input", t("error.no_text"), t("error.give_corpus"))
        # The second run is checked before the first is made, so that a wrong setting leaves nothing behind.
        TrainConfig.from_mapping({**values, "model": "checked", "output": "checked"})
        initialized = studio.start(project, "initialize", {**beginning, "base": project.base, "tokenizer": folder})
        training = studio.start(project, "train", {**values, "model": str(initialized.output)}, after=[initialized])
        return {live.shown: gr.update(choices=live.choices(project), value=training.id)}

    action(
        start.click, on_start, inputs=[studio.project, tokenizer, *first_form.inputs, *form.inputs], outputs=[live.shown], note=note, t=t
    )
    view(preset.input, on_preset, inputs=[studio.project, preset], outputs=[form.components[name] for name in tuned], t=t)
    outputs = [tokenizer, text, replay, *(form.components[name] for name in tuned), *live.outputs]
    return TabParts(outputs, refresh)


class _Live:
    """Curves, numbers and samples of one training run, redrawn while it runs."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        gr.Markdown(f"### {t('live.title')}")
        self.shown = gr.Dropdown(choices=[], label=t("live.select"), elem_id="train-select", interactive=True)
        self.numbers = gr.Markdown(t("live.none"), elem_id="train-numbers", elem_classes=["headline"])
        with gr.Row():
            self.quality = gr.Plot(show_label=False, elem_id="train-curve", visible=False)
            self.speed = gr.Plot(show_label=False, elem_id="train-speed", visible=False)
        self.samples = gr.Textbox("", label=t("live.samples"), lines=4, interactive=False, visible=False, elem_id="train-samples")
        with gr.Accordion(t("live.command"), open=False):
            self.command = gr.Code("", language="shell", interactive=False, show_label=False, elem_id="train-command", wrap_lines=True)
        self.seen = gr.State("")
        self.outputs = [self.shown, self.numbers, self.quality, self.speed, self.samples, self.command, self.seen]
        timer = gr.Timer(LIVE_SECONDS)
        for trigger in (timer.tick, self.shown.change):
            view(
                trigger,
                self.draw,
                inputs=[studio.project, self.shown, self.seen],
                outputs=self.outputs[1:],
                t=t,
                trigger_mode="always_last",
            )

    def choices(self, project: Project) -> list[tuple[str, str]]:
        return [(run_name(run, project, self.studio.t), run.id) for run in project.runs("train")]

    def refresh(self, project: Project) -> dict[Any, Any]:
        choices = self.choices(project)
        return {self.shown: gr.update(choices=choices, value=first(choices)), **self.draw(project.id, first(choices), "")}

    def draw(self, project_id: str | None, run_id: str | None, seen: str) -> dict[Any, Any]:
        """Everything about the run, or nothing when it looks as before."""
        if not project_id:
            return {}
        project = self.studio.open_project(project_id)
        run = next((item for item in project.runs("train") if item.id == run_id), None)
        if run is None:
            hidden = gr.update(visible=False)
            return (
                {
                    self.numbers: self.studio.t("live.none"),
                    self.quality: hidden,
                    self.speed: hidden,
                    self.samples: hidden,
                    self.command: "",
                    self.seen: "",
                }
                if seen != "-"
                else {}
            )
        records, status = run.metrics(), run.status()
        signature = repr((run.id, self.studio.t.language, len(records), status.state, status.stage))
        if signature == seen:
            return {}
        report = result_of(run)
        return {
            self.numbers: _numbers(run, records, report, self.studio),
            **self._curves(records),
            self.samples: _samples(report, self.studio),
            self.command: cli_command(run, output="OUTPUT"),
            self.seen: signature,
        }

    def _curves(self, records: list[dict[str, Any]]) -> dict[Any, Any]:
        from ui.plots import lines

        t = self.studio.t
        learned = _series(records, "bits_per_byte")
        held_out = _series(records, "heldout_bits_per_byte")
        if not learned[0] and not held_out[0]:
            hidden = gr.update(visible=False)
            return {self.quality: hidden, self.speed: hidden}
        quality = lines(
            {t("live.train"): learned, t("live.heldout"): held_out}, title=t("live.quality"), x=t("live.step"), y=t("unit.bits_per_byte")
        )
        speed = lines(
            {t("live.speed"): _series(records, "tokens_per_second")}, title=t("live.speed"), x=t("live.step"), y=t("unit.tokens_per_second")
        )
        return {self.quality: gr.update(value=quality, visible=True), self.speed: gr.update(value=speed, visible=True)}


def _series(records: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    points = [(record["step"], record[name]) for record in records if record.get(name) is not None and "step" in record]
    stride = max(1, len(points) // MOST_POINTS)
    kept = points[::stride] + ([points[-1]] if points and (len(points) - 1) % stride else [])
    return [step for step, _ in kept], [value for _, value in kept]


def _numbers(run: Run, records: list[dict[str, Any]], report: dict[str, Any], studio: Studio) -> str:
    t, status = studio.t, run.status()
    newest: dict[str, Any] = {}
    for record in records:
        newest.update({key: value for key, value in record.items() if value is not None})
    parts = [f"**{t(f'state.{status.state}')}**"]
    if "step" in newest:
        total = (
            t.number(round(status.total)) if status.total and status.unit == "steps" else t.number(report.get("steps")) if report else "–"
        )
        parts.append(t("live.steps", step=t.number(int(newest["step"])), total=total))
    before, after = report.get("bits_per_byte_before"), report.get("bits_per_byte_after")
    if before is not None and after is not None:
        parts.append(t("live.before_after", before=t.number(before), after=t.number(after)))
    elif "heldout_bits_per_byte" in newest:
        parts.append(t("live.heldout_now", value=t.number(newest["heldout_bits_per_byte"])))
    if "tokens_per_second" in newest:
        parts.append(t("live.rate", value=t.number(round(newest["tokens_per_second"]))))
    memory = report.get("peak_memory_gib", newest.get("memory_gib"))
    if memory is not None:
        parts.append(t("live.memory", value=t.number(float(memory), 2)))
    if status.eta_seconds is not None and not status.ended:
        parts.append(t("jobs.eta", time=t.duration(status.eta_seconds)))
    frozen = report.get("frozen_sha256_before")
    if frozen and frozen == report.get("frozen_sha256_after"):
        parts.append(t("live.frozen_same"))
    return " · ".join(parts) + (f"  \n{escape(status.message)}" if status.message and not status.ended else "")


def _samples(report: dict[str, Any], studio: Studio) -> dict[str, Any]:
    before, after = (_sample_text(report.get(name)) for name in ("samples_before", "samples_after"))
    if not before and not after:
        return gr.update(visible=False)
    t = studio.t
    return gr.update(value=f"{t('live.before')}: {before}\n\n{t('live.after')}: {after}", visible=True)


def _sample_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "\n".join(_sample_text(item) for item in value)
    if isinstance(value, dict):
        return str(value.get("text") or value.get("completion") or "")
    return str(value or "")
