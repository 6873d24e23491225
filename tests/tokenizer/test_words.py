from collections import Counter

import pytest
from tokenizers import Tokenizer

from lep_core.tokenizer.conventions import adjacent_classes, split_at_classes
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.load import definition_of
from lep_core.tokenizer.words import WordCounter
from tests.tokenizer.conftest import ENGLISH, KINDS, RUSSIAN, trained

NASTY = "a\n\n b  c\r\n \n  d   \n.\n\n e...\n12 345\n\n\n"


def counter_for(kind, **options):
    tokenizer = Tokenizer.from_str(trained(kind))
    return WordCounter(tokenizer, Definition.parse(definition_of(tokenizer)), **options), tokenizer


@pytest.mark.parametrize("kind", KINDS[:3])
def test_words_are_exactly_the_pre_tokens_of_the_whole_text(kind):
    counter, tokenizer = counter_for(kind)
    expected: Counter[str] = Counter()
    for text in (*ENGLISH, *RUSSIAN, NASTY):
        counter.add(text)
        expected.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
    assert counter.words() == expected
    assert counter.documents == len(ENGLISH) + len(RUSSIAN) + 1


def test_encoding_words_apart_gives_the_tokens_of_the_text(kind):
    counter, tokenizer = counter_for(kind)
    text = "\n".join((*ENGLISH, *RUSSIAN, NASTY))
    counter.add(text)
    model = Tokenizer(tokenizer.model)
    apart: Counter[int] = Counter()
    for word, count in counter.words().items():
        for index in model.encode(word).ids:
            apart[index] += count
    assert apart == Counter(tokenizer.encode(text, add_special_tokens=False).ids)


def test_added_tokens_are_no_words():
    counter, _ = counter_for("byte-level")
    counter.add("a<s>b    c")
    assert set(counter.words()) == {"a", "b", "c"}


def test_memory_is_bounded_by_forgetting_rare_words():
    counter, _ = counter_for("byte-level", max_distinct=100)
    for number in range(500):
        counter.add(f"often often word{'x' * (number % 50)}{number}")
    assert len(counter.words()) < 500
    assert counter.words()["Ġoften"] == 500
    assert counter.forgotten > 0


def test_lone_surrogates_are_replaced():
    counter, _ = counter_for("byte-level")
    counter.add("a\ud800")
    assert sum(counter.words().values()) >= 1


def test_chunks_are_cut_where_no_token_reaches_across():
    adjacent = adjacent_classes(["▁дом", "();", "▁▁"])
    assert split_at_classes("▁▁дом,12\n\nи", adjacent) == ["▁▁дом", ",", "1", "2", "\n", "\n", "и"]
    assert "".join(split_at_classes("▁a1b\t«c»", adjacent)) == "▁a1b\t«c»"
    assert split_at_classes("дом12", adjacent | {"LN", "NN"}) == ["дом12"]
