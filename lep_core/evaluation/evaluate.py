"""All measurements of all models on the same documents and items, one model in memory at a time.

    python -m lep_core evaluate --model original adapted --task bits-per-byte instruct --input heldout.txt --items items.jsonl

Each result has n and a 95 % interval (see `intervals.py`). `differences` compares every model with the first one on the same units:
its interval is what tells whether a difference is more than chance, the overlap of two single intervals does not.
Results are reported as soon as they exist, and a stop keeps those that are complete. With a partial folder (see `partial.py`) nothing
that was computed is lost, whatever ends the evaluation.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lep_core import __version__, models
from lep_core.config import EvaluateConfig
from lep_core.evaluation import bits_per_byte, copy_task, generation, harness, instruct, instructions, minimal_pairs, multiple_choice
from lep_core.evaluation.items import AnyItem
from lep_core.evaluation.material import Material, gather
from lep_core.evaluation.measurement import Measurement
from lep_core.evaluation.partial import Batches, Partial, digest
from lep_core.files import write_text
from lep_core.inference.fingerprint import fingerprint
from lep_core.inference.generator import Generator
from lep_core.models.devices import SMALL_MODEL_PARAMETERS
from lep_core.names import distinct_names
from lep_core.progress import SILENT, Reporter

ANSWERS_FILE = "answers.jsonl"
SMALL_MODEL_BATCH = 64
# Settings that no number depends on, or that the key of each batch and task holds in another form.
INCIDENTAL_SETTINGS = (
    "model",
    "task",
    "input",
    "items",
    "shot_items",
    "limit",
    "output",
    "resume",
    "overwrite",
    "seed",
    "text_field",
    "encoding",
)
_UNITS = {bits_per_byte.TASK: "windows", minimal_pairs.TASK: "sentences", multiple_choice.TASK: "options"}
_WITH_SHOTS = {
    instruct.TASK: instruct.measure_instruct,
    generation.TASK: generation.measure_generation,
}
Found = tuple[list[Measurement], list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """Rows of all models and tasks; `answers` holds every generated answer and is kept out of the JSON (it has its own file)."""

    results: tuple[dict[str, Any], ...]
    differences: tuple[dict[str, Any], ...]
    models: tuple[dict[str, Any], ...]
    seconds: float
    stopped: bool
    answers: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "results": list(self.results),
            "differences": list(self.differences),
            "models": list(self.models),
            "seconds": self.seconds,
            "stopped": self.stopped,
        }


def evaluate(
    config: EvaluateConfig,
    texts: Callable[[], Iterable[str]] | Iterable[str] = (),
    *,
    items: Sequence[AnyItem] | None = None,
    output: Path | None = None,
    partial: Path | None = None,
    reporter: Reporter = SILENT,
) -> EvaluationReport:
    """Measure `config.model` on `config.task`.

    Args:
        texts: documents (or a function that opens them) for bits-per-byte and the copy tasks; the first `config.limit` are used (a long one
            counts as several).
        items: items of the tasks that need them; by default read from `config.items`.
        output: folder that receives `answers.jsonl`.
        partial: folder that keeps what is finished while it runs; `config.resume` goes on from there.

    Raises:
        CorpusError: there is no text, or an item is malformed.
        ModelError: a model cannot be loaded or computes NaN.
        OutputError: `partial` holds what an earlier evaluation had finished, and the settings do not say what to do with it.
    """
    start = time.monotonic()
    with Partial(partial, resume=config.resume, overwrite=config.overwrite) as kept:
        reporter.stage("reading texts and items")
        folders = [models.inspect_model(models.resolve(source)).path for source in config.model]
        material = gather(config, texts, items, reporter)
        rows = _Rows(config, kept, reporter)
        stopped = False
        for name, folder in zip(distinct_names(config.model), folders, strict=True):
            if stopped := stopped or not _measure_model(name, folder, config, material, kept, rows, reporter):
                break
    if output is not None:
        write_text(output / ANSWERS_FILE, "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in rows.answers))
    return EvaluationReport(
        results=tuple(rows.results),
        differences=tuple(rows.differences),
        models=tuple(rows.models),
        seconds=time.monotonic() - start,
        stopped=stopped,
        answers=tuple(rows.answers),
    )


class _Rows:
    """Collects what is finished, and compares every model with the first one."""

    def __init__(self, config: EvaluateConfig, kept: Partial, reporter: Reporter) -> None:
        self.results: list[dict[str, Any]] = []
        self.differences: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self._seed, self._kept, self._reporter = config.seed, kept, reporter
        self._first: dict[tuple[str, str], Measurement] = {}

    def add(self, name: str, found: Found, *, is_new: bool) -> None:
        """Take a finished task; rows that an earlier attempt has reported are not reported again."""
        measurements, records = found
        self.answers += [{"model": name, **record} for record in records]
        for measurement in measurements:
            row = measurement.row(name, self._seed)
            self.results.append(row)
            self._kept.show(row)
            if is_new:
                self._reporter.metric(row)
            first = self._first.setdefault((measurement.task, measurement.metric), measurement)
            if first is not measurement and first.n == measurement.n:
                self.differences.append(measurement.difference(first, name, self.models[0]["name"], self._seed))


def _measure_model(
    name: str, folder: Path, config: EvaluateConfig, material: Material, kept: Partial, rows: _Rows, reporter: Reporter
) -> bool:
    """All tasks of one model, which is loaded when the first unfinished one needs it; False when the user stopped it."""
    if reporter.should_stop():
        return False
    mark = fingerprint(folder)
    rows.models.append({"name": name, "path": str(folder), "fingerprint": mark})
    settings = {key: value for key, value in config.to_mapping().items() if key not in INCIDENTAL_SETTINGS}
    scope = digest(__version__, mark, settings)
    generator: Generator | None = None
    for task in config.measured:
        key = digest(scope, task, material.of(task))
        found = kept.finished(key)
        if is_new := found is None:
            if generator is None:
                reporter.stage(f"{name}: loading")
                generator = Generator.load(folder, device=config.device, precision=config.precision, threads=config.threads)
            found = _measure(task, generator, name, config, material, kept.batches(scope), reporter)
            if found is None:
                return False
            kept.finish(key, *found)
            if unfit := sum(record.get("fits") is False for record in found[1]):
                reporter.message(f"{name}, {task}: {unfit} of {len(found[1])} prompts fill the whole context and count as wrong")
            if cut := sum(record.get("truncated") is True for record in found[1]):
                reporter.message(f"{name}, {task}: {cut} of {len(found[1])} questions are longer than the context and lost their beginning")
        rows.add(name, found, is_new=is_new)
    del generator
    _free_memory()
    return True


def _measure(
    task: str, generator: Generator, name: str, config: EvaluateConfig, material: Material, batches: Batches, reporter: Reporter
) -> Found | None:
    reporter.stage(f"{name}: {task}")
    unit = _UNITS.get(task, "answers")

    def progress(done: int, total: int) -> None:
        reporter.progress(done, total, unit)

    options: dict[str, Any] = {
        "batch_size": config.batch_size,
        "batches": batches,
        "should_stop": reporter.should_stop,
        "progress": progress,
    }
    if material.harness is not None and task.startswith(harness.PREFIX):
        return harness.measure_harness(generator, material.harness, task.removeprefix(harness.PREFIX), **options)
    if task == bits_per_byte.TASK:
        measurement = bits_per_byte.measure_bits_per_byte(generator, material.documents, block_size=config.block_size, **options)
        return None if measurement is None else ([measurement], [])
    if task == minimal_pairs.TASK:
        return minimal_pairs.measure_minimal_pairs(generator, material.items[task], **options)
    if task == multiple_choice.TASK:
        return multiple_choice.measure_multiple_choice(generator, material.items[task], shots=material.shots, **options)
    if generator.parameters < SMALL_MODEL_PARAMETERS:
        # Answers do not depend on the batch; a tiny model's time goes into the steps, not into their width.
        options["batch_size"] = max(config.batch_size, SMALL_MODEL_BATCH)
    if task in _WITH_SHOTS:
        measure = _WITH_SHOTS[task]
        return measure(generator, material.items[task], max_new_tokens=config.max_new_tokens, shots=material.shots, **options)
    if task == instructions.TASK:
        return instructions.measure_instructions(generator, material.items[task], max_new_tokens=config.max_new_tokens, **options)
    return copy_task.measure_copy(generator, material.copies[task], task=task, **options)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
