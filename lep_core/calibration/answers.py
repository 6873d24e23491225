"""Greedy answers of the original instruct model: what the calibrated model shall learn to say (method section 5).

Answers are made in batches of prompts of similar length and kept in a journal as they come, keyed by the teacher, the settings and
the prompt. A killed run goes on with the batch that it lost, and a batch is always made of the same prompts, so that the pairs are
equal to the byte, whatever the number format.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lep_core.calibration.journal import Journal
from lep_core.calibration.prompts import Prompt
from lep_core.inference.generator import Generator
from lep_core.progress import SILENT, Reporter

FINISHED = "eos"


@dataclass(frozen=True)
class Pair:
    """A prompt and the teacher's answer; `stop_reason` as in `inference.generator.Answer`."""

    prompt: str
    answer: str
    source: str
    stop_reason: str


@dataclass
class AnswerReport:
    """What the answers took. `seconds` and `tokens_per_second` count only what this attempt computed."""

    answers: int = 0
    reused: int = 0
    too_long: int = 0
    tokens: int = 0
    seconds: float = 0.0
    stop_reasons: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        computed = self.answers - self.reused
        return {
            "answers": self.answers,
            "reused": self.reused,
            "too_long": self.too_long,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "answers_per_second": computed / self.seconds if self.seconds and computed else None,
            "stop_reasons": dict(sorted(self.stop_reasons.items())),
        }


def answer_prompts(
    teacher: Generator,
    prompts: Sequence[Prompt],
    journal: Journal,
    *,
    max_new_tokens: int,
    batch_size: int,
    reporter: Reporter = SILENT,
) -> tuple[list[Pair], AnswerReport] | None:
    """The teacher's answer to each prompt that leaves room for one, in the order of the prompts; None when asked to stop.

    Raises:
        ModelError: the teacher's chat template fails, or it computes NaN.
        ResourceError: the disk is full; answers so far are kept.
    """
    report = AnswerReport()
    settings = settings_key(teacher, max_new_tokens)
    encoded = [teacher.prompts.encode(messages=[{"role": "user", "content": prompt.text}]) for prompt in prompts]
    # A prompt that fills the context is passed over; the budget is the same for all others, the context may cut it short.
    fitting = [index for index, ids in enumerate(encoded) if teacher.context is None or len(ids) < teacher.context]
    report.too_long = len(prompts) - len(fitting)
    keys = {index: _key(settings, prompts[index].text) for index in fitting}
    # Long ones first: what does not fit the memory shows at once.
    order = sorted(fitting, key=lambda index: (-len(encoded[index]), keys[index]))
    began, done = time.monotonic(), 0
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        if all(keys[index] in journal for index in batch):
            report.reused += len(batch)
        else:
            if reporter.should_stop():
                return None
            found = teacher.batch([encoded[index] for index in batch], max_new_tokens=max_new_tokens, batch_size=len(batch))
            records = [
                {
                    "key": keys[index],
                    "prompt": prompts[index].text,
                    "answer": answer.text,
                    "tokens": len(answer.token_ids),
                    "stop_reason": answer.stop_reason,
                }
                for index, answer in zip(batch, found, strict=True)
            ]
            journal.append(records)
        done += len(batch)
        reporter.progress(done, len(order), "answers")
    report.seconds = time.monotonic() - began
    pairs = []
    for index in fitting:
        record = journal[keys[index]]
        # Space around an answer belongs to the chat template, which puts its own there.
        pairs.append(Pair(prompts[index].text, record["answer"].strip(), prompts[index].source, record["stop_reason"]))
        report.tokens += record["tokens"]
        report.stop_reasons[record["stop_reason"]] += 1
    report.answers = len(pairs)
    return pairs, report


def settings_key(teacher: Generator, max_new_tokens: int) -> str:
    """A digest of everything but the prompt that decides an answer: weights, template, end tokens, length, number format."""
    parts = {
        "teacher": teacher.fingerprint,
        "template": teacher.tokenizer.chat_template,
        "eos": sorted(teacher.eos_ids),
        "max_new_tokens": max_new_tokens,
        "precision": str(next(teacher.model.parameters()).dtype),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _key(settings: str, prompt: str) -> str:
    return hashlib.sha256(f"{settings}\0{prompt}".encode()).hexdigest()[:24]
