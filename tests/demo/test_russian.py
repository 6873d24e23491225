"""Facts of the Russian grammar, stated independently of the rules that produce them."""

from __future__ import annotations

import itertools

import pytest

from lep_core.demo.lexicon import ADJECTIVES, NOUNS, VERBS
from lep_core.demo.russian import CASES, GENDERS, NUMBERS, with_preposition

NOUN = {noun.russian.nominative: noun.russian for noun in NOUNS}
ADJECTIVE = {adjective.russian.nominative: adjective.russian for adjective in ADJECTIVES}


def test_every_noun_has_every_form_in_cyrillic() -> None:
    for noun, case, number in itertools.product(NOUNS, CASES, NUMBERS):
        form = noun.russian.form(case, number)
        assert len(form) > 1
        assert all("а" <= letter <= "я" or letter == "ё" for letter in form), form


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("кошка", "кошка кошки кошке кошку кошкой кошке кошки кошек кошкам кошек кошками кошках"),
        ("слон", "слон слона слону слона слоном слоне слоны слонов слонам слонов слонами слонах"),
        ("медведь", "медведь медведя медведю медведя медведем медведе медведи медведей медведям медведей медведями медведях"),
        ("кровать", "кровать кровати кровати кровать кроватью кровати кровати кроватей кроватям кровати кроватями кроватях"),
        ("кресло", "кресло кресла креслу кресло креслом кресле кресла кресел креслам кресла креслами креслах"),
        ("платье", "платье платья платью платье платьем платье платья платьев платьям платья платьями платьях"),
        ("груша", "груша груши груше грушу грушей груше груши груш грушам груши грушами грушах"),
        ("нож", "нож ножа ножу нож ножом ноже ножи ножей ножам ножи ножами ножах"),
        ("молоток", "молоток молотка молотку молоток молотком молотке молотки молотков молоткам молотки молотками молотках"),
        ("вишня", "вишня вишни вишне вишню вишней вишне вишни вишен вишням вишни вишнями вишнях"),
        ("яблоко", "яблоко яблока яблоку яблоко яблоком яблоке яблоки яблок яблокам яблоки яблоками яблоках"),
    ],
)
def test_nouns_decline_as_in_a_grammar_book(word: str, forms: str) -> None:
    assert [NOUN[word].form(case, number) for number in NUMBERS for case in CASES] == forms.split()


@pytest.mark.parametrize(
    ("word", "gender", "forms"),
    [
        ("красный", "masculine", "красный красного красному красный красным красном"),
        ("большой", "feminine", "большая большой большой большую большой большой"),
        ("синий", "neuter", "синее синего синему синее синим синем"),
        ("маленький", "neuter", "маленькое маленького маленькому маленькое маленьким маленьком"),
        ("синий", "feminine", "синяя синей синей синюю синей синей"),
    ],
)
def test_adjectives_decline_as_in_a_grammar_book(word: str, gender: str, forms: str) -> None:
    assert [ADJECTIVE[word].form(gender, case) for case in CASES] == forms.split()


def test_accusative_of_living_beings_is_the_genitive() -> None:
    adjective = ADJECTIVE["старый"]
    assert adjective.form("masculine", "accusative", animate=True) == adjective.form("masculine", "genitive")
    assert adjective.form("masculine", "accusative", animate=False) == adjective.form("masculine", "nominative")
    for gender in GENDERS:
        assert adjective.form(gender, "accusative", "plural", animate=True) == "старых"
        assert adjective.form(gender, "accusative", "plural", animate=False) == "старые"


def test_past_verbs_agree_in_gender_and_present_verbs_in_number() -> None:
    see = VERBS[0].russian
    assert [see.form(gender, "singular", "past") for gender in GENDERS] == ["видел", "видела", "видело"]
    assert {see.form(gender, "plural", "past") for gender in GENDERS} == {"видели"}
    assert [see.form("feminine", number, "present") for number in NUMBERS] == ["видит", "видят"]


def test_prepositions_take_the_shape_that_the_next_word_asks_for() -> None:
    assert with_preposition("с", "слоном") == "со слоном"
    assert with_preposition("с", "собакой") == "с собакой"
    assert with_preposition("о", "игле") == "об игле"
    assert with_preposition("о", "яблоке") == "о яблоке"
    assert with_preposition("", "стол") == "стол"
