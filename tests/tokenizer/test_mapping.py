import itertools
import math
import re

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer

from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.mapping import build_mapping, spell
from tests.tokenizer.conftest import KINDS, trained
from tests.tokenizer.layouts import layout


def load(kind):
    return Tokenizer.from_str(trained(kind))


@pytest.mark.parametrize(("old_kind", "new_kind"), list(itertools.permutations(("byte-level", "ignore-merges", "prepend"), 2)))
def test_pieces_spell_exactly_the_bytes_of_each_token(old_kind, new_kind):
    old, new = load(old_kind), load(new_kind)
    mapping = build_mapping(old, new)
    old_bytes, new_bytes = token_bytes(old), token_bytes(new)
    for index, data in enumerate(new_bytes):
        if data is not None:
            assert b"".join(old_bytes[piece] for piece in mapping.pieces_of(index)) == data


@pytest.mark.parametrize(("old_kind", "new_kind"), [("byte-level", "prepend"), ("prepend", "byte-level"), ("metaspace", "prepend")])
def test_tokens_are_shared_when_and_only_when_their_bytes_are_equal(old_kind, new_kind):
    old, new = load(old_kind), load(new_kind)
    mapping = build_mapping(old, new)
    old_bytes, new_bytes = token_bytes(old), token_bytes(new)
    pairs = list(zip(mapping.shared_new_ids.tolist(), mapping.shared_old_ids.tolist(), strict=True))
    assert all(new_bytes[first] == old_bytes[second] for first, second in pairs)
    assert len(set(mapping.shared_old_ids.tolist())) == len(pairs)
    assert {new_bytes[first] for first, _ in pairs} == (set(old_bytes) & set(new_bytes)) - {None}
    assert {old_bytes[index] for index in mapping.pruned.tolist()} - {None} == set(old_bytes) - set(new_bytes) - {None}


def test_the_same_vocabulary_is_mapped_to_itself(kind):
    mapping = build_mapping(load(kind), load(kind))
    assert (mapping.matrix() != _identity(mapping.new_size)).nnz == 0
    assert len(mapping.pruned) == len(mapping.missing) == mapping.fallbacks == 0
    assert np.array_equal(mapping.shared_new_ids, mapping.shared_old_ids)


def _identity(size):
    from scipy.sparse import identity

    return identity(size, format="csr")


def test_special_tokens_are_matched_by_string_and_new_ones_are_missing():
    old, new = load("byte-level"), load("byte-level")
    new.add_special_tokens([AddedToken("<|new|>", special=True)])
    mapping = build_mapping(old, new)
    assert dict(zip(mapping.special_new_ids.tolist(), mapping.special_old_ids.tolist(), strict=True))[
        new.token_to_id("<s>")
    ] == old.token_to_id("<s>")
    assert mapping.missing.tolist() == [new.token_to_id("<|new|>")]


def test_new_words_that_are_added_tokens_are_spelled():
    old, new = load("prepend"), load("prepend")
    new.add_tokens([AddedToken("house дом", special=False)])
    mapping = build_mapping(old, new)
    table = token_bytes(old)
    assert b"".join(table[piece] for piece in mapping.pieces_of(new.token_to_id("house дом"))) == "house дом".encode()


def test_rows_sum_to_one_and_weights_follow_the_method():
    old, new = load("byte-level"), load("prepend")
    mapping = build_mapping(old, new)
    long = int(np.argmax(np.diff(mapping.pieces_indptr)))
    pieces = mapping.pieces_of(long)
    assert len(pieces) > 2
    for weights, formula in (("mean", lambda k: 1.0), ("weighted-mean", lambda k: math.exp(-0.5 * k))):
        matrix = mapping.matrix(weights, decay=0.5)
        sums = np.asarray(matrix.sum(axis=1)).ravel()
        assert np.allclose(np.delete(sums, mapping.missing), 1.0)
        expected = np.zeros(mapping.old_size)
        for k, piece in enumerate(pieces):
            expected[piece] += formula(k) / sum(map(formula, range(len(pieces))))
        assert np.allclose(matrix[long].toarray().ravel(), expected)
        shared = matrix[mapping.shared_new_ids, mapping.shared_old_ids]
        assert np.all(np.asarray(shared) == 1.0)
    with pytest.raises(ValueError, match="weights"):
        mapping.matrix("other")


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_characters_and_literal_marks_are_spelled_in_bytes(kind):
    tokenizer = load(kind)
    table = token_bytes(tokenizer)
    wanted = [
        b"\xd0",
        b"\xbf\xd1\x80",
        " привет".encode(),
        "▁".encode(),
        b" \xd0",
        b"\xff\xfe house",
        bytes(range(256)),
        "a ▁ b".encode(),
        b"\x00",
        b"  x",
    ]
    spelled, _ = spell(tokenizer, table, wanted)
    assert [b"".join(table[piece] for piece in pieces) for pieces in spelled] == wanted


