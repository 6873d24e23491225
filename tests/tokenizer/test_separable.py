import itertools
import json

import pytest
from tokenizers import AddedToken, Tokenizer, normalizers

from lep_core.tokenizer.separable import is_separable
from tests.tokenizer.conftest import KINDS, trained
from tests.tokenizer.layouts import LAYOUTS, layout

# What may stand on either side of a border: letters of several scripts, marks, digits, punctuation, symbols, with whitespace further in.
SIDES = (
    "a", "B", "s", "дом", "Я", "日本", "ª", "e\u0301", "\u0301", "1", "20", "½", ",", "'", "'s", "n't", ".\n\nx", "—", "«", "$", "👍🏽", "/",
    "_", "x\u00a0y", "x  y", "x\t\ty", "-\r\n-", "<s>", "\u200d", "\ufeff", "%20", "ё,", "10)", "�", "\x00",
)  # fmt: skip


def make(name):
    return Tokenizer.from_str(trained(name) if name in KINDS else layout(name))


@pytest.mark.parametrize("name", [*KINDS, *LAYOUTS])
def test_both_sides_of_a_border_are_encoded_as_if_alone(name):
    tokenizer = make(name)
    tokenizer.encode_special_tokens = True
    assert is_separable(tokenizer)
    lead = len(ids_of(tokenizer, ["a"])[0])
    alone = {side: ids[lead:] for side, ids in zip(SIDES, ids_of(tokenizer, [f"a {side}" for side in SIDES]), strict=True)}
    pairs = list(itertools.product(SIDES, repeat=2))
    together = ids_of(tokenizer, [f"a {left} {right}" for left, right in pairs])
    for (left, right), ids in zip(pairs, together, strict=True):
        assert ids[lead:] == alone[left] + alone[right], (left, right)


def ids_of(tokenizer, texts):
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def changed(name, change):
    definition = json.loads(trained(name) if name in KINDS else layout(name))
    change(definition)
    return Tokenizer.from_str(json.dumps(definition))


def test_an_expression_that_is_not_known_is_not_separable():
    def reach_across(definition):
        definition["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+ \p{L}+|\s+"

    assert not is_separable(changed("qwen2", reach_across))


def test_spaces_must_be_matched_by_the_expression():
    def keep_letters_only(definition):
        definition["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r" ?\p{L}+"

    assert not is_separable(changed("qwen2", keep_letters_only))


def test_a_piece_that_goes_on_behind_a_space_is_not_separable():
    def join_words(definition):
        definition["model"]["vocab"]["e▁"] = max(definition["model"]["vocab"].values()) + 1
        definition["model"]["merges"].append(["e", "▁"])

    assert is_separable(make("prepend"))
    assert not is_separable(changed("prepend", join_words))
    assert is_separable(changed("llama2-legacy-metaspace", join_words))  # which cuts at every mark anyway


def test_a_missing_byte_makes_it_inseparable():
    def drop_byte(definition):
        definition["model"]["byte_fallback"] = False

    assert not is_separable(changed("prepend", drop_byte))


def test_unigram_models_must_cut_at_spaces_themselves():
    def leave_whole(definition):
        definition["pre_tokenizer"]["split"] = False

    assert not is_separable(changed("unigram", leave_whole))  # rounding of summed scores may decide between equally good spellings


def test_other_normalizers_are_not_separable():
    tokenizer = make("gpt2")
    tokenizer.normalizer = normalizers.NFKC()
    assert not is_separable(tokenizer)


@pytest.mark.parametrize(
    ("token", "separable"),
    [
        (AddedToken("house", normalized=False), True),
        (AddedToken("  ", normalized=False), True),
        (AddedToken("old house", normalized=False), False),
        (AddedToken("house ", normalized=False), False),
        (AddedToken("house", normalized=False, lstrip=True), False),
    ],
)
def test_added_words_may_not_take_the_space(token, separable):
    tokenizer = make("gpt2")
    tokenizer.add_tokens([token])
    assert is_separable(tokenizer) is separable


def test_added_words_beside_a_space_put_before_every_stretch_are_not_separable():
    for name in ("gpt2-prefix-space", "llama2", "llama2-legacy-metaspace", "unigram"):
        tokenizer = make(name)
        tokenizer.add_tokens([AddedToken("house", normalized=False)])
        assert not is_separable(tokenizer)
