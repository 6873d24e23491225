"""The page: header with the project selector, the tabs in the order of the work, the jobs panel, one timer for all.

A timer asks once a second and a half what changed; the panel and the open tab are drawn when it did, any other tab when it is
opened. All state is in the run directories, and which project and tab are open in the browser, so a reload changes nothing.
"""

from __future__ import annotations

import hashlib
from functools import partial
from threading import Lock
from typing import Any

import gradio as gr

from lep_core.errors import LepError
from lep_core.runs.run import Run
from lep_core.runs.status import RunStatus
from lep_core.runs.workspace import Project
from ui import toasts
from ui.api import add_endpoints
from ui.i18n import LANGUAGE_NAMES, LANGUAGES, Translator
from ui.job_panel import JobPanel, job_selector
from ui.messages import both, unexpected, view
from ui.run_states import ended_signature, live_signature, statuses
from ui.studio import TABS, Backend, Studio, TabParts, latest_project
from ui.tabs import benchmark, calibrate, chat, corpus, export, glossary, propagate, tokenizer, train
from ui.tabs import project as project_tab

TICK_SECONDS = 1.5
LIVE_TABS = ("train", "benchmark")
"""Tabs that are also drawn while a run is at work."""
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


class Visit:
    """What one browser shows: its project and open tab, and what was drawn and sent. The server keeps it for the session; handlers change
    it in place, one at a time, so that none forgets what another has sent meanwhile."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.project: str | None = None
        self.projects = ""
        self.tab = ""
        self.drawn: dict[str, str] = {}
        self.sent: dict[str, str] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Visit:
        return Visit()

    def enter(self, project_id: str | None) -> None:
        """Another project: nothing of it is on the page yet."""
        if project_id != self.project:
            self.project, self.drawn, self.sent = project_id, {}, {}


def build_page(backend: Backend, *, language: str) -> gr.Blocks:
    """The whole page in one language."""
    t = Translator(language)
    with gr.Blocks(title="LEP Studio", fill_width=True, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        remembered = gr.BrowserState({}, storage_key="lep-studio", secret="not-secret")  # noqa: S106 - which tab was open, nothing more
        # Outside the tabs: what is inside one is not read from the browser before the tab is shown.
        shown_chats = gr.BrowserState({}, storage_key="lep-studio-chats", secret="not-secret")  # noqa: S106 - which chat was open
        visit = gr.State(Visit())
        timer = gr.Timer(TICK_SECONDS)
        # Every answer to the browser touches all outputs of its event: a tick has these, and only their changes draw anything.
        state_of_things = gr.Textbox("", visible="hidden", elem_id="state-of-things")
        pulses = {name: gr.Textbox("", visible="hidden", elem_id=f"pulse-{name}") for name in LIVE_TABS}
        selector = _header(t)
        with gr.Tabs(elem_id="steps", overflow_behavior="wrap") as tabs:
            studio = Studio(backend=backend, t=t, project=selector, tabs=tabs, job=job_selector(t), shown_chats=shown_chats, pulses=pulses)
            opened = {name: _tab(name, studio) for name in TABS}
        with gr.Sidebar(position="right", width=290, elem_id="jobs"):
            panel = JobPanel(studio)
        panel.connect()
        Drawing(studio, panel, {name: parts for name, (_, parts) in opened.items()}).connect(
            page, timer, state_of_things, remembered, visit, {name: tab for name, (tab, _) in opened.items()}
        )
        toasts.connect(studio, state_of_things)
        add_endpoints(backend)
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


def _tab(name: str, studio: Studio) -> tuple[gr.Tab, TabParts]:
    t = studio.t
    with gr.Tab(t(f"tab.{name}"), id=name, elem_id=f"tab-{name}") as tab:
        parts = BUILDERS[name](studio)
        glossary.build(t, name)
        following = next(iter(TABS[TABS.index(name) + 1 :]), None)
        with gr.Row(elem_classes=["next-step"], equal_height=True):
            gr.Markdown(t(f"next.{name}"))
            if following is not None:
                forward = gr.Button(t("next.button", tab=t(f"tab.{following}")), elem_id=f"next-{name}", scale=0, min_width=220)
                view(forward.click, lambda: {studio.tabs: gr.update(selected=following)}, inputs=[], outputs=[studio.tabs], t=t)
    return tab, parts


class Drawing:
    """Draws the panel and the open tab where they look different from what a browser shows; other tabs once, and again when opened."""

    def __init__(self, studio: Studio, panel: JobPanel, parts: dict[str, TabParts]) -> None:
        self.studio, self.panel, self.parts = studio, panel, parts

    def connect(
        self,
        page: gr.Blocks,
        timer: gr.Timer,
        state_of_things: gr.Textbox,
        remembered: gr.BrowserState,
        visit: gr.State,
        tabs: dict[str, gr.Tab],
    ) -> None:
        """Connect loading, ticks, choices and the opening of tabs."""
        studio, t = self.studio, self.studio.t
        self.state_of_things, self.remembered = state_of_things, remembered
        here = [studio.project, self.panel.select, visit]
        outputs = [studio.project, *self.panel.outputs, *(item for part in self.parts.values() for item in part.outputs)]
        before = view(page.load, self.load, inputs=[remembered, visit], outputs=[*outputs, studio.tabs], t=t)
        for name in TABS:
            # One after the other once the open tab is there: a tab must be whole when a person turns to it and types.
            before = view(before.then, partial(self.prepare, name), inputs=[visit], outputs=self.parts[name].outputs, t=t)
        view(timer.tick, self.look, inputs=here, outputs=[state_of_things, *studio.pulses.values()], t=t)
        for trigger in (state_of_things.change, studio.project.change, self.panel.select.change):
            view(trigger, self.show, inputs=here, outputs=outputs, t=t, trigger_mode="always_last")
        view(studio.project.change, self.remember, inputs=[studio.project, visit], outputs=[remembered], t=t)
        for name, tab in tabs.items():
            drawn = [remembered, *filter(None, [studio.pulses.get(name)]), *self.parts[name].outputs]
            view(tab.select, partial(self.open, name), inputs=[studio.project, visit], outputs=drawn, t=t, trigger_mode="always_last")

    def load(self, saved: dict[str, str] | None, visit: Visit) -> dict[Any, Any]:
        """A page that has just come: its project and tab as they were left, else the newest project."""
        wished, tab = (saved or {}).get("project"), (saved or {}).get("tab")
        with visit.lock:
            visit.tab = tab if tab in TABS else TABS[0]
        changes = self.show(wished, "", visit)
        changes[self.studio.tabs] = gr.update(selected=visit.tab) if visit.tab != TABS[0] else gr.skip()
        return changes

    def look(self, project_id: str | None, selected: str | None, visit: Visit) -> dict[Any, Any]:
        """What there is, in short; a tab that shows work in progress has a text of its own that changes with it."""
        projects = self.studio.backend.workspace.projects()
        opened = next((item for item in projects if item.id == project_id), None)
        found: list[Any] = [project_id, [(item.name, item.id) for item in projects]]
        changes: dict[Any, Any] = {}
        if opened is not None:
            states = statuses(opened)
            found += [self.panel.signature(opened, selected, states), ended_signature(opened, states)]
            changes = self._pulse(opened, states, visit)
        return {**changes, self.state_of_things: _digest(found)}

    def show(self, project_id: str | None, selected: str | None, visit: Visit) -> dict[Any, Any]:
        """The list of projects, the panel and the open tab, each where it differs from what this browser has."""
        with visit.lock:
            projects = self.studio.backend.workspace.projects()
            choices = [(item.name, item.id) for item in projects]
            current = next((item for item in projects if item.id == project_id), None) or latest_project(self.studio.backend.workspace)
            current_id = None if current is None else current.id
            changes: dict[Any, Any] = {}
            if repr(choices) != visit.projects or current_id != project_id:
                visit.projects = repr(choices)
                changes[self.studio.project] = gr.update(choices=choices, value=current_id)
            visit.enter(current_id)
            if current is None:
                return changes
            states = statuses(current)
            signature = self.panel.signature(current, selected, states)
            if signature != visit.drawn.get("panel"):
                visit.drawn["panel"] = signature
                changes |= self.panel.render(current, selected)
            return changes | self._tab(visit.tab, current, states, visit)

    def open(self, name: str, project_id: str | None, visit: Visit) -> dict[Any, Any]:
        """A tab that a person turns to. A page that is being loaded tells of its first tab, too: `load` knows better."""
        if not visit.tab or not project_id:
            return {}
        project = self.studio.open_project(project_id)
        with visit.lock:
            visit.tab = name
            visit.enter(project.id)
            states = statuses(project)
            changes = self._pulse(project, states, visit) | self._tab(name, project, states, visit)
        return {**changes, self.remembered: {"project": project_id, "tab": name}}

    def prepare(self, name: str, visit: Visit) -> dict[Any, Any]:
        """A tab that nobody has opened yet."""
        with visit.lock:
            if visit.project is None or name in visit.drawn:
                return {}
            project = self.studio.open_project(visit.project)
            return self._tab(name, project, statuses(project), visit)

    def remember(self, project_id: str | None, visit: Visit) -> dict[Any, Any]:
        """Open the same project and tab when this browser comes again."""
        return {self.remembered: {"project": project_id, "tab": visit.tab or TABS[0]}} if project_id else {}

    def _tab(self, name: str, project: Project, states: dict[Run, RunStatus], visit: Visit) -> dict[Any, Any]:
        """What has changed on a tab since it was drawn, or nothing; the caller holds the lock."""
        signature = ended_signature(project, states)
        if visit.drawn.get(name) == signature:
            return {}
        visit.drawn[name] = signature
        return _news(_refreshed(self.parts[name], project, self.studio.t), visit.sent)

    def _pulse(self, project: Project, states: dict[Run, RunStatus], visit: Visit) -> dict[Any, Any]:
        pulse = self.studio.pulses.get(visit.tab)
        if pulse is None:
            return {}
        return {pulse: _digest([ended_signature(project, states), live_signature(states, self.studio.backend.queue)])}


def _refreshed(part: TabParts, project: Project, t: Translator) -> dict[Any, Any]:
    """What a tab shows; a tab that cannot be drawn (a damaged folder) leaves the others alone."""
    try:
        return part.refresh(project)
    except LepError as error:
        gr.Warning(both(error, t))
    except BaseException as error:  # noqa: BLE001 - the boundary of the interface, see `ui.messages`
        gr.Warning(unexpected(error, t))
    return {}


def _digest(found: Any) -> str:
    return hashlib.sha256(repr(found).encode()).hexdigest()[:16]


def _news(changes: dict[Any, Any], sent: dict[str, str]) -> dict[Any, Any]:
    """Only what differs from what was sent before: what a person has chosen or typed since is left alone."""
    kept = {}
    for component, change in changes.items():
        key, digest = str(component._id), _digest(change)
        if sent.get(key) != digest:
            sent[key] = digest
            kept[component] = change
    return kept
