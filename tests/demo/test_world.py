"""Sentences agree, tasks are right: both are checked by reading the text back, not by the code that wrote it."""

from __future__ import annotations

import itertools
import re
from random import Random

import pytest

from lep_core.demo.lexicon import ADJECTIVES, CATEGORIES, NOUNS
from lep_core.demo.russian import CASES, GENDERS, NUMBERS
from lep_core.demo.world import ANSWER_SIGN, KINDS, LANGUAGES, Mixture, held_out, make_task, raw_line, sentence, training_task


def answer_of(prompt: str, language: str) -> str:
    """The right answer, worked out from the words of the prompt alone."""
    instruction, words_text = prompt[:-1].split(": ")
    words = words_text.split()
    english = language == "en"
    category_of = {noun.english if english else noun.russian.nominative: noun.category for noun in NOUNS}
    names = {category.english if english else category.russian: category for category in CATEGORIES}
    if instruction in ("Repeat", "Повтори"):
        return words_text
    if instruction in ("First word", "Первое слово"):
        return words[0]
    if instruction in ("Last word", "Последнее слово"):
        return words[-1]
    if instruction in ("Category", "Категория"):
        (category,) = {category_of[word] for word in words}
        return category.english if english else category.russian
    wanted = names[instruction.split()[-1]]
    (answer,) = [word for word in words if category_of[word] == wanted]
    return answer


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_answers_follow_from_the_prompt(language: str, kind: str) -> None:
    random = Random(1)
    for _ in range(200):
        task = make_task(random, language, kind)
        assert (task.language, task.kind) == (language, kind)
        assert answer_of(task.prompt, language) == task.answer


@pytest.mark.parametrize("language", LANGUAGES)
def test_training_text_holds_no_held_out_prompt(language: str) -> None:
    random = Random(2)
    assert not any(held_out(training_task(random, language).prompt) for _ in range(500))
    questions = Mixture(sentence=0, fact=0, word_list=0, question=1)
    for _ in range(500):
        prompt = raw_line(random, language, questions).split(ANSWER_SIGN)[0]
        assert not held_out(prompt)


def test_russian_adjectives_agree_with_the_noun_that_follows() -> None:
    nouns: dict[str, list[tuple[str, str, str, bool]]] = {}
    for noun in NOUNS:
        for case in CASES:
            for number in NUMBERS:
                reading = (noun.russian.gender, case, number, noun.russian.animate)
                nouns.setdefault(noun.russian.form(case, number), []).append(reading)
    adjectives = {
        adjective.russian.form(gender, case, number, animate=animate): adjective.russian
        for adjective in ADJECTIVES
        for gender in GENDERS
        for case in CASES
        for number in NUMBERS
        for animate in (False, True)
    }
    random, pairs = Random(3), 0
    for _ in range(1000):
        words = sentence(random, "ru").rstrip(".").split()
        for first, second in itertools.pairwise(words):
            if first in adjectives:
                pairs += 1
                fitting = {adjectives[first].form(gender, case, number, animate=animate) for gender, case, number, animate in nouns[second]}
                assert first in fitting, (first, second)
    assert pairs > 500


def test_russian_numerals_and_absence_take_the_genitive() -> None:
    genitive = {number: {noun.russian.form("genitive", number) for noun in NOUNS} for number in NUMBERS}
    random, seen = Random(4), set()
    for _ in range(2000):
        words = sentence(random, "ru").rstrip(".").split()
        if words[1] == "здесь":
            seen.add(words[2])
            assert words[-1] in genitive["plural" if words[2] == "пять" else "singular"]
    assert seen == {"нет", "два", "две", "три", "пять"}


def test_english_verbs_agree_with_their_subject() -> None:
    singular = {noun.english for noun in NOUNS}
    random = Random(5)
    for _ in range(500):
        text = sentence(random, "en")
        if match := re.match(r"(?:Today|Now) the (?:\w+ )??(\w+) (sees|see|loves|love|helps|help) ", text):
            noun, verb = match.groups()
            assert noun == "fish" or verb.endswith("s") == (noun in singular), text


def test_the_same_seed_writes_the_same_line() -> None:
    for language in LANGUAGES:
        first, second = Random(6), Random(6)
        lines = [raw_line(first, language, Mixture()) for _ in range(100)]
        assert lines == [raw_line(second, language, Mixture()) for _ in range(100)]
