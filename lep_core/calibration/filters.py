"""Which of the teacher's answers are worth learning: rules that need no model (a judge may follow, see `judging`).

The first rule that an answer breaks names the reason why it is left out:

| reason | rule |
|---|---|
| empty | there is no text |
| unfinished | the answer was cut off by the length limit: it would teach not to end |
| short, long | characters |
| script | too few letters in the wanted script: the prompt's own, or a given one (a script is not a language) |
| repetitive | too many runs of four words that were there before, or text that packs too well: the answer goes in circles |
| repeated | a prompt that differs from an earlier one only in case, spaces or width |

Refusals are kept: whether a model should refuse is not for a filter to decide.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lep_core.calibration.answers import FINISHED, Pair
from lep_core.calibration.prompts import normal_form
from lep_core.calibration.scripts import main_script, share_of_script
from lep_core.config import CalibrateConfig

REASONS = ("empty", "unfinished", "short", "long", "script", "repetitive", "repeated", "judge")
ANY_SCRIPT, PROMPTS_SCRIPT = "any", "prompt"
EXAMPLES = 3
EXAMPLE_CHARACTERS = 300
RUN_WORDS = 4
# Shorter texts pack badly whatever they say.
LEAST_COMPRESSED_CHARACTERS = 200


@dataclass(frozen=True)
class Judged:
    """A pair with the reason why it is left out, or None; `score` is the judge's, where there is one."""

    pair: Pair
    reason: str | None
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        pair = self.pair
        return {"prompt": pair.prompt, "answer": pair.answer, "reason": self.reason, "score": self.score, "source": pair.source}


@dataclass
class FilterReport:
    """How many answers each rule left out, with examples of each, and how many are left."""

    given: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        listed = {reason: self.dropped[reason] for reason in REASONS if self.dropped[reason]}
        return {"given": self.given, "kept": self.kept, "dropped": listed, "examples": self.examples}


def filter_pairs(pairs: Sequence[Pair], config: CalibrateConfig) -> list[Judged]:
    """Every pair in order, with what the rules say."""
    seen: set[str] = set()
    judged = []
    for pair in pairs:
        normal = normal_form(pair.prompt)
        reason = reason_against(pair, config) or ("repeated" if normal in seen else None)
        if reason is None:
            seen.add(normal)
        judged.append(Judged(pair, reason))
    return judged


def report_of(judged: Iterable[Judged]) -> FilterReport:
    """Counts and examples; of each reason the first answers are shown."""
    report = FilterReport()
    for one in judged:
        report.given += 1
        if one.reason is None:
            report.kept += 1
            continue
        report.dropped[one.reason] += 1
        shown = report.examples.setdefault(one.reason, [])
        if len(shown) < EXAMPLES:
            shown.append({"prompt": _shortened(one.pair.prompt), "answer": _shortened(one.pair.answer)})
    return report


def reason_against(pair: Pair, config: CalibrateConfig) -> str | None:
    """The first rule that this answer breaks; None when it may stay."""
    answer = pair.answer
    if not answer:
        return "empty"
    if pair.stop_reason != FINISHED and not config.unfinished:
        return "unfinished"
    if len(answer) < config.min_answer_characters:
        return "short"
    if config.max_answer_characters is not None and len(answer) > config.max_answer_characters:
        return "long"
    if not _in_script(pair, config):
        return "script"
    if repeated_share(answer) > config.max_repetition or packed_characters(answer) > config.max_compression:
        return "repetitive"
    return None


def repeated_share(text: str) -> float:
    """Share of the runs of four words that occurred earlier in the text; 0 for fewer than four words.

    Scripts without spaces have few "words"; there the compression tells.
    """
    words = text.casefold().split()
    runs = [tuple(words[at : at + RUN_WORDS]) for at in range(len(words) - RUN_WORDS + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def packed_characters(text: str) -> float:
    """Characters for each byte of the zlib-packed text; 0 for texts too short to tell. (Characters, so that scripts compare.)"""
    if len(text) < LEAST_COMPRESSED_CHARACTERS:
        return 0.0
    return len(text) / len(zlib.compress(text.encode("utf-8"), 9))


def _in_script(pair: Pair, config: CalibrateConfig) -> bool:
    wanted: str | None = config.answer_script
    if wanted == ANY_SCRIPT:
        return True
    if wanted == PROMPTS_SCRIPT:
        wanted = main_script(pair.prompt)
    share = None if wanted is None else share_of_script(pair.answer, wanted)
    # An answer without letters (a number) fits every script.
    return share is None or share >= config.script_share


def _shortened(text: str) -> str:
    return text if len(text) <= EXAMPLE_CHARACTERS else text[: EXAMPLE_CHARACTERS - 1] + "…"


def conversation_record(prompt: str, answer: str, source: str) -> Mapping[str, Any]:
    """A pair as a line of `pairs.jsonl`, which every tool for instruction tuning reads."""
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], "source": source}
