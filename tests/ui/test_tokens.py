"""Coloured tokens show the whole text and where two tokenizers differ."""

import pytest

from lep_core.errors import TokenizerError
from lep_core.tokenizer.load import as_tokenizer
from tests.factories import tiny_tokenizer
from ui.tokens import BROWSER_ROWS, DIFFERENT, SHOWN_CHARACTERS, SHOWN_TOKENS, coloured, compared, new_tokens

TEXT = "Hello, мир! <b>не разметка</b>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizers")
    small, large = root / "small", root / "large"
    tiny_tokenizer(small, vocab_size=300)
    tiny_tokenizer(large, vocab_size=400)
    return str(small), str(large)


def test_the_same_tokenizer_cuts_nothing_elsewhere(folders):
    cut = compared(folders[0], folders[0], TEXT)
    assert cut.tokens >= len(cut.pieces)
    assert "".join(piece.split("×")[0] for piece, _ in cut.pieces) == TEXT
    assert DIFFERENT not in {colour for _, colour in cut.pieces}


def test_two_tokenizers_show_where_they_differ(folders):
    text = "the " * 20 + TEXT
    pieces = compared(folders[0], folders[1], text).pieces
    assert {colour for _, colour in pieces} & {DIFFERENT, "1"}


def test_white_space_is_shown_on_demand(folders):
    plain, shown = (compared(folders[0], folders[0], "a\tb \nc", visible_spaces=wished) for wished in (False, True))
    assert "".join(piece for piece, _ in plain.pieces) == "a\tb \nc"
    assert "".join(piece for piece, _ in shown.pieces) == "a⇥b␣⏎\nc"
    assert plain.tokens == shown.tokens


def test_of_a_long_text_only_the_beginning_is_counted(folders):
    cut = compared(folders[0], folders[0], "ab " * SHOWN_CHARACTERS)
    assert cut.characters == SHOWN_CHARACTERS
    assert cut.tokens <= SHOWN_CHARACTERS


def test_numbers_are_shown_on_demand(folders):
    pieces = compared(folders[0], folders[0], "a", with_ids=True).pieces
    assert str(as_tokenizer(folders[0]).encode("a", add_special_tokens=False).ids[0]) in pieces[0][0]


def test_long_answers_show_their_newest_tokens():
    pieces = coloured([str(number) for number in range(SHOWN_TOKENS + 50)])
    assert len(pieces) == SHOWN_TOKENS
    assert pieces[-1][0] == str(SHOWN_TOKENS + 49)


def test_new_tokens_are_those_that_the_base_lacks(folders):
    small, large = folders
    rows, total = new_tokens(large, small, None, "")
    assert len(rows) == min(total, BROWSER_ROWS)
    assert all(len(row) == 5 and "|" in row[4] for row in rows)
    found, count = new_tokens(large, small, None, rows[0][1])
    assert 1 <= count < total
    assert rows[0] in found


def test_new_tokens_are_sorted_and_paged(folders, tmp_path):
    small, large = folders
    text = tmp_path / "text.txt"
    text.write_text(f"{TEXT} the the the", encoding="utf-8")

    def everything(order):
        total = new_tokens(large, small, str(text), "")[1]
        return [
            row
            for page in range(-(-total // BROWSER_ROWS))
            for row in new_tokens(large, small, str(text), "", order=order, page=page + 1)[0]
        ]

    for order, column, sign in (("count", 2, -1), ("length", 3, -1), ("id", 0, 1)):
        figures = [sign * int(row[column]) for row in everything(order)]
        assert figures == sorted(figures)
    listed = everything("count")
    assert new_tokens(large, small, str(text), "", page=999)[0] == listed[(len(listed) - 1) // BROWSER_ROWS * BROWSER_ROWS :]


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=str(tmp_path)):
        compared(str(tmp_path), str(tmp_path), "a")
