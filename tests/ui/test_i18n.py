"""Every text of the interface exists in English and Russian and asks for the same values in both."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

from lep_core import pipeline
from lep_core.evaluation.verdict import ENGLISH
from ui.i18n import LANGUAGES, TEXTS, Translator, language_of
from ui.studio import TABS
from ui.texts import fields

UI = Path(__file__).resolve().parents[2] / "ui"
FIELDS = sorted(
    {(verb.config, name) for verb in pipeline.VERBS.values() for name in verb.config.__dataclass_fields__},
    key=lambda pair: (pair[0].__name__, pair[1]),
)


@pytest.mark.parametrize(("config", "name"), FIELDS, ids=lambda item: item if isinstance(item, str) else item.__name__)
def test_every_config_field_has_a_label_and_an_explanation_in_both_languages(config, name):
    for language in LANGUAGES:
        t = Translator(language)
        assert t.field_label(name)
        assert t.field_info(config, name)
    assert re.search("[а-яё]", fields.HELP_RU[name], re.IGNORECASE)


@pytest.mark.parametrize("key", sorted(TEXTS))
def test_both_languages_fill_in_the_same_values(key):
    english, russian = TEXTS[key]
    assert english
    assert russian
    assert _names(english) == _names(russian)


def test_every_verdict_has_words_in_both_languages():
    assert {f"verdict.{code}" for code in ENGLISH} <= set(TEXTS)


def test_every_tab_and_verb_has_a_name():
    assert {f"tab.{name}" for name in TABS} | {f"next.{name}" for name in TABS} <= set(TEXTS)
    assert {f"verb.{verb}" for verb in pipeline.VERBS} <= set(TEXTS)


def test_every_text_that_the_code_asks_for_exists():
    for path in UI.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_text = isinstance(node, ast.Call) and ast.unparse(node.func) in ("t", "self.t", "studio.t", "self.studio.t") and node.args
            if is_text and isinstance(node.args[0], ast.Constant):
                assert node.args[0].value in TEXTS, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("en-US,en;q=0.9,ru;q=0.5", "en"),
        ("de,ru;q=0.3", "ru"),
        ("", "en"),
        ("xx;q=abc", "en"),
        ("ru;q=0.1, en;q=0.2", "en"),
    ],
)
def test_language_follows_the_browser(header, language):
    assert language_of(header) == language


def test_numbers_and_durations_follow_the_language():
    assert Translator("en").number(1234567) == "1,234,567"
    assert Translator("ru").number(1234.5, 1) == "1\u202f234,5"
    assert Translator("en").number(None) == "–"
    assert Translator("en").duration(200) == "3 min 20 s"
    assert Translator("ru").duration(7500) == "2 ч 05 мин"


def _names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}
