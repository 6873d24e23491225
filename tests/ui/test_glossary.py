"""Every tab explains its words in both languages; measurements come with a formula."""

import re

import pytest

from ui.i18n import LANGUAGES, TEXTS, Translator
from ui.studio import TABS
from ui.tabs.glossary import text
from ui.texts.glossary import GLOSSARY


def test_every_tab_has_words():
    assert set(GLOSSARY) == set(TABS)


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_complete_in_both_languages(tab, language):
    shown = text(Translator(language), tab)
    assert shown.count("\n") == len(GLOSSARY[tab]) - 1
    for term in GLOSSARY[tab]:
        assert all(term.name)
        assert all(term.meaning)
        assert re.search("[а-яё]", term.meaning[1], re.IGNORECASE)


def test_names_of_measurements_are_those_of_the_tables():
    known = {name for terms in GLOSSARY.values() for term in terms for name in (term.name[0],)}
    for key in (
        "task.bits-per-byte",
        "task.minimal-pairs",
        "task.multiple-choice",
        "task.copy-sentence",
        "task.instructions",
        "metric.rougeL",
    ):
        assert TEXTS[key][0] in known, key
    assert TEXTS["benchmark.predicted_speedup"][0] in known
    assert TEXTS["unit.characters_per_second"][0] in known


def test_measured_numbers_come_with_a_formula_or_a_source():
    for term in (*GLOSSARY["benchmark"], *GLOSSARY["propagate"]):
        assert term.formula or term.source or "control" in term.name[0]
