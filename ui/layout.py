"""The page: header with the project selector, the tabs in the order of the work, the jobs panel, one timer for all.

A timer asks once a second and a half what changed; parts that look the same as before are left alone. All state is in the
run directories and the selected project in the browser, so a reload changes nothing.
"""

from __future__ import annotations

import hashlib
from typing import Any

import gradio as gr

from lep_core.errors import LepError
from lep_core.runs.workspace import Project
from ui.i18n import LANGUAGE_NAMES, LANGUAGES, Translator
from ui.job_panel import JobPanel, job_selector
from ui.messages import unexpected, view
from ui.studio import TABS, Backend, Studio, TabParts, latest_project
from ui.tabs import benchmark, calibrate, chat, corpus, export, propagate, tokenizer, train
from ui.tabs import project as project_tab

TICK_SECONDS = 1.5
BUILDERS = {
    "project": project_tab.build,
    "corpus": corpus.build,
    "tokenizer": tokenizer.build,
    "train": train.build,
    "propagate": propagate.build,
    "calibrate": calibrate.build,
    "chat": chat.build,
    "benchmark": benchmark.build,
    "export": export.build,
}


def theme() -> Any:
    """LEP Studio's look: system fonts, calm colours, in light and dark."""
    fonts = ["ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]
    return gr.themes.Base(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        font=fonts,
        font_mono=mono,
        radius_size="md",
        spacing_size="sm",
        text_size="md",
    ).set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="white",
        block_label_text_weight="600",
        block_title_text_weight="600",
        block_shadow="none",
        block_border_width="1px",
    )


