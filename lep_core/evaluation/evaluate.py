"""All measurements of all models on the same documents and items, one model in memory at a time.

    python -m lep_core evaluate --model original adapted --task bits-per-byte instruct --input heldout.txt --items items.jsonl

Each result has n and a 95 % interval (see `intervals.py`). `differences` compares every model with the first one on the same units:
its interval is what tells whether a difference is more than chance, the overlap of two single intervals does not.
Results are reported as soon as they exist, and a stop keeps those that are complete.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from lep_core import models
from lep_core.config import ITEM_TASKS, EvaluateConfig
from lep_core.errors import CorpusError
from lep_core.evaluation import bits_per_byte, copy_task, instruct, minimal_pairs, multiple_choice
from lep_core.evaluation.items import AnyItem, Choice, Item, ItemType, MinimalPair, limited, read_items
from lep_core.evaluation.measurement import Measurement
from lep_core.evaluation.shots import Shots
from lep_core.files import write_text
from lep_core.inference.generator import Generator
from lep_core.models.devices import SMALL_MODEL_PARAMETERS
from lep_core.names import distinct_names
from lep_core.progress import SILENT, Reporter

ANSWERS_FILE = "answers.jsonl"
SMALL_MODEL_BATCH = 64
# A long book counts as many documents, or `limit` would not limit anything.
DOCUMENT_CHARACTERS = 16_384
_KEYS = {instruct.TASK: "prompt and answer", minimal_pairs.TASK: "good and bad", multiple_choice.TASK: "question, choices and answer"}
_UNITS = {bits_per_byte.TASK: "windows", minimal_pairs.TASK: "sentences", multiple_choice.TASK: "options"}


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


@dataclass(frozen=True)
class _Material:
    """What the models are measured on, the same for all."""

    documents: Sequence[str] = ()
    items: Sequence[Item] = ()
    pairs: Sequence[MinimalPair] = ()
    choices: Sequence[Choice] = ()
    shots: Shots = field(default_factory=Shots)
    sentences: Sequence[str] = ()
    paragraphs: Sequence[str] = ()


def evaluate(
    config: EvaluateConfig,
    texts: Callable[[], Iterable[str]] | Iterable[str] = (),
    *,
    items: Sequence[AnyItem] | None = None,
    output: Path | None = None,
    reporter: Reporter = SILENT,
) -> EvaluationReport:
    """Measure `config.model` on `config.task`.

    Args:
        texts: documents (or a function that opens them) for bits-per-byte and the copy tasks; the first `config.limit` are used (a long one
            counts as several).
        items: items of the tasks that need them; by default read from `config.items`.
        output: folder that receives `answers.jsonl`.

    Raises:
        CorpusError: there is no text, or an item is malformed.
        ModelError: a model cannot be loaded or computes NaN.
    """
    start = time.monotonic()
    reporter.stage("reading texts and items")
    material = _material(config, texts, items, reporter)
    names = distinct_names(config.model)
    results: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    described: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    reference: dict[tuple[str, str], Measurement] = {}
    stopped = False
    for name, source in zip(names, config.model, strict=True):
        if stopped := stopped or reporter.should_stop():
            break
        reporter.stage(f"{name}: loading")
        generator = Generator.load(source, device=config.device, precision=config.precision, threads=config.threads)
        described.append({"name": name, "path": str(generator.path), "fingerprint": generator.fingerprint})
        for task in dict.fromkeys(config.task):
            found = _measure(task, generator, name, config, material, reporter)
            if found is None:
                stopped = True
                break
            measurements, records = found
            answers += [{"model": name, **record} for record in records]
            for measurement in measurements:
                row = measurement.row(name, config.seed)
                results.append(row)
                reporter.metric(row)
                first = reference.setdefault((measurement.task, measurement.metric), measurement)
                if first is not measurement and first.n == measurement.n:
                    differences.append(measurement.difference(first, name, names[0], config.seed))
        del generator
        _free_memory()
    if output is not None:
        write_text(output / ANSWERS_FILE, "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers))
    return EvaluationReport(
        results=tuple(results),
        differences=tuple(differences),
        models=tuple(described),
        seconds=time.monotonic() - start,
        stopped=stopped,
        answers=tuple(answers),
    )


def cut_document(text: str) -> Iterator[str]:
    """A document as it is, or pieces of at most `DOCUMENT_CHARACTERS` characters of a longer one, cut after line ends where there are any."""
    start = 0
    while start < len(text):
        end = min(start + DOCUMENT_CHARACTERS, len(text))
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or text.rfind(" ", start, end) + 1 or end
        if (piece := text[start:end]).strip():
            yield piece
        start = end


def _measure(
    task: str, generator: Generator, name: str, config: EvaluateConfig, material: _Material, reporter: Reporter
) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
    reporter.stage(f"{name}: {task}")
    unit = _UNITS.get(task, "answers")

    def progress(done: int, total: int) -> None:
        reporter.progress(done, total, unit)

    options: dict[str, Any] = {"batch_size": config.batch_size, "should_stop": reporter.should_stop, "progress": progress}
    if task == bits_per_byte.TASK:
        measurement = bits_per_byte.measure_bits_per_byte(generator, material.documents, block_size=config.block_size, **options)
        return None if measurement is None else ([measurement], [])
    if task == minimal_pairs.TASK:
        return minimal_pairs.measure_minimal_pairs(generator, material.pairs, **options)
    if task == multiple_choice.TASK:
        return multiple_choice.measure_multiple_choice(generator, material.choices, shots=material.shots, **options)
    if generator.parameters < SMALL_MODEL_PARAMETERS:
        # Answers do not depend on the batch; a tiny model's time goes into the steps, not into their width.
        options["batch_size"] = max(config.batch_size, SMALL_MODEL_BATCH)
    if task == instruct.TASK:
        return instruct.measure_instruct(generator, material.items, max_new_tokens=config.max_new_tokens, shots=material.shots, **options)
    texts = material.sentences if task == copy_task.SENTENCE_TASK else material.paragraphs
    return copy_task.measure_copy(generator, texts, task=task, **options)


def _material(
    config: EvaluateConfig, texts: Callable[[], Iterable[str]] | Iterable[str], items: Sequence[AnyItem] | None, reporter: Reporter
) -> _Material:
    tasks = set(config.task)
    documents: list[str] = []
    if tasks - set(ITEM_TASKS):
        opened: Any = texts() if callable(texts) else texts
        documents = list(islice((piece for text in opened for piece in cut_document(text)), config.limit))
    listed, shots = _items(config, items) if tasks & set(ITEM_TASKS) else ([], Shots())
    sentences: list[str] = []
    paragraphs: list[str] = []
    if tasks & {copy_task.SENTENCE_TASK, copy_task.PARAGRAPH_TASK}:
        fits = _fits_all_models(config)
        if copy_task.SENTENCE_TASK in tasks:
            sentences = copy_task.sentences_of(documents, limit=config.limit, fits=fits)
        if copy_task.PARAGRAPH_TASK in tasks:
            paragraphs = copy_task.paragraphs_of(documents, limit=config.limit, fits=fits)
        reporter.message(f"texts to copy: {len(sentences)} sentences, {len(paragraphs)} paragraphs")
    return _Material(
        documents=documents,
        items=_chosen(listed, Item, instruct.TASK, config),
        pairs=_chosen(listed, MinimalPair, minimal_pairs.TASK, config),
        choices=_chosen(listed, Choice, multiple_choice.TASK, config),
        shots=shots,
        sentences=sentences,
        paragraphs=paragraphs,
    )


def _items(config: EvaluateConfig, items: Sequence[AnyItem] | None) -> tuple[list[AnyItem], Shots]:
    """What is measured, and the few-shot examples, which are never among it."""
    listed = list(read_items(config.items) if items is None else items)
    if not config.shots:
        return listed, Shots()
    if config.shot_items:
        return listed, Shots(read_items(config.shot_items), config.shots)
    examples: list[AnyItem] = []
    for kind in (Item, Choice):
        examples += [one for one in listed if isinstance(one, kind)][: config.shots]
    return [one for one in listed if one not in examples], Shots(examples, config.shots)


def _chosen(items: Sequence[AnyItem], kind: type[ItemType], task: str, config: EvaluateConfig) -> list[ItemType]:
    """The items of a task, as many as the limit allows; refused when the task is wanted and has none."""
    if task not in config.task:
        return []
    own: list[ItemType] = [item for item in items if isinstance(item, kind)]
    if not own:
        raise CorpusError(
            f"the task {task} has no item in {', '.join(config.items) or 'what was given'}",
            f"Give records with {_KEYS[task]}, or leave the task out",
        )
    return limited(own, config.limit)


def _fits_all_models(config: EvaluateConfig) -> Callable[[str], bool]:
    """Whether the prompt and the copy of a text fit the context of every model and the limit on new tokens."""
    limits = []
    for source in config.model:
        folder = models.inspect_model(models.resolve(source))
        limits.append((models.load_tokenizer(folder.path), folder.config.get("max_position_embeddings")))

    def fits(text: str) -> bool:
        prompt = copy_task.instruction_for(text)
        for tokenizer, context in limits:
            budget = copy_task.copy_budget(copy_task.own_tokens(tokenizer, text))
            # 32 tokens are room for the chat template.
            if budget > config.max_new_tokens or (context and copy_task.own_tokens(tokenizer, prompt) + 32 + budget > context):
                return False
        return True

    return fits


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
