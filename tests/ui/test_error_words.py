"""What the core says about errors is Russian on the Russian page; the tables follow the core."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

from lep_core.errors import ConfigError, CorpusError, LepError
from ui.error_words import in_language, translated
from ui.i18n import Translator
from ui.messages import core_words, explain
from ui.texts.error_hints import HINTS
from ui.texts.error_messages import MESSAGES

ROOT = Path(__file__).resolve().parents[2]
LEAST_TRANSLATED = {"message": 0.5, "hint": 0.6}
"""Share of the core's sentences with a Russian one; what is left is mostly about damaged weights, task files and converters."""
RU, EN = Translator("ru"), Translator("en")


def template(node: ast.expr) -> str | None:
    """The sentence of an expression with {} for each value; flags keep their dashes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = []
        for part in node.values:
            if isinstance(part, ast.Constant):
                parts.append(str(part.value))
            else:
                is_flag = isinstance(part, ast.FormattedValue) and ast.unparse(part.value).startswith("flag(")
                parts.append("--{}" if is_flag else "{}")
        return "".join(parts)
    return None


@pytest.fixture(scope="module")
def trees():
    return [ast.parse(path.read_text(encoding="utf-8")) for folder in ("lep_core", "ui") for path in (ROOT / folder).rglob("*.py")]


def raised(trees) -> dict[str, set[str]]:
    """Every message and hint that is raised in one place."""
    names = {kind.__name__ for kind in (LepError, *_subclasses(LepError))}
    found: dict[str, set[str]] = {"message": set(), "hint": set()}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            texts = node.args[1:] if node.func.id == "ConfigError" else node.args
            for kind, text in zip(found, texts, strict=False):
                sentence = template(text)
                if sentence and sentence.strip("{}") and any(letter.isalpha() for letter in sentence):
                    found[kind].add(sentence)
    return found


def _subclasses(kind: type) -> set[type]:
    return {kind, *(deeper for own in kind.__subclasses__() for deeper in _subclasses(own))}


def test_every_template_of_the_tables_is_a_sentence_of_the_core(trees):
    said = {sentence for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr) and (sentence := template(node))}
    # Some sentences are made of pieces: then a template with the pieces must fit.
    made = [re.compile(".*".join(re.escape(part) for part in sentence.split("{}"))) for sentence in said if sentence.startswith("Give ")]
    unknown = [english for english, _ in (*MESSAGES, *HINTS) if english not in said]
    assert not [english for english in unknown if not any(pattern.fullmatch(english) for pattern in made)]


def test_the_tables_name_nothing_twice_and_only_values_that_there_are():
    englishes = [english for english, _ in (*MESSAGES, *HINTS)]
    assert len(englishes) == len(set(englishes))
    for english, russian in (*MESSAGES, *HINTS):
        wanted = {int(name) for _, name, _, _ in Formatter().parse(russian.replace('{"', "[").replace('"}', "]")) if name}
        assert wanted <= set(range(english.count("{}"))), russian


def test_most_sentences_are_translated(trees):
    for (kind, sentences), table in zip(raised(trees).items(), (MESSAGES, HINTS), strict=True):
        left = sorted(sentences - {english for english, _ in table})
        share = 1 - len(left) / len(sentences)
        assert share >= LEAST_TRANSLATED[kind], f"{len(left)} of {len(sentences)} {kind}s are English on the Russian page:\n" + "\n".join(
            left
        )


def test_values_find_their_places():
    assert translated("books.csv has no column called body; its columns are a, b") == "в books.csv нет столбца body; есть: a, b"
    assert translated("there is no run train-1 in the project Demo") == "в проекте Demo нет задания train-1"


def test_a_value_that_is_a_phrase_is_translated_too():
    assert translated("train-1 is queued") == "train-1: в очереди"


def test_two_sentences_in_a_row_are_both_translated():
    assert translated("the model has no chat template. Give a prompt.") == "у модели нет шаблона диалога. Введите запрос."


def test_short_templates_do_not_swallow_unknown_sentences():
    assert translated("the moon is made of cheese") is None
    assert in_language("the moon is made of cheese", RU).startswith("Сообщение на английском: the moon")
    assert in_language("the moon is made of cheese", EN) == "the moon is made of cheese"


@pytest.mark.parametrize("text", ["проект не выбран", "есть уже проект с названием Demo", "'Demo 5' – не число"])
def test_what_a_tab_says_in_russian_stays(text):
    assert in_language(text, RU) == text


def test_a_russian_file_name_makes_no_russian_sentence():
    assert in_language("'моя книга' sings", RU).startswith("Сообщение на английском")


def test_a_note_names_the_field_by_its_label_in_both_languages():
    error = ConfigError("steps", "--steps is 0", "Give a value at least 1 steps")
    assert "Steps** – is 0" in explain(error, EN).replace("&#42;", "*")
    note = explain(error, RU)
    assert RU.field_label("steps") in note
    assert "--steps" not in note
    assert "Введите значение не меньше 1 шагов" in note


def test_flags_become_labels():
    said = core_words(CorpusError("x", "Give --encoding, or save the file as UTF-8").hint, RU)
    assert f"«{RU.field_label('encoding')}»" in said
    assert "--" not in said
