"""Coloured tokens show the whole text and where two tokenizers differ."""

import pytest

from lep_core.errors import TokenizerError
from tests.factories import tiny_tokenizer
from ui.tokens import DIFFERENT, SHOWN_TOKENS, coloured, compared, new_tokens, open_tokenizer

TEXT = "Hello, мир! <b>не разметка</b>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizers")
    small, large = root / "small", root / "large"
    tiny_tokenizer(small, vocab_size=300)
    tiny_tokenizer(large, vocab_size=400)
    return str(small), str(large)


def test_the_same_tokenizer_cuts_nothing_elsewhere(folders):
    pieces, count = compared(folders[0], folders[0], TEXT)
    assert count >= len(pieces)
    assert DIFFERENT not in {colour for _, colour in pieces}


def test_two_tokenizers_show_where_they_differ(folders):
    text = "the " * 20 + TEXT
    pieces, _ = compared(folders[0], folders[1], text)
    assert {colour for _, colour in pieces} & {DIFFERENT, "1"}


def test_numbers_are_shown_on_demand(folders):
    pieces, _ = compared(folders[0], folders[0], "a", with_ids=True)
    assert str(open_tokenizer(folders[0]).encode("a", add_special_tokens=False).ids[0]) in pieces[0][0]


def test_long_answers_show_their_newest_tokens():
    pieces = coloured([str(number) for number in range(SHOWN_TOKENS + 50)])
    assert len(pieces) == SHOWN_TOKENS
    assert pieces[-1][0] == str(SHOWN_TOKENS + 49)


def test_new_tokens_are_those_that_the_base_lacks(folders):
    small, large = folders
    rows = new_tokens(large, small, None, "")
    assert rows
    assert all(len(row) == 4 and "|" in row[3] for row in rows)
    assert len(new_tokens(large, small, None, rows[0][1].replace("␣", " "))) >= 1


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=str(tmp_path)):
        compared(str(tmp_path), str(tmp_path), "a")
