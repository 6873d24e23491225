"""Self-calibration as a whole: prompts, the original's answers, filters, copy tasks, tuning, and what became of it (method section 5).

    python -m lep_core calibrate --model propagated/ --teacher instruct/ --prompt-file prompts.jsonl --input corpus/ --output calibrated/

    checkpoints/
      answers.jsonl  scores.jsonl   what teacher and judge have said so far; a resumed run asks for nothing twice
      ...                           the checkpoints of the tuning
      measured/                     what was measured so far
    output/
      pairs.jsonl    what is learned, as conversations: --data reads it
      review.jsonl   every answer, with the reason when it is left out
      ...            the tuned model, unless only the pairs are wanted

Every stage depends on nothing but its inputs and the settings: a run that was killed anywhere and resumed gives the result of an
undisturbed one (on a CPU to the bit).
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lep_core import models
from lep_core.calibration.answers import AnswerReport, Pair, answer_prompts
from lep_core.calibration.copying import copy_tasks
from lep_core.calibration.filters import FilterReport, Judged, conversation_record, filter_pairs, report_of
from lep_core.calibration.journal import Journal
from lep_core.calibration.judging import keep_best, score_pairs
from lep_core.calibration.measuring import Measured, measure, measuring_texts
from lep_core.calibration.outcome import outcome
from lep_core.calibration.preview import PAIRS_FILE, REVIEW_FILE
from lep_core.calibration.prompt_files import read_prompts
from lep_core.calibration.prompts import Prompt, PromptReport, choose_prompts, normal_form, prompts_from_texts
from lep_core.calibration.scripts import main_script
from lep_core.config import CalibrateConfig
from lep_core.errors import ConfigError, CorpusError
from lep_core.evaluation.copy_task import own_tokens
from lep_core.evaluation.reading import read_items
from lep_core.files import write_text
from lep_core.inference.generator import Generator
from lep_core.progress import SILENT, Reporter
from lep_core.tuning.conversations import USER, Conversation, given_conversations
from lep_core.tuning.loop import tune
from lep_core.tuning.report import TuneReport

if TYPE_CHECKING:
    from lep_core.evaluation.items import AnyItem

Texts = Callable[[], Iterable[str]]
Result = TypeVar("Result")
ANSWERS, SCORES, MEASURED = "answers.jsonl", "scores.jsonl", "measured"
# Prompts and copy tasks are chosen from the beginning of a very large corpus.
MOST_CHARACTERS = 300_000_000
# Room for the chat template and the end token.
TEMPLATE_TOKENS = 32


@dataclass(frozen=True, kw_only=True)
class PairsReport:
    """How the pairs came about; `judge` is None without one."""

    prompts: PromptReport
    answers: AnswerReport
    filters: FilterReport
    judge: str | None
    copies: int
    kept: int

    def to_json(self) -> dict[str, Any]:
        return {
            "prompts": self.prompts.to_json(),
            "answers": self.answers.to_json(),
            "filters": self.filters.to_json(),
            "judge": self.judge,
            "copies": self.copies,
            "kept": self.kept,
        }


@dataclass(frozen=True, kw_only=True)
class CalibrateReport:
    """The result of `calibrate`: the fields of the tuning, how the pairs were made, and before against after.

    `pairs` is None for given data, `tuning` is None when only the pairs were wanted. `results` are rows of `evaluate` whose models are
    called before, after and teacher; `differences` are after - before on the same units, with intervals.
    """

    pairs: PairsReport | None = None
    tuning: TuneReport | None = None
    results: tuple[dict[str, Any], ...] = ()
    differences: tuple[dict[str, Any], ...] = ()
    outcome: tuple[dict[str, Any], ...] = ()
    seconds: float
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            **(self.tuning.to_json() if self.tuning else {}),
            "pairs": self.pairs.to_json() if self.pairs else None,
            "results": list(self.results),
            "differences": list(self.differences),
            "outcome": list(self.outcome),
            "seconds": self.seconds,
            "stopped": self.stopped,
        }

    def to_summary(self) -> dict[str, Any]:
        """For people: what came of it in whole sentences, which a table would cut off."""
        return {**self.to_json(), "outcome": "".join(f"\n  {statement['text']}" for statement in self.outcome) or None}


@dataclass
class _Made:
    """Pairs on their way: every answer with its verdict, and the copy tasks."""

    judged: list[Judged]
    copies: list[tuple[Prompt, str]] = field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        learned = [(one.pair.prompt, one.pair.answer, one.pair.source) for one in self.judged if one.reason is None]
        learned += [(prompt.text, text, prompt.source) for prompt, text in self.copies]
        return [dict(conversation_record(*one)) for one in learned]


def calibrate(
    config: CalibrateConfig,
    *,
    texts: Texts | None,
    heldout: Texts | None,
    output: Path,
    checkpoints: Path,
    reporter: Reporter = SILENT,
) -> CalibrateReport:
    """Make the pairs if there is a teacher, tune the model on them and on given data, and measure it before and after.

    Args:
        texts: documents to make prompts and copy tasks from; nothing that is measured on may be among them.
        heldout: documents to measure bits per byte on.
        output: empty folder for the result.
        checkpoints: folder that keeps what a stopped or killed run has done.

    Raises:
        LepError: a file, a model or a setting cannot be used, or nothing is left to learn from.
        KeyboardInterrupt: stopped before there was a model; the answers so far are kept.
    """
    began = time.monotonic()
    items: list[AnyItem] = list(read_items(config.items)) if config.items else []
    measured_on = [] if config.pairs_only else measuring_texts(config, heldout, reporter)
    conversations: list[Conversation] = []
    pairs, unusable = None, 0
    if config.teacher is not None:
        made, pairs = _make_pairs(config, texts, items, checkpoints=checkpoints, reporter=reporter)
        _write_pairs(made, output)
        conversations = [Conversation(messages=tuple(one["messages"]), source=one["source"]) for one in made.records()]
        if config.pairs_only:
            return CalibrateReport(pairs=pairs, seconds=time.monotonic() - began)
    if config.data:
        given = given_conversations(config, reporter)
        learnable = _unmeasured(given.conversations, items, reporter)
        conversations = [*conversations, *learnable]
        unusable = given.unusable + len(given.conversations) - len(learnable)
    tuned = tune(
        config,
        conversations,
        model=Path(config.model),
        output=output,
        checkpoints=checkpoints,
        unusable=unusable,
        reporter=reporter,
    )
    found = Measured()
    if not tuned.stopped:
        found = measure(config, items, measured_on, output=output, kept=checkpoints / MEASURED, reporter=reporter)
    return CalibrateReport(
        pairs=pairs,
        tuning=tuned,
        results=found.results,
        differences=found.differences,
        outcome=tuple(statement.to_json() for statement in outcome(found.results, found.differences)),
        seconds=time.monotonic() - began,
        stopped=tuned.stopped or found.stopped,
    )


def _make_pairs(
    config: CalibrateConfig, texts: Texts | None, items: Sequence[AnyItem], *, checkpoints: Path, reporter: Reporter
) -> tuple[_Made, PairsReport]:
    prompts, chosen = _choose(config, texts, items, reporter)
    reporter.stage("the original answers")
    teacher = _load(config, "teacher")
    if not teacher.is_chat:
        raise ConfigError("teacher", f"{teacher.path.name} has no chat template", "Give the original instruct model as --teacher")
    journal = Journal(checkpoints / ANSWERS)
    if journal.damaged_lines:
        reporter.message(f"{journal.damaged_lines} damaged lines of {journal.path.name} are passed over: their answers are made again")
    answered = answer_prompts(
        teacher, prompts, journal, max_new_tokens=config.max_new_tokens, batch_size=config.answer_batch, reporter=reporter
    )
    del teacher
    _free_memory()
    pairs, answers = _or_stop(answered)
    judged = filter_pairs(pairs, config)
    if config.judge is not None:
        judged = _ask_judge(config, judged, checkpoints, reporter)
    report = report_of(judged)
    if not report.kept:
        raise _nothing_kept(report, too_long=answers.too_long)
    made = _Made(judged, _copies(config, texts, report.kept, reporter))
    kept = report.kept + len(made.copies)
    reporter.message(f"{report.kept:,} of {report.given:,} answers are learned, and {len(made.copies):,} copy tasks")
    pairs_report = PairsReport(prompts=chosen, answers=answers, filters=report, judge=config.judge, copies=len(made.copies), kept=kept)
    return made, pairs_report


def _choose(
    config: CalibrateConfig, texts: Texts | None, items: Sequence[AnyItem], reporter: Reporter
) -> tuple[list[Prompt], PromptReport]:
    reporter.stage("choosing prompts")
    report = PromptReport("file" if config.prompt_file else "corpus")
    if config.prompt_file:
        unusable: list[str] = []
        skips = config.bad_conversations == "skip"
        candidates: Iterable[Prompt] = read_prompts(
            config.prompt_file, encoding=config.encoding, on_bad=unusable.append if skips else None, reporter=reporter
        )
    else:
        unusable = []
        # More than needed, because rules and repetitions will take some away.
        wanted = 2 * config.max_prompts
        candidates = prompts_from_texts(_opened(texts), templates=config.prompt_template, limit=wanted, seed=config.seed)
    prompts = choose_prompts(
        candidates,
        report,
        limit=config.max_prompts,
        seed=config.seed,
        longest=config.max_prompt_characters,
        script=None if config.answer_script in ("prompt", "any") else config.answer_script,
        excluded=_questions(items),
    )
    if unusable:
        report.dropped["unusable"] = len(unusable)
        reporter.message(f"{len(unusable):,} records hold no prompt and were skipped, the first: {unusable[0]}")
    return prompts, report


def _questions(items: Sequence[AnyItem]) -> list[str]:
    """What is measured on: it is never learned."""
    return [text for item in items for text in (getattr(item, "prompt", None), getattr(item, "question", None)) if text]


def _unmeasured(conversations: list[Conversation], items: Sequence[AnyItem], reporter: Reporter) -> list[Conversation]:
    """The given conversations in which nobody asks what is measured on."""
    asked = {normal_form(text) for text in _questions(items)}
    if not asked:
        return conversations
    found = [
        one
        for one in conversations
        if not any(message["role"] == USER and normal_form(message["content"]) in asked for message in one.messages)
    ]
    if left_out := len(conversations) - len(found):
        reporter.message(f"{left_out:,} of {len(conversations):,} conversations ask what is in --items and are not learned")
    if not found:
        raise CorpusError("all conversations ask what is in --items", "Measure on other items than those that are learned")
    return found


def _ask_judge(config: CalibrateConfig, judged: list[Judged], checkpoints: Path, reporter: Reporter) -> list[Judged]:
    reporter.stage("the judge reads the answers")
    judge = _load(config, "judge")
    journal = Journal(checkpoints / SCORES)
    scores = score_pairs(
        judge,
        judged,
        journal,
        method=config.judge_method,
        template=config.judge_template,
        batch_size=config.answer_batch,
        reporter=reporter,
    )
    del judge
    _free_memory()
    return keep_best(judged, _or_stop(scores), config.judge_share)


def _copies(config: CalibrateConfig, texts: Texts | None, answers: int, reporter: Reporter) -> list[tuple[Prompt, str]]:
    """As many copy tasks as make up their share of the conversations; fewer when the text has no more."""
    count = round(answers * config.copy_share / (1 - config.copy_share))
    if texts is None or not count:
        return []
    reporter.stage("choosing texts to copy")
    folder = models.inspect_model(config.model)
    tokenizer = models.load_tokenizer(folder.path)
    context = folder.config.get("max_position_embeddings")
    room = min(config.chosen("max_length"), context or config.chosen("max_length"))

    def fits(prompt: str, text: str) -> bool:
        return own_tokens(tokenizer, prompt) + own_tokens(tokenizer, text) + TEMPLATE_TOKENS <= room

    found = copy_tasks(
        _opened(texts), count=count, seed=config.seed, longest=config.copy_characters, template=config.copy_template, fits=fits
    )
    script = config.answer_script
    if script not in ("prompt", "any"):
        found = [one for one in found if main_script(one[1]) in (script, None)]
    return found


def _opened(texts: Texts | None) -> Iterator[str]:
    """The documents, up to a bound on their characters."""
    left = MOST_CHARACTERS
    for text in texts() if texts is not None else ():
        if left <= 0:
            return
        left -= len(text)
        yield text


def _load(config: CalibrateConfig, role: str) -> Generator:
    return Generator.load(getattr(config, role), device=config.device, precision=config.precision, threads=config.threads)


def _or_stop(result: Result | None) -> Result:
    if result is None:
        raise KeyboardInterrupt
    return result


def _nothing_kept(report: FilterReport, *, too_long: int) -> CorpusError:
    if too_long and not report.given:
        return CorpusError(f"all {too_long:,} prompts fill the whole context of the teacher", "Give shorter prompts")
    if not report.given:
        return CorpusError("no prompt was found or could be made from the text", "Give prompts with --prompt-file, or longer text")
    reasons = ", ".join(f"{reason}: {count}" for reason, count in report.to_json()["dropped"].items())
    first = next(iter(report.to_json()["dropped"]), "")
    hints = {
        "unfinished": "Raise --max-new-tokens",
        "script": "Give prompts in the language of the answers, or --answer-script any",
        "short": "Lower --min-answer-characters",
        "long": "Raise --max-answer-characters",
    }
    return CorpusError(
        f"none of the {report.given} answers is left to learn from ({reasons})",
        hints.get(first, "Give other prompts, or loosen the filters"),
    )


def _write_pairs(made: _Made, output: Path) -> None:
    copies = [Judged(Pair(prompt.text, text, prompt.source, ""), None) for prompt, text in made.copies]
    write_text(output / PAIRS_FILE, _lines(made.records()))
    write_text(output / REVIEW_FILE, _lines(one.to_json() for one in [*made.judged, *copies]))


def _lines(records: Iterable[Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
