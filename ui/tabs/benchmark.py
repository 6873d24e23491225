"""Benchmark: measure original, control and results on the same text and questions, and say plainly what became of the model.

What is finished is shown while the runs are still at work, and after they were stopped or killed; those go on with Resume.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.config import ITEM_TASKS, TASKS
from lep_core.errors import ConfigError
from lep_core.runs.workspace import Project
from ui.benchmarks import Results, Wish, collect, groups, start_benchmark
from ui.form import multi_choice
from ui.material import models, propagated, suggested, texts, trained
from ui.messages import action, note_area, view
from ui.studio import Studio, TabParts
from ui.tabs.benchmark_charts import CHARTS, charts, qualities, usual_quality
from ui.tabs.benchmark_results import Table, differences_table, state_text, table, verdict_text, write_downloads
from ui.uploads import keep_uploads

# Of the table of differences: model, measurement, both values, the difference with its interval, the word for it.
DIFFERENCE_WIDTHS = ("20%", "19%", "12%", "10%", "26%", "13%")
NAME_WIDTH, INTERVAL_WIDTH, NUMBER_WIDTH = 220, 210, 130
ITEM_SUFFIXES = [".jsonl", ".json", ".csv", ".tsv"]
# A few of the harness's 14,000 names, Russian ones among them; any other may be typed.
HARNESS_EXAMPLES = (
    "arc_easy",
    "arc_challenge",
    "hellaswag",
    "lambada_openai",
    "piqa",
    "winogrande",
    "truthfulqa_mc2",
    "mmlu",
    "wikitext",
    "gsm8k",
    "belebele_rus_Cyrl",
    "xwinograd_ru",
    "xstorycloze_ru",
    "xnli_ru",
    "hellaswag_ru",
    "arc_ru",
    "m_mmlu_ru",
    "mgsm_direct_ru",
)


def build(studio: Studio) -> TabParts:
    """The benchmark tab."""
    gr.Markdown(studio.t("benchmark.intro"))
    return BenchmarkTab(studio).parts()


class BenchmarkTab:
    """What is measured above, what was found below."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._build_wish()
        self.note = note_area("benchmark-note")
        self._build_results()
        self._connect()

    def _build_wish(self) -> None:
        t = self.studio.t
        self.chosen = multi_choice(t("benchmark.models"), elem_id="benchmark-models")
        with gr.Row():
            self.text = multi_choice(t("benchmark.text"), elem_id="benchmark-text")
            self.old_text = multi_choice(t("benchmark.old_text"), elem_id="benchmark-old-text")
            with gr.Column(min_width=200):
                self.items = multi_choice(t.field_label("items"), info=t("benchmark.items_info"), elem_id="benchmark-items")
                self.upload = gr.UploadButton(
                    t("benchmark.upload_items"), file_count="multiple", file_types=ITEM_SUFFIXES, size="sm", elem_id="benchmark-upload"
                )
        with gr.Row():
            self.tasks = gr.CheckboxGroup(
                [(t.choice(name), name) for name in TASKS],
                value=["bits-per-byte", "instruct"],
                label=t.field_label("task"),
                elem_id="benchmark-tasks",
                scale=3,
            )
            self.limit = gr.Number(200, precision=0, label=t.field_label("limit"), elem_id="benchmark-limit", min_width=120, scale=1)
            with gr.Column(scale=2, min_width=200):
                self.with_control = gr.Checkbox(
                    True, label=t("benchmark.control"), info=t("benchmark.control_info"), elem_id="benchmark-control"
                )
                self.with_speed = gr.Checkbox(True, label=t("benchmark.speed"), elem_id="benchmark-speed")
        with gr.Accordion(t("benchmark.harness"), open=False, elem_id="benchmark-harness-fold"):
            gr.Markdown(t("benchmark.harness_info"))
            with gr.Row():
                self.harness = multi_choice(t.field_label("harness"), choices=list(HARNESS_EXAMPLES), elem_id="benchmark-harness")
                self.harness_path = gr.Textbox(
                    label=t.field_label("harness_path"), info=t("benchmark.harness_path_info"), elem_id="benchmark-harness-path"
                )
        self.run = gr.Button(t("benchmark.run"), variant="primary", elem_id="benchmark-run", scale=0, min_width=240)

    def _build_results(self) -> None:
        t = self.studio.t
        self.seen = gr.State("")
        with gr.Row(equal_height=True):
            self.shown = gr.Dropdown(choices=[], label=t("benchmark.select"), elem_id="benchmark-select", interactive=True)
            self.quality = gr.Dropdown(
                choices=[], label=t("benchmark.quality"), elem_id="benchmark-quality", interactive=True, visible=False
            )
        with gr.Row(equal_height=True):
            self.state = gr.Markdown("", visible=False, elem_id="benchmark-state", elem_classes=["note"])
            self.resume = gr.Button(t("jobs.resume"), visible=False, elem_id="benchmark-resume", scale=0, min_width=140)
        self.said = gr.Markdown(t("benchmark.none"), elem_id="benchmark-verdict", elem_classes=["card"])
        self.table = self._dataframe("benchmark-table")
        with gr.Row():
            self.plots = {name: gr.Plot(show_label=False, elem_id=f"benchmark-plot-{name}", visible=False) for name in CHARTS[:2]}
        self.compared = gr.Markdown(f"### {t('benchmark.differences')}\n{t('benchmark.differences_info')}", visible=False)
        self.differences = self._dataframe("benchmark-differences")
        with gr.Row():
            self.plots |= {
                name: gr.Plot(show_label=False, elem_id=f"benchmark-plot-{name}", visible=False) for name in (CHARTS[2], CHARTS[5])
            }
        self.plots |= {name: gr.Plot(show_label=False, elem_id=f"benchmark-plot-{name}", visible=False) for name in CHARTS[3:5]}
        with gr.Row():
            self.downloads = [
                gr.DownloadButton(t(f"benchmark.{kind}"), size="sm", visible=False, elem_id=f"benchmark-{kind}", scale=0)
                for kind in ("csv", "json", "markdown")
            ]

    def _dataframe(self, elem_id: str) -> gr.Dataframe:
        return gr.Dataframe(
            headers=[self.studio.t("benchmark.model")],
            datatype="str",
            interactive=False,
            wrap=True,
            elem_id=elem_id,
            elem_classes=["measured"],
            visible=False,
            pinned_columns=1,
        )

    @property
    def drawn(self) -> list[Any]:
        """What `draw` may change."""
        found = [self.said, self.table, self.compared, self.differences, *self.plots.values(), *self.downloads]
        return [self.state, self.resume, self.quality, self.seen, *found]

    def _connect(self) -> None:
        studio, t = self.studio, self.studio.t
        wished: list[Any] = [self.chosen, self.text, self.old_text, self.items, self.tasks, self.limit, self.with_control, self.with_speed]
        wished += [self.harness, self.harness_path]
        action(self.run.click, self.on_run, inputs=[studio.project, *wished], outputs=[], note=self.note, t=t)
        action(self.resume.click, self.on_resume, inputs=[studio.project, self.shown], outputs=self.drawn, note=self.note, t=t)
        action(
            self.upload.upload, self.on_upload, inputs=[studio.project, self.upload, self.items], outputs=[self.items], note=self.note, t=t
        )
        view(self.shown.input, self.draw, inputs=[studio.project, self.shown], outputs=self.drawn, t=t)
        view(self.quality.input, self.on_quality, inputs=[studio.project, self.shown, self.quality], outputs=[self.plots["gain"]], t=t)
        # What is measured may arrive while a person looks at another measurement: `seen` keeps the timer from drawing the same again.
        inputs = [studio.project, self.shown, self.quality, self.seen]
        if (pulse := self.studio.pulses.get("benchmark")) is not None:
            view(pulse.change, self.on_tick, inputs=inputs, outputs=self.drawn, t=t, trigger_mode="always_last")

    def parts(self) -> TabParts:
        """What the page refreshes when the project's runs changed."""
        return TabParts([self.chosen, self.text, self.old_text, self.items, self.limit, self.shown, *self.drawn], self.refresh)

    def refresh(self, project: Project) -> dict[Any, Any]:
        """What the project offers, and its newest benchmark."""
        t = self.studio.t
        available, sources = models(project, t), texts(project, t)
        results = [value for _, value in propagated(project, t)]
        wished = [project.instruct, *[value for _, value in trained(project, t)][:1], *results]
        found = groups(project)
        questions = suggested(project, "item_files")
        return {
            self.chosen: gr.update(choices=available, value=[item for item in wished if item]),
            self.text: gr.update(choices=sources, value=[sources[0][1]] if sources else []),
            self.old_text: gr.update(choices=sources, value=suggested(project, "replay_files")),
            self.limit: gr.update(value=project.settings.get("defaults", {}).get("limit", 200)),
            self.items: gr.update(choices=[(Path(path).name, path) for path in questions], value=questions),
            self.shown: gr.update(
                choices=[(t("benchmark.name", number=len(found) - index), group) for index, group in enumerate(found)],
                value=found[0] if found else None,
            ),
            **self.draw(project.id, found[0] if found else None),
        }

    def on_run(
        self,
        project_id: str,
        picked: list[str],
        sources: list[str],
        old: list[str],
        questions: list[str],
        wanted: list[str],
        most: float | None,
        control: bool,
        speed: bool,
        harness: list[str],
        harness_path: str,
    ) -> dict[Any, Any]:
        """Queue the runs of a new benchmark."""
        t, project = self.studio.t, self.studio.open_project(project_id)
        if not picked:
            raise ConfigError("model", t("error.no_model"), t("error.give_model"))
        if not sources:
            raise ConfigError("input", t("error.no_text"), t("error.give_corpus"))
        tasks_possible = [task for task in wanted if task not in ITEM_TASKS or questions]
        if not tasks_possible and not harness:
            raise ConfigError("task", t("error.no_task"), t("error.choose_task"))
        wish = Wish(
            models=picked,
            text=sources,
            old_text=old,
            items=questions,
            tasks=tasks_possible,
            limit=int(most or 200),
            with_control=bool(control),
            with_speed=bool(speed),
            harness=[name.strip() for name in harness or [] if name.strip()],
            harness_path=(harness_path or "").strip(),
        )
        start_benchmark(self.studio, project, wish)
        return {}

    def on_upload(self, project_id: str, uploaded: list[str] | None, present: list[str]) -> dict[Any, Any]:
        """Keep the user's own items in the project, and choose them."""
        project = self.studio.open_project(project_id)
        kept = [str(path) for path in keep_uploads(project.path / "uploads", uploaded or [])]
        known = [*suggested(project, "item_files"), *kept]
        project.update_settings(item_files=known)
        return {self.items: gr.update(choices=[(Path(path).name, path) for path in known], value=[*present, *kept])}

    def on_resume(self, project_id: str, group: str | None) -> dict[Any, Any]:
        """Let the runs of a benchmark go on that have ended before their time."""
        project = self.studio.open_project(project_id)
        if group:
            for run in reversed(collect(self.studio, project, group).unfinished):
                if run.status().state in ("stopped", "failed"):
                    self.studio.backend.queue.resume(run)
        return self.draw(project_id, group)

    def on_quality(self, project_id: str, group: str | None, quality: str | None) -> dict[Any, Any]:
        """Another measurement against speed."""
        project = self.studio.open_project(project_id)
        if not group:
            return {}
        return {self.plots["gain"]: charts(collect(self.studio, project, group), project.language, self.studio.t, quality)["gain"]}

    def on_tick(self, project_id: str | None, group: str | None, quality: str | None, seen: str) -> dict[Any, Any]:
        """Draw what has arrived since."""
        return self.draw(project_id, group, quality, seen) if project_id and group else {}

    def draw(self, project_id: str, group: str | None, quality: str | None = None, seen: str = "") -> dict[Any, Any]:
        """Everything about a benchmark, or nothing when it looks as before."""
        t, project = self.studio.t, self.studio.open_project(project_id)
        hidden = gr.update(visible=False)
        if group is None:
            nothing = [
                self.state,
                self.resume,
                self.quality,
                self.table,
                self.compared,
                self.differences,
                *self.plots.values(),
                *self.downloads,
            ]
            return {self.said: t("benchmark.none"), self.seen: "", **dict.fromkeys(nothing, hidden)}
        results = collect(self.studio, project, group)
        state = state_text(results, self.studio)
        states = [run.status().state for run in results.unfinished]
        told = {
            self.state: gr.update(value=state, visible=bool(state)),
            self.resume: gr.update(visible=bool({"stopped", "failed"} & set(states))),
        }
        signature = repr((group, len(results.results), len(results.speed), len(results.differences), states))
        if signature == seen:
            return told
        return {**told, self.seen: signature, **self._draw_results(results, project, group, quality)}

    def _draw_results(self, results: Results, project: Project, group: str, quality: str | None) -> dict[Any, Any]:
        t = self.studio.t
        offered = qualities(results, t)
        if quality not in {value for _, value in offered}:
            quality = usual_quality(results, project.language)
        drawn = charts(results, project.language, t, quality)
        measured, compared = table(results, t), differences_table(results, t)
        files = write_downloads(results, group, t)
        return {
            self.said: verdict_text(results, project, self.studio),
            self.quality: gr.update(choices=offered, value=quality, visible=len(offered) > 1 and bool(results.speed)),
            self.table: gr.update(value=measured, visible=bool(measured["data"]), column_widths=_widths(measured)),
            self.compared: gr.update(visible=bool(compared["data"])),
            self.differences: gr.update(value=compared, visible=bool(compared["data"]), column_widths=list(DIFFERENCE_WIDTHS)),
            **{plot: drawn[name] for name, plot in self.plots.items()},
            **{button: gr.update(value=str(path), visible=True) for button, path in zip(self.downloads, files, strict=True)},
        }


def _widths(shown: Table) -> list[str | int]:
    """Widths of the columns: a value with its interval needs more than a bare number."""
    wide = [any("n=" in str(line[column]) for line in shown["metadata"]["display_value"]) for column in range(len(shown["headers"]))]
    return [f"{NAME_WIDTH if not column else INTERVAL_WIDTH if is_wide else NUMBER_WIDTH}px" for column, is_wide in enumerate(wide)]
