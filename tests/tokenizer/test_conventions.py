import pytest

from lep_core.tokenizer.bytes import to_byte_level
from lep_core.tokenizer.conventions import (
    admissible_beside,
    admissible_byte_level,
    admissible_sentencepiece,
    admissible_sentencepiece_from_nothing,
)


@pytest.mark.parametrize("token", ["▁дом", "дом", "—", "▁«", ");", "हिन्दी", "▁й"])
def test_sentencepiece_tokens_hold_a_word_or_punctuation(token):
    assert admissible_sentencepiece(token)


@pytest.mark.parametrize("token", ["▁", "▁▁", "дом▁", "▁▁дом", "дом1", "1", "▁12", "\n", "а\n", "дом,", "<0xD0>", "\x00", "а" * 40, ""])
def test_sentencepiece_tokens_hold_no_digits_line_breaks_or_mixtures(token):
    assert not admissible_sentencepiece(token)


def test_runs_of_spaces_are_learned_only_from_nothing():
    assert admissible_sentencepiece_from_nothing("▁▁▁")
    assert not admissible_sentencepiece("▁▁▁")


@pytest.mark.parametrize(
    ("text", "allowed"), [(" дом", True), (" 12", False), ("½", False), ("x²", False), (".\n\n", True), ("а" * 40, False)]
)
def test_byte_level_tokens_hold_no_digits(text, allowed):
    assert admissible_byte_level(to_byte_level(text.encode())) is allowed


def test_parts_of_characters_may_become_byte_level_tokens():
    assert admissible_byte_level(to_byte_level(b" \xd0"))


def test_in_a_corpus_of_another_script_tokens_of_ascii_alone_are_not_made():
    russian = {"▁дом": 50, "▁monsieur": 2}
    rule = admissible_beside("sentencepiece", russian)
    assert rule("▁дом")
    assert not rule("▁monsieur")
    assert admissible_beside("sentencepiece", {"▁ev": 5, "▁çok": 2})("▁ev")
    rule = admissible_beside("byte-level", {to_byte_level(word.encode()): count for word, count in {" дом": 50, " monsieur": 2}.items()})
    assert rule(to_byte_level(" дом".encode()))
    assert not rule("Ġmonsieur")
    assert not rule("...")
