"""Layouts of tasks with reference answers: questions with checkable answers, texts to compare with, SQuAD and XQuAD, summaries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lep_core.errors import CorpusError
from lep_core.evaluation.answers import normalized
from lep_core.evaluation.items import Item, Reference
from lep_core.evaluation.language import SCRIPTS, prompt_language
from lep_core.evaluation.record import Record

# What is asked of a text, in the language of the text where we have words for it.
QUESTION_PROMPTS = {
    "en": "Read the text and answer the question with a few words of the text.\n\nText: {context}\n\nQuestion: {question}\nAnswer:",
    "ru": "Прочитай текст и ответь на вопрос несколькими словами из него.\n\nТекст: {context}\n\nВопрос: {question}\nОтвет:",
}
SUMMARY_PROMPTS = {
    "en": "Summarize the text in a few sentences.\n\nText: {text}\n\nSummary:",
    "ru": "Перескажи текст в нескольких предложениях.\n\nТекст: {text}\n\nПересказ:",
}


def instruct(record: Record) -> Item:
    """`prompt`, `answer` (a text or a list of accepted ones)."""
    prompt, answer = record.text("prompt"), record.values.get("answer")
    answers = [answer] if isinstance(answer, str) else answer
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) and normalized(one) for one in answers):
        raise CorpusError(
            f'{record.place} has no text, or list of texts, under the key "answer"',
            'Add it; or write "references" for answers that are compared word by word, "constraints" for demands that are checked',
        )
    return Item(prompt=prompt, answers=tuple(answers), language=record.language, kind=record.values.get("kind"))


def reference(record: Record) -> Reference:
    """`prompt`, `references` (a text or a list of texts)."""
    return Reference(
        prompt=record.text("prompt"), references=tuple(record.texts("references")), language=record.language, group=record.group
    )


def summary(record: Record) -> Reference:
    """`text`, `summary` (a text or a list of texts)."""
    text = record.text("text")
    prompt = SUMMARY_PROMPTS[prompt_language(text)].format(text=text)
    return Reference(prompt=prompt, references=tuple(record.texts("summary")), language=record.language, group=record.group)


def squad(record: Record) -> Reference:
    """`context`, `question`, `answers`: a list of texts, of objects with `text` (SQuAD), or an object with a list `text` (Hugging Face)."""
    context, question, answers = record.text("context"), record.text("question"), record.values["answers"]
    if isinstance(answers, dict):
        answers = answers.get("text")
    if isinstance(answers, str):
        answers = [answers]
    texts = [one.get("text") if isinstance(one, dict) else one for one in answers] if isinstance(answers, list) else []
    if not texts or not all(isinstance(one, str) and one.strip() for one in texts):
        raise CorpusError(
            f'{record.place} has no text under the key "answers"',
            'Write "answers": ["..."] or SQuAD\'s own layout, and leave out questions without an answer',
        )
    language = record.language or _language_of(record.path)
    prompt = QUESTION_PROMPTS[prompt_language(context)].format(context=context.lstrip("\ufeff").strip(), question=question.strip())
    return Reference(
        prompt=prompt, references=tuple(dict.fromkeys(texts)), language=language, group=_without_language(record.group, language)
    )


def squad_records(articles: Sequence[Any], path: Path) -> Iterator[Record]:
    """The questions of SQuAD's tree: data, paragraphs, qas (Rajpurkar et al. 2016; XQuAD, Artetxe et al. 2020)."""
    for article_number, article in enumerate(articles, start=1):
        place = f"{path}, article {article_number}"
        for paragraph_number, paragraph in enumerate(_list(place, article, "paragraphs"), start=1):
            place = f"{path}, article {article_number}, paragraph {paragraph_number}"
            for number, asked in enumerate(_list(place, paragraph, "qas"), start=1):
                question_place = f"{place}, question {number},"
                if not isinstance(asked, dict):
                    raise CorpusError(f"{question_place} is not a JSON object", "Give SQuAD's own layout")
                values = {"context": paragraph.get("context"), "question": asked.get("question"), "answers": asked.get("answers")}
                yield Record(question_place, values, path)


def _list(place: str, value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise CorpusError(f'{place} has no list under the key "{key}"', "Give SQuAD's own layout: data, paragraphs, qas")
    return found


def _language_of(path: Path) -> str | None:
    """The language that a file is named after, as in xquad.ru.json."""
    return next((part for part in re.split(r"[._-]", path.stem)[1:] if part in SCRIPTS), None)


def _without_language(group: str, language: str | None) -> str:
    return group.removesuffix(f".{language}") if language else group
