"""What models are measured on, the same for all: documents, items, texts to copy, few-shot examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from lep_core import models
from lep_core.config import HARNESS_PREFIX, ITEM_TASKS, EvaluateConfig
from lep_core.errors import CorpusError
from lep_core.evaluation import copy_task, generation, instruct, instructions, minimal_pairs, multiple_choice
from lep_core.evaluation.harness_tasks import HarnessTasks, find_tasks
from lep_core.evaluation.items import AnyItem, Choice, Instruction, Item, MinimalPair, Reference, limited
from lep_core.evaluation.reading import read_items
from lep_core.evaluation.shots import Shots
from lep_core.progress import Reporter

# A long book counts as many documents, or `limit` would not limit anything.
DOCUMENT_CHARACTERS = 16_384
# Task -> its kind of item, and the keys to name when there is none.
KINDS: dict[str, tuple[type, str]] = {
    minimal_pairs.TASK: (MinimalPair, "good and bad"),
    multiple_choice.TASK: (Choice, "question, choices and answer"),
    instruct.TASK: (Item, "prompt and answer"),
    generation.TASK: (Reference, "prompt and references"),
    instructions.TASK: (Instruction, "prompt and constraints"),
}
# Kinds whose items serve as examples; a constraint has no answer to show.
_EXAMPLES = (Item, Choice, Reference)


@dataclass(frozen=True)
class Material:
    """What the models are measured on; `items` has a list for each task with items."""

    documents: Sequence[str] = ()
    items: dict[str, list[Any]] = field(default_factory=dict)
    shots: Shots = field(default_factory=Shots)
    copies: dict[str, list[str]] = field(default_factory=dict)
    harness: HarnessTasks | None = None

    def of(self, task: str) -> Any:
        """What a task depends on besides model and settings."""
        if self.harness is not None and task.startswith(HARNESS_PREFIX):
            return self.harness.identity(task.removeprefix(HARNESS_PREFIX))
        return [self.items.get(task), self.shots.items, self.copies.get(task)] if task in KINDS or task in self.copies else self.documents


def gather(
    config: EvaluateConfig, texts: Callable[[], Iterable[str]] | Iterable[str], items: Sequence[AnyItem] | None, reporter: Reporter
) -> Material:
    """Read what the tasks need.

    Raises:
        CorpusError: there is no text, an item is malformed, or a task has none.
    """
    tasks = set(config.task)
    documents: list[str] = []
    if tasks - set(ITEM_TASKS):
        opened: Any = texts() if callable(texts) else texts
        documents = list(islice((piece for text in opened for piece in cut_document(text)), config.limit))
    listed, shots = _items(config, items) if tasks & set(ITEM_TASKS) else ([], Shots())
    copies: dict[str, list[str]] = {}
    if tasks & {copy_task.SENTENCE_TASK, copy_task.PARAGRAPH_TASK}:
        fits = _fits_all_models(config)
        if copy_task.SENTENCE_TASK in tasks:
            copies[copy_task.SENTENCE_TASK] = copy_task.sentences_of(documents, limit=config.limit, fits=fits)
        if copy_task.PARAGRAPH_TASK in tasks:
            copies[copy_task.PARAGRAPH_TASK] = copy_task.paragraphs_of(documents, limit=config.limit, fits=fits)
        reporter.message("texts to copy: " + ", ".join(f"{len(found)} for {task}" for task, found in copies.items()))
    chosen = {task: _chosen(listed, task, config) for task in KINDS if task in tasks}
    unused = sum(not any(isinstance(item, KINDS[task][0]) for task in chosen) for item in listed)
    if unused:
        reporter.message(f"{unused} of {len(listed)} items belong to tasks that are not measured")
    harness = find_tasks(config.harness, config.harness_path, shots=config.shots, limit=config.limit) if config.harness else None
    return Material(documents=documents, items=chosen, shots=shots, copies=copies, harness=harness)


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


def _items(config: EvaluateConfig, items: Sequence[AnyItem] | None) -> tuple[list[AnyItem], Shots]:
    """What is measured, and the few-shot examples, which are never among it."""
    listed = list(read_items(config.items) if items is None else items)
    if not config.shots:
        return listed, Shots()
    if config.shot_items:
        return listed, Shots(read_items(config.shot_items), config.shots)
    examples: list[AnyItem] = []
    for kind in _EXAMPLES:
        examples += [one for one in listed if isinstance(one, kind)][: config.shots]
    return [one for one in listed if one not in examples], Shots(examples, config.shots)


def _chosen(items: Sequence[AnyItem], task: str, config: EvaluateConfig) -> list[Any]:
    """The items of a task, as many as the limit allows; refused when there is none."""
    kind, keys = KINDS[task]
    own: list[Any] = [item for item in items if isinstance(item, kind)]
    if not own:
        left = " besides the examples that --shots takes" if config.shots and not config.shot_items and kind in _EXAMPLES else ""
        raise CorpusError(
            f"the task {task} has no item in {', '.join(config.items) or 'what was given'}{left}",
            f"Give records with {keys}, or leave the task out",
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