def build_page(backend: Backend, *, language: str) -> gr.Blocks:
    """The whole page in one language."""
    t = Translator(language)
    with gr.Blocks(title="LEP Studio", fill_width=True, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        remembered = gr.BrowserState({}, storage_key="lep-studio", secret="not-secret")  # noqa: S106 - which tab was open, nothing more
        # Outside the tabs: what is inside one is not read from the browser before the tab is shown.
        shown_chats = gr.BrowserState({}, storage_key="lep-studio-chats", secret="not-secret")  # noqa: S106 - which chat was open
        seen = gr.State({})
        timer = gr.Timer(TICK_SECONDS)
        selector = _header(t)
        with gr.Tabs(elem_id="steps", overflow_behavior="wrap") as tabs:
            studio = Studio(backend=backend, t=t, project=selector, tabs=tabs, job=job_selector(t), shown_chats=shown_chats)
            parts = {name: _tab(name, studio) for name in TABS}
        with gr.Sidebar(position="right", width=290, elem_id="jobs"):
            panel = JobPanel(studio)
        panel.connect()
        _connect(page, timer, studio, panel, parts, remembered, seen)
    return page


def _header(t: Translator) -> gr.Dropdown:
    with gr.Row(elem_id="header", equal_height=True):
        gr.Markdown(f"# LEP Studio\n{t('app.subtitle')}", elem_id="title")
        selector = gr.Dropdown(
            choices=[], label=t("project.selector"), elem_id="project-select", interactive=True, filterable=False, min_width=220, scale=0
        )
        with gr.Row(elem_id="switches"):
            gr.Button(t("app.dark"), link="/?__theme=dark", size="sm", elem_id="theme-dark", min_width=70)
            gr.Button(t("app.light"), link="/?__theme=light", size="sm", elem_id="theme-light", min_width=70)
            for name in LANGUAGES:
                if name != t.language:
                    gr.Button(LANGUAGE_NAMES[name], link=f"/?language={name}", size="sm", elem_id=f"language-{name}", min_width=90)
    return selector


def _tab(name: str, studio: Studio) -> TabParts:
    t = studio.t
    with gr.Tab(t(f"tab.{name}"), id=name, elem_id=f"tab-{name}"):
        parts = BUILDERS[name](studio)
        following = next(iter(TABS[TABS.index(name) + 1 :]), None)
        with gr.Row(elem_classes=["next-step"], equal_height=True):
            gr.Markdown(t(f"next.{name}"))
            if following is not None:
                forward = gr.Button(t("next.button", tab=t(f"tab.{following}")), elem_id=f"next-{name}", scale=0, min_width=220)
                view(forward.click, lambda: {studio.tabs: gr.update(selected=following)}, inputs=[], outputs=[studio.tabs], t=t)
    return parts


def _connect(
    page: gr.Blocks,
    timer: gr.Timer,
    studio: Studio,
    panel: JobPanel,
    parts: dict[str, TabParts],
    remembered: gr.BrowserState,
    seen: gr.State,
) -> None:
    outputs = [studio.project, seen, *panel.outputs, *(item for part in parts.values() for item in part.outputs)]
    # Every answer to the browser touches all outputs of its event: the ticks have this one, and only a change draws the tabs.
    state_of_things = gr.Textbox("", visible="hidden", elem_id="state-of-things")

    def look(project_id: str | None, selected: str | None) -> dict[Any, Any]:
        projects = studio.backend.workspace.projects()
        opened = next((item for item in projects if item.id == project_id), None)
        found = [project_id, [(item.name, item.id) for item in projects], opened and _signatures(panel, opened, selected)]
        return {state_of_things: hashlib.sha256(repr(found).encode()).hexdigest()}

    def show(project_id: str | None, selected: str | None, before: dict[str, str]) -> dict[Any, Any]:
        choices = [(item.name, item.id) for item in studio.backend.workspace.projects()]
        changes: dict[Any, Any] = {}
        after = {"projects": repr(choices)}
        known = {value for _, value in choices}
        current = project_id if project_id in known else None
        if current is None and (latest := latest_project(studio.backend.workspace)) is not None:
            current = latest.id
        if after["projects"] != before.get("projects") or current != project_id:
            changes[studio.project] = gr.update(choices=choices, value=current)
        if current is None:
            return {**changes, seen: after}
        opened = studio.backend.workspace.project(current)
        after |= _signatures(panel, opened, selected)
        if after["panel"] != before.get("panel"):
            changes |= panel.render(opened, selected)
        sent = {key: value for key, value in before.items() if key.startswith("sent ") and current == before.get("current")}
        after["current"] = current
        if after["runs"] != before.get("runs"):
            for part in parts.values():
                changes |= _news(_refreshed(part, opened, studio.t), sent)
        after |= sent
        return {**changes, seen: after} if after != before else {}

    def load(saved: dict[str, str] | None) -> dict[Any, Any]:
        wished = (saved or {}).get("project")
        try:
            changes = show(wished, "", {})
        except LepError:
            changes = show(None, "", {})
        tab = (saved or {}).get("tab")
        changes[studio.tabs] = gr.update(selected=tab) if tab in TABS else gr.skip()
        return changes

    def remember(project_id: str | None, saved: dict[str, str] | None, event: gr.SelectData) -> dict[Any, Any]:
        names = {studio.t(f"tab.{name}"): name for name in TABS}
        return {remembered: {**(saved or {}), "project": project_id, "tab": names.get(str(event.value), TABS[0])}}

    def remember_project(project_id: str | None, saved: dict[str, str] | None) -> dict[Any, Any]:
        return {remembered: {**(saved or {}), "project": project_id}} if project_id else {}

    view(page.load, load, inputs=[remembered], outputs=[*outputs, studio.tabs], t=studio.t)
    view(timer.tick, look, inputs=[studio.project, panel.select], outputs=[state_of_things], t=studio.t)
    for trigger in (state_of_things.change, studio.project.change, panel.select.change):
        view(trigger, show, inputs=[studio.project, panel.select, seen], outputs=outputs, t=studio.t, trigger_mode="always_last")
    view(studio.project.change, remember_project, inputs=[studio.project, remembered], outputs=[remembered], t=studio.t)
    studio.tabs.select(
        remember, inputs=[studio.project, remembered], outputs=[remembered], queue=False, show_progress="hidden", api_visibility="private"
    )


def _signatures(panel: JobPanel, project: Project, selected: str | None) -> dict[str, str]:
    """What the jobs panel and the tabs are drawn from, in short: equal ones need no drawing."""
    runs = [(run.id, run.status().state) for run in project.runs()]
    return {"panel": panel.signature(project, selected), "runs": repr((project.id, project.settings, runs))}


def _refreshed(part: TabParts, project: Project, t: Translator) -> dict[Any, Any]:
    """What a tab shows; a tab that cannot be drawn (a damaged folder) leaves the others alone."""
    try:
        return part.refresh(project)
    except LepError as error:
        gr.Warning(f"{error.message}. {error.hint}")
    except BaseException as error:  # noqa: BLE001 - the boundary of the interface, see `ui.messages`
        gr.Warning(unexpected(error, t))
    return {}


def _news(changes: dict[Any, Any], sent: dict[str, str]) -> dict[Any, Any]:
    """Only what differs from what was sent before: what a person has chosen or typed since is left alone."""
    kept = {}
    for component, change in changes.items():
        key, digest = f"sent {component._id}", hashlib.sha256(repr(change).encode()).hexdigest()[:16]
        if sent.get(key) != digest:
            sent[key] = digest
            kept[component] = change
    return kept
