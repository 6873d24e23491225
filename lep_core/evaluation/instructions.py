"""Instructions whose keeping a program can check (IFEval, Zhou et al. 2023, arXiv 2311.07911): word counts, formats, forbidden words ...

    prompt_strict        share of prompts all of whose constraints the answer keeps
    instruction_strict   share of constraints that are kept
    prompt_loose, instruction_loose
                         the same when a constraint also counts as kept if it holds without the answer's first line, last line or
                         asterisks: models like to begin with "Sure, here it is:"

Constraints of one prompt stand or fall together, so the units of every interval are prompts: the bootstrap draws prompts with all
their constraints, and `n` counts prompts. The checks are in `constraints.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lep_core.evaluation.answering import answer_all, encode_question
from lep_core.evaluation.constraints import follows, follows_loosely
from lep_core.evaluation.items import Instruction, labels_of
from lep_core.evaluation.measurement import Measurement, grouped, grouped_shares
from lep_core.evaluation.partial import Batches
from lep_core.inference.generator import Generator

TASK = "instructions"


def measure_instructions(
    generator: Generator,
    items: Sequence[Instruction],
    *,
    max_new_tokens: int,
    batch_size: int,
    batches: Batches | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
    """Strict and loose shares overall, per language and per group, and every answer; None when `should_stop` became true."""
    prompts = [encode_question(generator, item.prompt) for item in items]
    budgets = [max_new_tokens] * len(items)
    found = answer_all(generator, prompts, budgets, batch_size=batch_size, batches=batches, should_stop=should_stop, progress=progress)
    if found is None:
        return None
    records = [_record(item, answer and answer.text) for item, answer in zip(items, found, strict=True)]
    labels, counts = labels_of(items), [float(len(item.constraints)) for item in items]
    measurements: list[Measurement] = []
    for kind in ("strict", "loose"):
        kept = [record[kind] for record in records]
        measurements += grouped_shares(TASK, f"prompt_{kind}", [all(one) for one in kept], labels)
        measurements += grouped(TASK, f"instruction_{kind}", [sum(one) for one in kept], labels, denominators=counts)
    return measurements, records


def _record(item: Instruction, text: str | None) -> dict[str, Any]:
    got = text or ""
    strict = [follows(got, constraint) for constraint in item.constraints]
    record: dict[str, Any] = {
        "task": TASK,
        "language": item.language,
        "group": item.group,
        "prompt": item.prompt,
        "constraints": [{"type": constraint.type, **constraint.values} for constraint in item.constraints],
        "got": got,
        "strict": strict,
        "loose": [follows_loosely(got, constraint) for constraint in item.constraints],
    }
    return record | {"ok": all(strict), "fits": text is not None}
