"""Tokenizer tab, second part: build a vocabulary by any variant, and see how its size pays off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from lep_core.config import VARIANTS, BuildTokenizerConfig
from lep_core.errors import ConfigError
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.fertility import shape_of, speed_curve
from ui.form import Form
from ui.i18n import Translator
from ui.material import finished, result_of, run_name, suggested, texts, tokenizers
from ui.messages import action, escape, note_area, view
from ui.studio import Studio, TabParts
from ui.tabs.fertility import start_measurement

FIELDS: dict[str, tuple[str, ...]] = {
    "continued-bpe": ("new_tokens", "vocab_size", "min_frequency"),
    "extension": ("new_tokens", "vocab_size", "source", "paper", "min_frequency"),
    "optimization": ("new_tokens", "vocab_size", "source", "keep_tokens", "paper", "min_frequency"),
    "bpe": ("vocab_size", "paper", "min_frequency"),
    "unigram": ("vocab_size", "paper"),
    "leaf-pruning": ("vocab_size",),
    "import": ("source",),
}
"""Settings that matter for one variant only; all others are always shown."""
SHOWN_CURVES = 6


def hidden_fields(variant: str) -> frozenset[str]:
    """Fields that say nothing about a variant."""
    return frozenset(name for names in FIELDS.values() for name in names) - frozenset(FIELDS.get(variant, ()))


def explanation(variant: str, t: Translator) -> str:
    """What a variant does, in one sentence."""
    key = f"variant.{variant}"
    return f"**{escape(variant)}** – {t(key)}" if t.has(key) else f"**{escape(variant)}**"


def build(studio: Studio) -> TabParts:
    """The form, the newest result and the curves."""
    t = studio.t
    gr.Markdown(f"### {t('build.title')}\n{t('build.intro')}")
    variant = gr.Radio(list(VARIANTS), value=VARIANTS[0], label=t.field_label("variant"), elem_id="build-variant")
    explained = gr.Markdown(explanation(VARIANTS[0], t), elem_id="build-explained")
    form = Form(BuildTokenizerConfig, t, prefix="build", leave_out=("variant",), unfold=("source", "keep_tokens"))
    start = gr.Button(t("build.start"), variant="primary", elem_id="build-start", scale=0, min_width=240)
    note = note_area("build-note")
    result = gr.Markdown("", elem_id="build-result", elem_classes=["card"], visible=False)
    with gr.Row():
        rates = gr.Plot(show_label=False, elem_id="build-curve", visible=False)
        speeds = gr.Plot(show_label=False, elem_id="build-curve-speed", visible=False)
    advice = gr.Markdown("", visible=False, elem_id="build-advice")
    base, text, source = (form.components[name] for name in ("base", "input", "source"))
    dependent = {name: item for name, item in form.components.items() if any(name in names for names in FIELDS.values())}

    def visibility(chosen: str) -> dict[Any, Any]:
        return {item: gr.update(visible=name not in hidden_fields(chosen)) for name, item in dependent.items()}

    def on_variant(chosen: str) -> dict[Any, Any]:
        return {explained: explanation(chosen, t), **visibility(chosen)}

    def refresh(project: Project) -> dict[Any, Any]:
        sources, defaults = texts(project, t), project.settings.get("defaults", {})
        chosen = defaults.get("variant", VARIANTS[0])
        changes: dict[Any, Any] = {
            base: gr.update(choices=tokenizers(project, t), value=project.base),
            text: gr.update(choices=sources, value=[sources[0][1]] if sources else []),
            variant: chosen,
            **on_variant(chosen),
            source: gr.update(choices=tokenizers(project, t), visible="source" not in hidden_fields(chosen)),
        }
        for name in ("new_tokens", "vocab_size"):
            if name in defaults:
                changes[dependent[name]] = gr.update(value=defaults[name], visible=name not in hidden_fields(chosen))
        runs = finished(project, "build-tokenizer")
        changes[result] = gr.update(value=_built(runs[0], project, studio), visible=True) if runs else gr.update(visible=False)
        return {**changes, **_curves(runs, project, studio, rates, speeds, advice)}

    def on_start(project_id: str, chosen: str, *entered: Any) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        values = form.values(entered)
        unused = hidden_fields(chosen)
        values = {"variant": chosen, **{name: value for name, value in values.items() if name not in unused}}
        if not values["input"]:
            raise ConfigError("input", t("error.no_text"), t("error.give_corpus"))
        built = studio.start(project, "build-tokenizer", values)
        # What everyone wants to know next: how much better it is on the same text, and what it does to the old language.
        start_measurement(
            studio, project, [values["base"], str(built.output)], values["input"], suggested(project, "replay_files"), after=[built]
        )
        return {}

    view(variant.input, on_variant, inputs=[variant], outputs=[explained, *dependent.values()], t=t)
    action(start.click, on_start, inputs=[studio.project, variant, *form.inputs], outputs=[], note=note, t=t)
    return TabParts([base, text, variant, explained, *dependent.values(), result, rates, speeds, advice], refresh)


def _built(run: Run, project: Project, studio: Studio) -> str:
    t, report = studio.t, result_of(run)
    before, after = report.get("characters_per_token_before"), report.get("characters_per_token_after")
    lines = [
        f"**{escape(run_name(run, project, t))}**",
        t(
            "build.sizes",
            size=t.number(report.get("vocab_size")),
            new=t.number(report.get("new_tokens")),
            removed=t.number(report.get("removed_tokens")),
        ),
        t("build.change", before=t.number(before, 2), after=t.number(after, 2)) if before and after else "",
        t("build.round_trip_ok") if report.get("round_trip_ok") else t("build.round_trip_bad"),
    ]
    if report.get("unreachable_tokens"):
        lines.append(t("build.unreachable", count=t.number(report["unreachable_tokens"])))
    return "  \n".join(line for line in lines if line)


def _curves(runs: list[Run], project: Project, studio: Studio, left: gr.Plot, right: gr.Plot, advice: gr.Markdown) -> dict[Any, Any]:
    """Characters per token, and the speed that the model's shape predicts for it, against vocabulary size."""
    t, shape = studio.t, shape_of(project.base)
    rates: dict[str, Any] = {}
    speeds: dict[str, Any] = {}
    for run in runs:
        report = result_of(run)
        curve = report.get("curve") or []
        if len(curve) < 2 or len(rates) == SHOWN_CURVES:
            continue
        name = run_name(run, project, t)
        rates[name] = ([point["vocab_size"] for point in curve], [point["characters_per_token"] for point in curve])
        own_rate = report.get("characters_per_token_before")
        if shape is not None and own_rate:
            speeds[name] = speed_curve(curve, shape, own_rate)
    hidden = gr.update(visible=False)
    if not rates:
        return {left: hidden, right: hidden, advice: hidden}
    from ui.plots import lines

    size = t("build.curve_size")
    changes: dict[Any, Any] = {right: hidden, advice: gr.update(value=_fastest(speeds, t), visible=bool(speeds))}
    changes[left] = gr.update(value=lines(rates, title=t("build.curve"), x=size, y=t("build.curve_rate")), visible=True)
    if speeds:
        changes[right] = gr.update(value=lines(speeds, title=t("build.curve_speed"), x=size, y=t("build.curve_times")), visible=True)
    return changes


def _fastest(speeds: Mapping[str, tuple[list[float], list[float]]], t: Translator) -> str:
    """For each curve the vocabulary size at which the prediction is best."""
    lines = [t("build.curve_note"), ""]
    for name, (sizes, gains) in speeds.items():
        best = max(range(len(gains)), key=gains.__getitem__)
        lines.append("- " + t("build.fastest", name=escape(name), size=t.number(round(sizes[best])), gain=t.number(gains[best], 2)))
    return "\n".join(lines)
