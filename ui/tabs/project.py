"""Project: which base and instruct model are adapted, whether they belong together, and what this machine offers."""

from __future__ import annotations

import shutil
from typing import Any

import gradio as gr

from lep_core.errors import ConfigError, InputError, LepError
from lep_core.models.folder import ModelFolder
from lep_core.runs.workspace import Project
from ui.apart import inspected
from ui.messages import action, both, escape, note_area
from ui.studio import Studio, TabParts
from ui.tabs import all_runs, manage_project, tour, whole_path


def build(studio: Studio) -> TabParts:
    """The project tab."""
    t = studio.t
    gr.Markdown(t("project.intro"))
    guide = tour.build(studio)
    diagnosis = gr.Markdown("", elem_id="project-diagnosis", elem_classes=["card"])
    machine = gr.Markdown("", elem_id="project-machine", elem_classes=["card"])
    with gr.Row():
        check = gr.Button(t("project.check"), elem_id="project-check", scale=0, min_width=480)
    note = note_area("project-note")
    siblings = gr.Markdown("", visible=False, elem_id="project-siblings", elem_classes=["good"])
    path = whole_path.build(studio)
    with gr.Accordion(t("project.new"), open=False, elem_id="project-new"):
        name = gr.Textbox(label=t("project.name"), info=t("project.name_info"), elem_id="project-name")
        with gr.Row():
            base = gr.Textbox(label=t.field_label("base"), info=t("project.model_info"), elem_id="project-base")
            instruct = gr.Textbox(label=t.field_label("instruct"), info=t("project.model_info"), elem_id="project-instruct")
        create = gr.Button(t("project.create"), variant="primary", elem_id="project-create", scale=0, min_width=240)
        create_note = note_area("project-create-note")
    parts = (guide, path, all_runs.build(studio), manage_project.build(studio))

    def refresh(project: Project) -> dict[Any, Any]:
        return {
            diagnosis: _diagnosis(project, studio),
            machine: _machine(project, studio),
            siblings: gr.update(visible=False),
            **{key: value for part in parts for key, value in part.refresh(project).items()},
        }

    def on_check(project_id: str) -> dict[Any, Any]:
        # Brings torch along, so only on demand.
        from lep_core.models import check_siblings

        project = studio.open_project(project_id)
        report = check_siblings(inspected(project.base or ""), inspected(project.instruct or ""))
        text = t("project.siblings_ok", shared=t.number(report.shared_tokens), extra=len(report.extra_tokens))
        return {siblings: gr.update(value=f"✔ {text}", visible=True)}

    def on_create(wished: str, base_source: str, instruct_source: str) -> dict[Any, Any]:
        from lep_core.models import check_siblings

        for field, source in (("base", base_source), ("instruct", instruct_source)):
            if not source.strip():
                raise ConfigError(field, t("error.empty_field"), t("error.give_model"))
        called = " ".join(wished.split())
        if not called:
            raise InputError(t("project.no_name"), t("project.give_name"))
        if any(item.name == called for item in studio.backend.workspace.projects()):
            raise InputError(t("project.name_taken", name=called), t("project.give_name"))
        base_model, instruct_model = inspected(base_source.strip()), inspected(instruct_source.strip())
        check_siblings(base_model, instruct_model)
        if base_model.has_chat_template and not instruct_model.has_chat_template:
            raise InputError(t("project.swapped"), t("project.swap_them"))
        made = studio.backend.workspace.create_project(called, base=base_source.strip(), instruct=instruct_source.strip())
        choices = [(item.name, item.id) for item in studio.backend.workspace.projects()]
        return {studio.project: gr.update(choices=choices, value=made.id), name: ""}

    action(check.click, on_check, inputs=[studio.project], outputs=[siblings], note=note, t=t)
    action(create.click, on_create, inputs=[name, base, instruct], outputs=[studio.project, name], note=create_note, t=t)
    return TabParts([diagnosis, machine, siblings, *(item for part in parts for item in part.outputs)], refresh)


def _diagnosis(project: Project, studio: Studio) -> str:
    """A Markdown table of both models, and what about them matters later."""
    t = studio.t
    columns: list[ModelFolder | None] = []
    problems: list[str] = []
    for source in (project.base, project.instruct):
        try:
            columns.append(inspected(source or ""))
        except LepError as error:
            columns.append(None)
            problems.append(f"⚠ {escape(both(error, t))}")
    rows = [
        (t("project.path"), [escape(source or "–") for source in (project.base, project.instruct)]),
        (t("project.architecture"), [f"{item.architecture}, {item.layers} × {item.hidden_size}" if item else "–" for item in columns]),
        (t("project.parameters"), [t.number(item.parameters) if item else "–" for item in columns]),
        (
            t("project.vocabulary"),
            [t("project.rows", tokens=t.number(item.tokenizer_size), rows=t.number(item.vocab_size)) if item else "–" for item in columns],
        ),
        (t("project.tied"), [t("project.tied_yes" if item.tied else "project.tied_no") if item else "–" for item in columns]),
        (t("project.padded"), [t.number(item.padded_rows) if item else "–" for item in columns]),
        (t("project.special"), [escape(", ".join(list(item.special_tokens)[:8]) or "–") if item else "–" for item in columns]),
        (t("project.template"), [t("yes" if item.has_chat_template else "no") if item else "–" for item in columns]),
    ]
    table = "\n".join(f"| {label} | {values[0]} | {values[1]} |" for label, values in rows)
    text = f"| | {t('field_base')} | {t('field_instruct')} |\n|---|---|---|\n{table}"
    return "\n\n".join([text, *problems])


def _machine(project: Project, studio: Studio) -> str:
    import psutil

    t = studio.t
    memory = psutil.virtual_memory()
    free = shutil.disk_usage(project.path).free
    parts = [
        t("project.cpus", count=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1),
        t("project.memory", free=t.number(memory.available / 2**30, 1), total=t.number(memory.total / 2**30, 1)),
        t("project.disk", free=t.number(free / 2**30, 1), path=escape(project.path)),
        _gpus(studio),
    ]
    return f"**{t('project.machine')}** · " + " · ".join(parts)


def _gpus(studio: Studio) -> str:
    """The GPUs' names, asked from the driver without torch."""
    try:
        import pynvml

        pynvml.nvmlInit()
        names = [pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(pynvml.nvmlDeviceGetCount())]
        pynvml.nvmlShutdown()
    except (ImportError, OSError, pynvml.NVMLError):
        names = []
    return ", ".join(escape(name) for name in names) or studio.t("project.no_gpu")
