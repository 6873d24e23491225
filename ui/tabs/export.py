"""Export: a Hugging Face folder with a model card, and the proof that it computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.config import ExportConfig
from lep_core.errors import ConfigError
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.form import Form
from ui.material import finished, first, label_of, models, result_of, run_name
from ui.messages import action, escape, note_area, view
from ui.studio import Studio, TabParts

MOST_FILES = 40


def build(studio: Studio) -> TabParts:
    """The export tab."""
    t = studio.t
    gr.Markdown(t("export.intro"))
    form = Form(ExportConfig, t, prefix="export")
    model = form.components["model"]
    start = gr.Button(t("export.start"), variant="primary", elem_id="export-start", scale=0, min_width=240)
    note = note_area("export-note")
    shown = gr.Dropdown(choices=[], label=t("export.select"), elem_id="export-select", interactive=True)
    proof = gr.Markdown(t("export.none"), elem_id="export-proof", elem_classes=["card"])
    folder = gr.Textbox("", label=t("export.folder"), interactive=False, buttons=["copy"], elem_id="export-folder", visible=False)
    snippet = gr.Code("", language="python", interactive=False, label=t("export.snippet"), elem_id="export-snippet", visible=False)
    with gr.Row():
        card = gr.Code(
            "",
            language="markdown",
            interactive=False,
            label=t("export.card"),
            elem_id="export-card",
            visible=False,
            max_lines=30,
            wrap_lines=True,
        )
    outputs = [proof, folder, snippet, card]

    def refresh(project: Project) -> dict[Any, Any]:
        runs = finished(project, "export")
        choices = [(run_name(run, project, t), run.id) for run in runs]
        available = models(project, t)
        return {
            model: gr.update(choices=available, value=first(available)),
            shown: gr.update(choices=choices, value=first(choices)),
            **show(project.id, first(choices)),
        }

    def show(project_id: str, run_id: str | None) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        run = next((item for item in finished(project, "export") if item.id == run_id), None)
        if run is None:
            hidden = gr.update(visible=False)
            return {proof: t("export.none"), folder: hidden, snippet: hidden, card: hidden}
        output = Path(str(run.output))
        readme = output / "README.md"
        return {
            proof: _proof(run, project, studio),
            folder: gr.update(value=str(output), visible=True),
            snippet: gr.update(value=_snippet(output), visible=True),
            card: gr.update(value=readme.read_text(encoding="utf-8") if readme.is_file() else "", visible=readme.is_file()),
        }

    def on_start(project_id: str, *entered: Any) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        values = form.values(entered)
        if not values["model"]:
            raise ConfigError("model", t("error.no_model"), t("error.give_model"))
        studio.start(project, "export", values)
        return {}

    action(start.click, on_start, inputs=[studio.project, *form.inputs], outputs=[], note=note, t=t)
    view(shown.input, show, inputs=[studio.project, shown], outputs=outputs, t=t)
    return TabParts([model, shown, *outputs], refresh)


def _proof(run: Run, project: Project, studio: Studio) -> str:
    t, report = studio.t, result_of(run)
    lines = [f"**{escape(label_of(run.config['model'], models(project, t)))}**"]
    equal, difference = report.get("logits_equal"), report.get("max_logit_difference")
    if equal is not None:
        text = t("export.logits_equal" if equal else "export.logits_differ")
        lines.append(
            f"{'✔' if equal else '⚠'} {text}"
            + (f" ({t('export.difference', value=f'{difference:.3g}')})" if difference is not None else "")
        )
    if report.get("ids_equal") is not None:
        lines.append(f"{'✔' if report['ids_equal'] else '⚠'} {t('export.ids_equal' if report['ids_equal'] else 'export.ids_differ')}")
    if report.get("bytes") is not None:
        lines.append(t("export.size", mib=t.number(report["bytes"] / 2**20, 1)))
    files = report.get("files")
    if isinstance(files, (list, dict)):
        lines.append(escape(", ".join(str(item) for item in list(files)[:MOST_FILES])))
    return "  \n".join(lines)


def _snippet(folder: Path) -> str:
    return (
        "from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast\n\n"
        f"folder = {str(folder)!r}\n"
        "tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)\n"
        "model = AutoModelForCausalLM.from_pretrained(folder)\n\n"
        f"# vLLM: vllm serve {folder}\n"
    )
