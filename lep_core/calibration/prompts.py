"""Prompts for self-calibration: the user's own, or made from the corpus (method section 5).

From a file: JSONL or JSON records with `prompt`, or with `messages` (the last turn of the user), also the keys `conversations`
(ShareGPT), `instruction` with `input` (Alpaca) and `question`; CSV or TSV with such a column; a plain text file has a prompt a line.

From the corpus, when no file is given. Nothing here needs to understand the language:
1. Questions: sentences that end with a question mark, as they stand.
2. Tasks: the first sentences of every stretch of 2,000 characters of a document inside a template ("Continue the text:", "Explain ..."), in Russian for Cyrillic text,
   else in English; `--prompt-template` gives others. Which template a text gets is decided by a hash.
Each kind gives up to half, and the other fills what is missing.

Whatever is too short, too long, repeated, in another script or asked by the benchmark itself is left out, and counted. Of too many
those are taken whose hash (with the seed) is smallest: a random choice that depends neither on the order nor on the rest of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lep_core.calibration.sampling import HashSample, digest_of
from lep_core.calibration.scripts import main_script
from lep_core.errors import CorpusError
from lep_core.evaluation.language import prompt_language

TEMPLATES: dict[str, tuple[str, ...]] = {
    "en": (
        "Continue the text:\n{text}",
        "Explain in your own words what this text says:\n{text}",
        "Summarise the text in one sentence:\n{text}",
        "What questions does this text answer?\n{text}",
    ),
    "ru": (
        "Продолжи текст:\n{text}",
        "Объясни своими словами, о чём этот текст:\n{text}",
        "Перескажи текст одним предложением:\n{text}",
        "На какие вопросы отвечает этот текст?\n{text}",
    ),
}
LEAST_CHARACTERS = 3
QUESTION_CHARACTERS = (12, 300)
PASSAGE_CHARACTERS = (60, 600)
STRETCH_CHARACTERS = 2000
_QUESTION_MARKS = "?？؟"
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？؟])[»\"”’)]*\s+|(?<=[。！？])")
_OPENING = re.compile(r"^[\s\-–—•*>\"«“„'(]+")


@dataclass(frozen=True)
class Prompt:
    """What the teacher is asked, and where it is from (file and line, or the corpus)."""

    text: str
    source: str


@dataclass
class PromptReport:
    """How many prompts there were, and why some were left out."""

    origin: str  # "file" or "corpus"
    candidates: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    kept: int = 0

    def to_json(self) -> dict[str, object]:
        return {"origin": self.origin, "candidates": self.candidates, "dropped": dict(sorted(self.dropped.items())), "kept": self.kept}


def choose_prompts(
    candidates: Iterable[Prompt],
    report: PromptReport,
    *,
    limit: int,
    seed: int,
    longest: int,
    script: str | None = None,
    excluded: Iterable[str] = (),
) -> list[Prompt]:
    """At most `limit` different prompts in the order of their appearance; `report` is filled in.

    Args:
        longest: characters; longer prompts are left out.
        script: when given, prompts that are mainly written in another script are left out.
        excluded: prompts that measurements use.

    Raises:
        CorpusError: none is left.
    """
    measured = {normal_form(text) for text in excluded}
    accepted: dict[str, Prompt] = {}
    for prompt in candidates:
        report.candidates += 1
        normal = normal_form(prompt.text)
        reason = (
            "short"
            if len(normal) < LEAST_CHARACTERS
            else "long"
            if len(prompt.text) > longest
            else "measured"
            if normal in measured
            else "repeated"
            if normal in accepted
            else "script"
            if script is not None and main_script(prompt.text) not in (script, None)
            else None
        )
        if reason is None:
            accepted[normal] = prompt
        else:
            report.dropped[reason] += 1
    sample = HashSample(limit, seed)
    for normal in accepted:
        sample.add(normal)
    chosen = set(sample.texts())
    report.kept = len(chosen)
    if len(accepted) > len(chosen):
        report.dropped["limit"] = len(accepted) - len(chosen)
    if not chosen:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(report.dropped.items())) or "there were none"
        raise CorpusError(f"no prompt is left of {report.candidates} ({reasons})", "Give other prompts with --prompt-file, or more text")
    return [prompt for normal, prompt in accepted.items() if normal in chosen]


def prompts_from_texts(texts: Iterable[str], *, templates: Sequence[str] = (), limit: int, seed: int) -> Iterator[Prompt]:
    """At most `limit` candidates out of documents: questions and tasks, half of each where there are enough.

    Args:
        templates: take the place of the built-in ones; `{text}` stands for the passage.
    """
    questions, tasks = HashSample(limit, seed), HashSample(limit, seed)
    for text in texts:
        for question in _questions(text):
            questions.add(question)
        for passage in _passages(text):
            tasks.add(_task(passage, templates, seed))
    half = limit // 2
    wanted = max(half, limit - len(tasks))
    yield from (Prompt(text, "question") for text in questions.texts()[:wanted])
    yield from (Prompt(text, "passage") for text in tasks.texts()[: limit - min(wanted, len(questions))])


def normal_form(text: str) -> str:
    """What stays of a prompt when case, width and spaces do not count."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _questions(text: str) -> Iterator[str]:
    least, most = QUESTION_CHARACTERS
    for sentence in _sentences(text):
        if not sentence.endswith(tuple(_QUESTION_MARKS)):
            continue
        question = _OPENING.sub("", sentence)
        # A question without its beginning starts with a small letter; scripts without capitals have no such sign.
        if least <= len(question) <= most and not question[:1].islower() and sum(map(str.isalpha, question)) >= least // 2:
            yield question


def _passages(text: str) -> Iterator[str]:
    """Whole sentences from the beginning of the document and of every further stretch of it, as many as fit."""
    least, most = PASSAGE_CHARACTERS
    kept, passed, is_full = "", 0, False
    for sentence in _sentences(text):
        longer = f"{kept} {sentence}".strip()
        is_full = is_full or len(longer) > most
        kept = kept if is_full else longer
        passed += len(sentence)
        if passed >= STRETCH_CHARACTERS:
            if len(kept) >= least:
                yield kept
            kept, passed, is_full = "", 0, False
    if len(kept) >= least:
        yield kept


def _task(passage: str, templates: Sequence[str], seed: int) -> str:
    offered = templates or TEMPLATES[prompt_language(passage)]
    # The passage may hold braces: it is put in, not formatted.
    return offered[digest_of(passage, seed) % len(offered)].replace("{text}", passage)


def _sentences(text: str) -> Iterator[str]:
    for line in text.splitlines():
        for sentence in _SENTENCE_END.split(line):
            if stripped := sentence.strip():
                yield stripped
