"""Layouts of minimal pairs and multiple choice: our own, BLiMP, RuBLiMP, MMLU, ARC, XCOPA."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from lep_core.errors import CorpusError
from lep_core.evaluation.items import LETTERS, Choice, MinimalPair
from lep_core.evaluation.record import Record

# "because" and "so", by language: XCOPA's questions become one sentence (Ponti et al. 2020).
CONNECTORS = {
    "de": ("weil", "deshalb"),
    "en": ("because", "so"),
    "es": ("porque", "por eso"),
    "et": ("sest", "seetõttu"),
    "fr": ("parce que", "donc"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "kk": ("өйткені", "сондықтан"),
    "pl": ("ponieważ", "więc"),
    "ru": ("потому что", "поэтому"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "tr": ("çünkü", "bu yüzden"),
    "uk": ("тому що", "тому"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}


def pair(good: str, bad: str) -> Callable[[Record], MinimalPair]:
    """A reader of minimal pairs under two keys."""

    def parse(record: Record) -> MinimalPair:
        group = record.values.get("UID")
        return MinimalPair(
            good=record.text(good),
            bad=record.text(bad),
            language=record.language,
            group=group if isinstance(group, str) and group else record.group,
        )

    return parse


def multiple_choice(record: Record) -> Choice:
    """`question`, `choices` (a list, or its JSON in a CSV column), `answer`."""
    choices = record.values["choices"]
    if isinstance(choices, str):
        try:
            choices = json.loads(choices)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f'{record.place}: "choices" is no JSON list', 'Write ["first", "second"]') from error
    return _choice(record, question=record.text("question"), options=choices, answer=record.values.get("answer"))


def mmlu(record: Record) -> Choice:
    """`question`, `choice0`, `choice1` ..., `answer` (Hendrycks et al. 2021)."""
    numbers = sorted(int(key[6:]) for key in record.values if re.fullmatch(r"choice(?:0|[1-9]\d{0,2})", key))
    if numbers != list(range(len(numbers))):
        missing = next(number for number, found in enumerate(numbers) if number != found)
        raise CorpusError(
            f'{record.place} has no "choice{missing}" before its "choice{numbers[-1]}"', "Number the choices from 0 without gaps"
        )
    options = [record.values[f"choice{number}"] for number in numbers]
    return _choice(record, question=record.text("question"), options=options, answer=record.values.get("answer"))


def arc(record: Record) -> Choice:
    """`question`, `choices` with `text` and `label`, `answerKey` (Clark et al. 2018); the options continue the question."""
    question, listed = record.values["question"], record.values.get("choices")
    if isinstance(question, dict):  # the layout of the original files
        question, listed = question.get("stem"), question.get("choices")
    if isinstance(listed, list) and all(isinstance(one, dict) for one in listed):
        listed = {"text": [one.get("text") for one in listed], "label": [one.get("label") for one in listed]}
    if not isinstance(listed, dict) or not isinstance(listed.get("text"), list) or not isinstance(listed.get("label"), list):
        raise CorpusError(f'{record.place}: "choices" has no lists "text" and "label"', "Give ARC's own layout")
    if len(listed["text"]) != len(listed["label"]):
        raise CorpusError(
            f"{record.place} has {len(listed['text'])} choices and {len(listed['label'])} labels", "Give each choice its label"
        )
    key = record.values["answerKey"]
    if key not in listed["label"]:
        raise CorpusError(f'{record.place}: "answerKey" is {key!r:.60}, the labels are {listed["label"]!r:.100}', "Give one of the labels")
    question = Record(record.place, {"question": question}, record.path).text("question")
    return _choice(record, question=question, options=listed["text"], answer=listed["label"].index(key), cloze=True)


def xcopa(record: Record) -> Choice:
    """`premise`, `choice1`, `choice2`, `question` (cause or effect), `label`; the options continue "premise because"."""
    values = record.values
    language = record.language or next((part for part in record.path.name.split(".") if part in CONNECTORS), None)
    if values["question"] not in ("cause", "effect"):
        raise CorpusError(f'{record.place}: "question" is {values["question"]!r:.60}', 'Write "cause" or "effect"')
    connector = values.get("connector") or (CONNECTORS[language][values["question"] == "effect"] if language in CONNECTORS else None)
    if not isinstance(connector, str):
        raise CorpusError(
            f"{record.place}: the words for because and so are not known for this language",
            f'Add "connector" (the word itself), or "language" with one of {", ".join(CONNECTORS)}',
        )
    premise = record.text("premise").strip().rstrip(".。")
    options = [record.text(name) for name in ("choice1", "choice2")]
    return Choice(
        question=f"{premise} {connector}",
        options=tuple(option[0].lower() + option[1:] for option in options),
        answer=_answer_index(record.place, values.get("label"), options),
        cloze=True,
        language=language,
        group=record.group,
    )


def _choice(record: Record, *, question: str, options: Any, answer: Any, cloze: bool = False) -> Choice:
    if not isinstance(options, list) or not all(isinstance(one, str | int | float) and str(one).strip() for one in options):
        raise CorpusError(f'{record.place}: "choices" is no list of texts', 'Write "choices": ["first", "second"]')
    texts = [str(one) for one in options]
    if not 2 <= len(texts) <= len(LETTERS):
        raise CorpusError(f"{record.place} has {len(texts)} choices", f"Give 2 to {len(LETTERS)}")
    subject = record.values.get("subject")
    continues = record.values.get("cloze", cloze)
    # In CSV everything is text.
    continues = {"true": True, "1": True, "false": False, "0": False, "": cloze}.get(str(continues).strip().lower())
    if continues is None:
        raise CorpusError(f'{record.place}: "cloze" is {record.values["cloze"]!r:.60}', "Write true or false, or leave it out")
    return Choice(
        question=question,
        options=tuple(texts),
        answer=_answer_index(record.place, answer, texts),
        cloze=continues,
        language=record.language,
        group=subject if isinstance(subject, str) and subject else record.group,
    )


def _answer_index(place: str, answer: Any, options: Sequence[str]) -> int:
    """An index from 0, a letter, or the text of the right option."""
    if isinstance(answer, str):
        if answer in options and not answer.strip().isdigit():
            return options.index(answer)
        cleaned = answer.strip()
        if cleaned.isascii() and cleaned.isdigit() and len(cleaned) < 4:
            answer = int(cleaned)
        elif len(cleaned) == 1 and cleaned.upper() in LETTERS:
            answer = LETTERS.index(cleaned.upper())
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(options):
        raise CorpusError(
            f"{place}: the answer {answer!r:.60} is none of its {len(options)} choices",
            "Give an index from 0, a letter, or the choice's text",
        )
    return answer