def test_pieces_are_those_that_the_old_tokenizer_makes_of_the_word(kind):
    tokenizer = load(kind)
    wanted = [" house", " there", " Приветы", " winters"]
    spelled, fallbacks = spell(tokenizer, token_bytes(tokenizer), [word.encode() for word in wanted])
    assert fallbacks == 0
    for word, pieces in zip(wanted, spelled, strict=True):
        text = word if kind in KINDS[:3] else word.removeprefix(" ")
        assert tokenizer.encode(text, add_special_tokens=False).ids == pieces


def test_cyrillic_tokens_are_shared_between_the_families(shared_data):
    old = Tokenizer.from_file(str(shared_data / "tokenizers/mistral-7b-v0.1/tokenizer.json"))
    new = Tokenizer.from_file(str(shared_data / "tokenizers/gpt-neox-20b/tokenizer.json"))
    mapping = build_mapping(old, new)
    table = token_bytes(new)
    cyrillic = [index for index in mapping.shared_new_ids if any("а" <= c <= "я" for c in table[index].decode("utf-8", "ignore"))]
    names = set(new.get_vocab())
    raw = [token for token in old.get_vocab() if token in names and any("а" <= c <= "я" for c in token)]
    assert len(cyrillic) > 200
    assert not raw
    old_table = token_bytes(old)
    assert all(b"".join(old_table[p] for p in mapping.pieces_of(i)) == data for i, data in enumerate(table) if data is not None)


def test_whitespace_pieces_weigh_less_when_asked_and_only_beside_others():
    old, new = load("byte-level"), load("prepend")
    mapping = build_mapping(old, new)
    table = token_bytes(old)
    plain, lighter = mapping.matrix(), mapping.matrix(space_penalty=0.1)
    touched = 0
    for index in range(mapping.new_size):
        pieces = mapping.pieces_of(index)
        weights = [0.1 if table[piece] is not None and table[piece].isspace() and len(pieces) > 1 else 1.0 for piece in pieces]
        expected = np.zeros(mapping.old_size)
        for piece, weight in zip(pieces, weights, strict=True):
            expected[piece] += weight / sum(weights)
        assert np.allclose(lighter[index].toarray().ravel(), expected)
        touched += 0.1 in weights and len(set(weights)) == 2
    assert touched > 3
    assert (mapping.matrix(space_penalty=1.0) != plain).nnz == 0
    weighted = mapping.matrix("weighted-mean", decay=0.5, space_penalty=0.1)
    assert np.allclose(np.delete(np.asarray(weighted.sum(axis=1)).ravel(), mapping.missing), 1.0)
    with pytest.raises(ValueError, match="space_penalty"):
        mapping.matrix(space_penalty=0)


@pytest.mark.parametrize("other", ["byte-level", "prepend"])
@pytest.mark.parametrize("swapped", [False, True])
def test_unigram_vocabularies_are_mapped_like_others(other, swapped):
    old, new = Tokenizer.from_str(layout("unigram")), load(other)
    if swapped:
        old, new = new, old
    mapping = build_mapping(old, new)
    old_bytes, new_bytes = token_bytes(old), token_bytes(new)
    spelled = [b"".join(old_bytes[piece] for piece in mapping.pieces_of(index)) for index, data in enumerate(new_bytes) if data is not None]
    assert spelled == [data for data in new_bytes if data is not None]
    assert {new_bytes[index] for index in mapping.shared_new_ids} == (set(old_bytes) & set(new_bytes)) - {None}


def test_the_unknown_token_of_a_unigram_model_is_no_text():
    tokenizer = Tokenizer.from_str(layout("unigram"))
    plain = Tokenizer(tokenizer.model)
    plain.pre_tokenizer = tokenizer.pre_tokenizer
    unknown = tokenizer.token_to_id("<unk>")
    assert token_bytes(tokenizer)[unknown] is None
    assert token_bytes(plain)[unknown] is None


def test_mistral_and_llama_3_share_1174_cyrillic_tokens(real_tokenizers):
    mistral, llama = real_tokenizers("mistral-7b-v0.1"), real_tokenizers("llama-3")
    mapping = build_mapping(mistral, llama)
    table, old_table = token_bytes(llama), token_bytes(mistral)
    texts = [table[index].decode("utf-8", "replace") for index in mapping.shared_new_ids]
    assert sum(bool(re.search("[А-Яа-я]", text)) for text in texts) == 1174
    assert mapping.fallbacks == 0
    for index, data in enumerate(table):
        if data is not None:
            assert b"".join(old_table[piece] for piece in mapping.pieces_of(index)) == data
