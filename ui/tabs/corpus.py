"""Corpus: bring in text of any kind, see what is in it, and keep a part held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from lep_core.config import AddCorpusConfig
from lep_core.errors import ConfigError
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.form import Form
from ui.material import corpora, finished, first, result_of, suggested
from ui.messages import action, escape, note_area, view
from ui.studio import Studio, TabParts
from ui.uploads import keep_uploads

PAGE_DOCUMENTS = 10
PREVIEW_CHARACTERS = 2_000
FILE_TYPES = [".txt", ".md", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zst", ".zip"]


def build(studio: Studio) -> TabParts:
    """The corpus tab."""
    t = studio.t
    gr.Markdown(t("corpus.intro"))
    with gr.Row():
        with gr.Column(scale=2):
            upload = gr.File(label=t("corpus.upload"), file_count="multiple", file_types=FILE_TYPES, height=140, elem_id="corpus-upload")
        with gr.Column(scale=3):
            form = Form(AddCorpusConfig, t, prefix="corpus")
    add = gr.Button(t("corpus.add"), variant="primary", elem_id="corpus-add", scale=0, min_width=240)
    note = note_area("corpus-note")
    gr.Markdown(f"### {t('corpus.statistics')}")
    shown = gr.Dropdown(choices=[], label=t("corpus.select"), elem_id="corpus-select", interactive=True)
    statistics = gr.Markdown(t("corpus.none"), elem_id="corpus-statistics", elem_classes=["card"])
    with gr.Row():
        lengths = gr.Plot(show_label=False, elem_id="corpus-lengths", visible=False)
        scripts = gr.Plot(show_label=False, elem_id="corpus-scripts", visible=False)
    with gr.Accordion(t("corpus.preview"), open=False):
        with gr.Row():
            split = gr.Radio(
                [(t(f"split.{name}"), name) for name in ("all", "train", "heldout")],
                value="all",
                label=t("corpus.split"),
                elem_id="corpus-split",
            )
            page = gr.Number(1, label=t("corpus.page"), precision=0, minimum=1, elem_id="corpus-page", scale=0, min_width=140)
        preview = gr.Dataframe(
            headers=[t("corpus.source"), t("corpus.text")],
            datatype="str",
            interactive=False,
            wrap=True,
            elem_id="corpus-preview",
            column_widths=["25%", "75%"],
        )

    def refresh(project: Project) -> dict[Any, Any]:
        choices = corpora(project, t)
        files = suggested(project, "corpus_files")
        known = suggested(project, "text_files")
        changes: dict[Any, Any] = {
            shown: gr.update(choices=choices, value=first(choices)),
            form.components["input"]: gr.update(choices=[(Path(path).name, path) for path in known], value=files),
        }
        return {**changes, **show(project.id, first(choices))}

    def on_add(project_id: str, uploaded: list[str] | None, *entered: Any) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        values = form.values(entered)
        # Uploaded files come first; what was suggested is only taken when nothing was uploaded.
        moved = [str(path) for path in keep_uploads(project.path / "uploads", uploaded or [])]
        suggestions = set(suggested(project, "corpus_files"))
        values["input"] = [*moved, *(item for item in values["input"] if not (moved and item in suggestions))]
        if not values["input"]:
            raise ConfigError("input", t("error.no_text"), t("error.give_text"))
        studio.start(project, "add-corpus", values)
        return {upload: None}

    def show(project_id: str, path: str | None) -> dict[Any, Any]:
        project = studio.open_project(project_id)
        run = next((item for item in finished(project, "add-corpus") if str(item.output) == path), None)
        if run is None:
            hidden = gr.update(visible=False)
            return {statistics: t("corpus.none"), lengths: hidden, scripts: hidden, preview: gr.update(value=[])}
        report = result_of(run)
        return {
            statistics: _statistics(run, report, studio),
            **_histogram(lengths, report, studio),
            **_script_bars(scripts, report, studio),
            preview: gr.update(value=_rows(path or "", 1, "all")),
        }

    def turn(path: str | None, number: float | None, part: str) -> dict[Any, Any]:
        return {preview: gr.update(value=_rows(path, int(number or 1), part) if path else [])}

    action(add.click, on_add, inputs=[studio.project, upload, *form.inputs], outputs=[upload], note=note, t=t)
    outputs = [statistics, lengths, scripts, preview]
    view(shown.input, show, inputs=[studio.project, shown], outputs=outputs, t=t)
    for trigger in (page.change, split.change):
        view(trigger, turn, inputs=[shown, page, split], outputs=[preview], t=t)
    return TabParts([shown, form.components["input"], *outputs], refresh)


def _rows(path: str, number: int, part: str) -> list[list[str]]:
    from lep_core.corpus.preview import preview

    documents = preview(Path(path), (max(1, number) - 1) * PAGE_DOCUMENTS, PAGE_DOCUMENTS, part, maximum_characters=PREVIEW_CHARACTERS)
    return [[f"{Path(str(item['source'])).name}:{item['line']}", item["text"]] for item in documents]


def _statistics(run: Run, report: dict[str, Any], studio: Studio) -> str:
    t = studio.t
    lines = []
    for name in ("documents", "characters", "words", "bytes", "duplicates_exact", "duplicates_near"):
        value = report.get(name)
        if isinstance(value, int):
            lines.append((t(f"corpus.{name}"), t.number(value)))
    splits = report.get("splits")
    if isinstance(splits, dict):
        lines.append(
            (
                t("corpus.splits"),
                ", ".join(
                    f"{t(f'split.{key}') if t.has(f'split.{key}') else escape(key)}: {_count(value, t)}" for key, value in splits.items()
                ),
            )
        )
    encodings = report.get("encodings")
    if isinstance(encodings, dict):
        lines.append((t("corpus.encodings"), escape(", ".join(sorted(set(map(str, encodings.values())))))))
    if report.get("bad_rows"):
        listed = "; ".join(
            f"{item.get('source', '')}:{item.get('line', '')} {item.get('problem', item.get('reason', ''))}"
            for item in report.get("bad_rows_listed", [])[:5]
        )
        lines.append((t("corpus.bad_rows"), f"{t.number(report['bad_rows'])}: {escape(listed)}"))
    if report.get("sha256"):
        lines.append((t("corpus.hash"), f"`{report['sha256'][:16]}…`"))
    return "| | |\n|---|---|\n" + "\n".join(f"| {label} | {value} |" for label, value in lines)


def _count(value: Any, t: Any) -> str:
    if isinstance(value, dict):
        value = value.get("documents")
    return t.number(value) if isinstance(value, int) else escape(value)


def _histogram(plot: gr.Plot, report: dict[str, Any], studio: Studio) -> dict[Any, Any]:
    from ui.plots import bars

    t, histogram = studio.t, report.get("length_histogram")
    pairs = histogram_pairs(histogram)
    if not pairs:
        return {plot: gr.update(visible=False)}
    figure = bars(
        [label for label, _ in pairs],
        {t("corpus.documents"): [count for _, count in pairs]},
        title=t("corpus.lengths"),
        y=t("corpus.documents"),
    )
    return {plot: gr.update(value=figure, visible=True)}


def histogram_pairs(histogram: Any) -> list[tuple[str, float]]:
    """(label, count) for each row of a length histogram."""
    if not isinstance(histogram, list):
        return []
    pairs = []
    for row in histogram:
        low, high = row["from_characters"], row["to_characters"]
        pairs.append((f"{low}–{high}", row["documents"]))
    return pairs


def _script_bars(plot: gr.Plot, report: dict[str, Any], studio: Studio) -> dict[Any, Any]:
    from ui.plots import bars

    t, shares = studio.t, report.get("scripts")
    if not isinstance(shares, dict) or not shares:
        return {plot: gr.update(visible=False)}
    top = sorted(((str(key), value) for key, value in shares.items() if isinstance(value, (int, float))), key=lambda pair: -pair[1])[:8]
    figure = bars([key for key, _ in top], {t("corpus.share"): [value for _, value in top]}, title=t("corpus.scripts"), y=t("corpus.share"))
    return {plot: gr.update(value=figure, visible=True)}
