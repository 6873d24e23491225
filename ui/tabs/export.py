"""Export: a folder for transformers or a file for llama.cpp, what there is to know before, and the proof after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.config import ExportConfig
from lep_core.errors import ConfigError
from lep_core.export.hub import obstacle
from lep_core.runs.workspace import Project
from ui.export_view import PROGRAMS, card_preview, card_source, outlook_of, outlook_text, proof_text, snippets
from ui.form import Form
from ui.material import finished, first, label_of, models, result_of, run_name
from ui.messages import action, note_area, view
from ui.studio import Studio, TabParts

UPLOAD_FIELDS = ("push_to", "private")
GGUF_FIELDS = ("quantization",)


def build(studio: Studio) -> TabParts:
    """The export tab."""
    return ExportTab(studio).parts


class ExportTab:
    """The components and what they do."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.t = studio, studio.t
        self._build_form()
        self._build_result()
        outputs = [self.shown, *self.result]
        self.parts = TabParts([self.model, self.start, self.outlook, *outputs], self.refresh)
        look = {"inputs": [self.model, self.format, self.quantization], "outputs": [self.outlook, self.start, self.quantization]}
        for component in (self.model, self.format, self.quantization):
            view(component.change, self.look, t=self.t, **look)
        inputs = [self.studio.project, self.confirm, *self.form.inputs]
        action(self.start.click, self.on_start, inputs=inputs, outputs=[], note=self.note, t=self.t)
        view(self.shown.input, self.show, inputs=[studio.project, self.shown], outputs=outputs, t=self.t)

    def _build_form(self) -> None:
        t, missing = self.t, obstacle()
        gr.Markdown(t("export.intro"))
        leave_out = UPLOAD_FIELDS if missing else ()
        self.form = Form(ExportConfig, t, prefix="export", leave_out=leave_out, groups={t("export.upload"): UPLOAD_FIELDS})
        self.model, self.format, self.quantization = (self.form.components[name] for name in ("model", "format", "quantization"))
        self.quantization.visible = False
        self.confirm = gr.Checkbox(False, label=t("export.upload_confirm"), elem_id="export-confirm", visible=not missing, container=False)
        if missing:
            gr.Markdown(t(f"export.no_upload.{missing}"), elem_id="export-no-upload", elem_classes=["hint"])
        self.outlook = gr.Markdown("", visible=False, elem_id="export-outlook", elem_classes=["card"])
        self.start = gr.Button(t("export.start"), variant="primary", elem_id="export-start", scale=0, min_width=240)
        self.note = note_area("export-note")

    def _build_result(self) -> None:
        t = self.t
        self.shown = gr.Dropdown(choices=[], label=t("export.select"), elem_id="export-select", interactive=True)
        self.proof = gr.Markdown(t("export.none"), elem_id="export-proof", elem_classes=["card"])
        self.folder = gr.Textbox(
            "", label=t("export.folder"), interactive=False, buttons=["copy"], elem_id="export-folder", visible=False, max_lines=1
        )
        self.codes: dict[str, gr.Code] = {}
        self.uses: dict[str, gr.Tabs] = {}
        for format, programs in PROGRAMS.items():
            with gr.Tabs(visible=False, elem_id=f"export-uses-{format}") as self.uses[format]:
                for program in programs:
                    slug = program.lower().replace(".", "-")
                    with gr.Tab(program, elem_id=f"export-tab-{slug}"):
                        elem_id = "export-snippet" if program == "transformers" else f"export-snippet-{slug}"
                        language = "python" if program == "transformers" else "shell"
                        self.codes[program] = gr.Code(
                            "", language=language, interactive=False, show_label=False, lines=3, elem_id=elem_id, wrap_lines=True
                        )
        with gr.Accordion(t("export.card"), open=False, visible=False, elem_id="export-card-fold") as self.card_fold:
            with gr.Tabs():
                with gr.Tab(t("export.card_preview"), elem_id="export-tab-preview"):
                    self.preview = gr.Markdown("", elem_id="export-card-preview", elem_classes=["card"])
                with gr.Tab(t("export.card_source"), elem_id="export-tab-source"):
                    self.card = gr.Code(
                        "", language="markdown", interactive=False, show_label=False, elem_id="export-card", max_lines=30, wrap_lines=True
                    )
        self.result = [self.proof, self.folder, *self.uses.values(), *self.codes.values(), self.card_fold, self.preview, self.card]

    def refresh(self, project: Project) -> dict[Any, Any]:
        """The project's models and exports."""
        runs = finished(project, "export")
        choices = [(run_name(run, project, self.t), run.id) for run in runs]
        available = models(project, self.t)
        return {
            self.model: gr.update(choices=available, value=first(available)),
            self.shown: gr.update(choices=choices, value=first(choices)),
            **self.show(project.id, first(choices)),
        }

    def look(self, model: str | None, format: str, quantization: str) -> dict[Any, Any]:
        """What the export would meet."""
        numbers = gr.update(visible=format == "gguf")
        if not model:
            return {self.outlook: gr.update(visible=False), self.start: gr.update(interactive=True), self.quantization: numbers}
        found = outlook_of(model, format, quantization if format == "gguf" else "auto")
        return {
            self.outlook: gr.update(value=outlook_text(found, self.t), visible=True),
            self.start: gr.update(interactive=found.possible),
            self.quantization: numbers,
        }

    def show(self, project_id: str, run_id: str | None) -> dict[Any, Any]:
        """One finished export."""
        project = self.studio.open_project(project_id)
        run = next((item for item in finished(project, "export") if item.id == run_id), None)
        if run is None:
            hidden = gr.update(visible=False)
            return {self.proof: self.t("export.none"), **dict.fromkeys([self.folder, *self.uses.values(), self.card_fold], hidden)}
        output, report = Path(str(run.output)), result_of(run)
        found = {snippet.program: snippet.code for snippet in snippets(output, report)}
        card = card_source(output)
        return {
            self.proof: proof_text(report, label_of(run.config["model"], models(project, self.t)), self.t),
            self.folder: gr.update(value=str(output), visible=True),
            **{tabs: gr.update(visible=any(program in found for program in PROGRAMS[format])) for format, tabs in self.uses.items()},
            **{code: found.get(program, "") for program, code in self.codes.items()},
            self.card_fold: gr.update(visible=True),
            self.preview: card_preview(card, self.t),
            self.card: card,
        }

    def on_start(self, project_id: str, confirmed: bool, *entered: Any) -> dict[Any, Any]:
        """Hand the export to the queue; an upload only when it was confirmed."""
        t, project = self.t, self.studio.open_project(project_id)
        values = self.form.values(entered)
        if not values["model"]:
            raise ConfigError("model", t("error.no_model"), t("error.give_model"))
        if values["format"] != "gguf":
            values["quantization"] = "auto"
        if values.get("push_to") and not confirmed:
            message = t("export.upload_unconfirmed", repository=values["push_to"])
            raise ConfigError("push_to", message, t("export.upload_unconfirmed_hint"))
        self.studio.start(project, "export", values)
        return {}
