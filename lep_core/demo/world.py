"""The demo's world: a seeded grammar that writes the same kind of English and Russian text, and tasks that can be checked.

Raw text is made of sentences, category facts, lists that are repeated and plain question/answer lines. The lines matter: a model
whose tasks never occur in raw text loses them when its vocabulary is exchanged, because only raw text trains the new rows.
Prompts whose hash falls into the held-out tenth never occur in any training text (`held_out`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from random import Random

from lep_core.demo.lexicon import ADJECTIVES, ANIMATE, CATEGORIES, INANIMATE, NOUNS, NUMERALS, VERBS, Adjective, Category, Noun
from lep_core.demo.russian import with_preposition

LANGUAGES = ("en", "ru")
KINDS = ("repeat", "first", "last", "which", "category")

_KIND_WEIGHTS = (1, 2, 2, 2, 1)  # of KINDS in training text: those that are hard to learn occur more often

_HELD_OUT_SHARE = 10  # one prompt in this many is kept for measuring

_OPENERS = {
    "en": {"present": ("Today", "Now"), "past": ("Yesterday", "Once")},
    "ru": {"present": ("Сегодня", "Сейчас"), "past": ("Вчера", "Однажды")},
}
_PROMPTS = {
    "en": {
        "repeat": "Repeat: {words}.",
        "first": "First word: {words}.",
        "last": "Last word: {words}.",
        "which": "Which is {category}: {words}?",
        "category": "Category: {words}?",
    },
    "ru": {
        "repeat": "Повтори: {words}.",
        "first": "Первое слово: {words}.",
        "last": "Последнее слово: {words}.",
        "which": "{who} здесь {category}: {words}?",
        "category": "Категория: {words}?",
    },
}
# Every list comes three times: random words cannot be foretold, so without repetition most of what is learned would be noise.
_LIST_LINES = {"en": "List: {words}. Again: {words}. Again: {words}.", "ru": "Список: {words}. Снова: {words}. Снова: {words}."}
# One sign for both languages: the chat template's role token can take its place, so the fine-tune has little to change.
ANSWER_SIGN = " →"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A prompt with the one answer that is right."""

    kind: str
    language: str
    prompt: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How often each kind of line occurs in raw text; weights, not necessarily summing to 1."""

    sentence: float = 0.2
    fact: float = 0.05
    word_list: float = 0.2
    question: float = 0.55


def word(noun: Noun, language: str) -> str:
    """The dictionary form of a noun."""
    return noun.english if language == "en" else noun.russian.nominative


def category_word(category: Category, language: str) -> str:
    """The name of a category."""
    return category.english if language == "en" else category.russian


def held_out(prompt: str) -> bool:
    """True for prompts that only measurements may use."""
    return zlib.crc32(prompt.encode("utf-8")) % _HELD_OUT_SHARE == 0


def make_task(random: Random, language: str, kind: str) -> Task:
    """A random task of one kind; its prompt may belong to either side of `held_out`."""
    if kind == "which":
        return _which_task(random, language)
    if kind == "category":
        category = random.choice(CATEGORIES)
        nouns = random.sample([noun for noun in NOUNS if noun.category == category], random.randint(2, 3))
        answer = category_word(category, language)
    else:
        nouns = random.sample(NOUNS, random.randint(2, 3))
        words = [word(noun, language) for noun in nouns]
        answer = {"repeat": " ".join(words), "first": words[0], "last": words[-1]}[kind]
    prompt = _PROMPTS[language][kind].format(words=" ".join(word(noun, language) for noun in nouns))
    return Task(kind=kind, language=language, prompt=prompt, answer=answer)


def training_task(random: Random, language: str) -> Task:
    """A random task whose prompt may be trained on."""
    (kind,) = random.choices(KINDS, _KIND_WEIGHTS)
    while held_out((task := make_task(random, language, kind)).prompt):
        pass
    return task


def raw_line(random: Random, language: str, mixture: Mixture) -> str:
    """One line of raw text."""
    weights = (mixture.sentence, mixture.fact, mixture.word_list, mixture.question)
    (what,) = random.choices(("sentence", "fact", "list", "question"), weights)
    if what == "sentence":
        return " ".join(sentence(random, language) for _ in range(random.randint(1, 2)))
    if what == "fact":
        return fact(random.choice(NOUNS), language)
    if what == "list":
        words = " ".join(word(noun, language) for noun in random.sample(NOUNS, random.randint(2, 3)))
        return _LIST_LINES[language].format(words=words)
    return question_line(training_task(random, language))


def question_line(task: Task) -> str:
    """A task and its answer as a line of plain text."""
    return f"{task.prompt}{ANSWER_SIGN} {task.answer}."


def fact(noun: Noun, language: str) -> str:
    """A line that says to which category a noun belongs."""
    if language == "en":
        return f"Everyone knows: the {noun.english} is {noun.category.english_phrase}."
    return f"Все знают: {noun.russian.nominative} — это {noun.category.russian}."


def sentence(random: Random, language: str) -> str:
    """A sentence that begins with an adverb, so that other words need no capital form."""
    make = random.choices((_action, _absence, _counting), (0.7, 0.15, 0.15))[0]
    return make(random, language)


def noun_phrase(noun: Noun, adjective: Adjective | None, *, language: str, case: str, number: str) -> str:
    """A noun with an agreeing adjective; English shows number only and adds "the"."""
    if language == "en":
        head = noun.english if number == "singular" else noun.english_plural
        return " ".join(["the", *([adjective.english] if adjective else []), head])
    russian = noun.russian
    words = [adjective.russian.form(russian.gender, case, number, animate=russian.animate)] if adjective else []
    return " ".join([*words, russian.form(case, number)])


def _which_task(random: Random, language: str) -> Task:
    category = random.choice(CATEGORIES)
    answer = random.choice([noun for noun in NOUNS if noun.category == category])
    nouns = random.sample([noun for noun in NOUNS if noun.category != category], random.randint(1, 2))
    nouns.insert(random.randint(0, len(nouns)), answer)
    name = category.english_phrase if language == "en" else category.russian
    words = " ".join(word(noun, language) for noun in nouns)
    prompt = _PROMPTS[language]["which"].format(who="Кто" if category.animate else "Что", category=name, words=words)
    return Task(kind="which", language=language, prompt=prompt, answer=word(answer, language))


def _action(random: Random, language: str) -> str:
    """Subject, verb and object: the verb agrees with the subject, the object takes the case that the verb governs."""
    verb = random.choice(VERBS)
    tense, number, object_number = random.choice(("present", "past")), _number(random), _number(random)
    subject_noun = random.choice(ANIMATE)
    object_noun = random.choice(ANIMATE if verb.animate_object else INANIMATE)
    opener = random.choice(_OPENERS[language][tense])
    case = verb.russian.case
    subject = noun_phrase(subject_noun, _adjective(random), language=language, case="nominative", number=number)
    thing = noun_phrase(object_noun, _adjective(random), language=language, case=case, number=object_number)
    if language == "en":
        present = verb.english_singular if number == "singular" else verb.english_plural
        words = [opener, subject, verb.english_past if tense == "past" else present, verb.english_preposition, thing]
        return " ".join(filter(None, words)) + "."
    form = verb.russian.form(subject_noun.russian.gender, number, tense)
    return f"{opener} {subject} {form} {with_preposition(verb.russian.preposition, thing)}."


def _absence(random: Random, language: str) -> str:
    """Something is not there: genitive in Russian."""
    noun, adjective = random.choice(NOUNS), _adjective(random)
    opener = random.choice(_OPENERS[language]["present"])
    if language == "en":
        words = [opener, "there is no", *([adjective.english] if adjective else []), noun.english, "here"]
        return " ".join(words) + "."
    return f"{opener} здесь нет {noun_phrase(noun, adjective, language=language, case='genitive', number='singular')}."


def _counting(random: Random, language: str) -> str:
    """Two to four things take the genitive singular in Russian, five the genitive plural."""
    noun = random.choice(NOUNS)
    english, russian, feminine = random.choice(NUMERALS)
    opener = random.choice(_OPENERS[language]["present"])
    if language == "en":
        return f"{opener} there are {english} {noun.english_plural} here."
    numeral = feminine if noun.russian.gender == "feminine" else russian
    return f"{opener} здесь {numeral} {noun.russian.form('genitive', 'plural' if english == 'five' else 'singular')}."


def _number(random: Random) -> str:
    return "plural" if random.random() < 0.3 else "singular"


def _adjective(random: Random) -> Adjective | None:
    return random.choice(ADJECTIVES) if random.random() < 0.6 else None
