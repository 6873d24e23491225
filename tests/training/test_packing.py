from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lep_core.errors import CorpusError
from lep_core.models import load_tokenizer
from lep_core.training.loss import IGNORED
from lep_core.training.packing import Encoder, pack
from tests.factories import SENTENCES, tiny_tokenizer

DOCUMENTS = ["\n".join(SENTENCES[start % 12 :] + SENTENCES[: start % 5]) for start in range(30)]


@pytest.fixture(params=["byte-level", "sentencepiece"])
def encoder(request, tmp_path):
    return make_encoder(tmp_path, family=request.param)


@pytest.fixture(scope="module")
def fixed_encoder(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("encoder"))


def make_encoder(tmp_path, *, family="byte-level"):
    tokenizer = load_tokenizer(tiny_tokenizer(tmp_path / "tokenizer", family=family))
    return Encoder(tokenizer, rows=len(tokenizer), eos=None)


def test_no_token_is_lost_and_documents_stand_between_bos_and_eos(encoder, tmp_path):
    packed = pack(DOCUMENTS, encoder, tmp_path / "t", block_size=64)
    expected = [token for ids in encoder.encode(DOCUMENTS) for token in (encoder.bos, *ids, encoder.eos)]
    assert packed.tokens.tolist() == expected
    covered = np.zeros(len(expected), dtype=int)
    for start in packed.starts:
        covered[start : start + 64] += 1
    assert covered.min() == 1
    assert packed.repeated_share == pytest.approx(1 - len(expected) / covered.sum())


def part_starts(packed, encoder):
    """Positions of document and paragraph starts, one by one."""
    found = {0}
    for position in range(1, len(packed.tokens)):
        before, token = packed.tokens[position - 1], packed.tokens[position]
        if token == encoder.bos or (encoder.ends_part_V[before] and not encoder.begins_no_part_V[token]):
            found.add(position)
    return found


def test_where_paragraphs_are_short_every_block_begins_at_a_document_or_paragraph_start(encoder, tmp_path):
    packed = pack(["to be\n" * 400] * 4, encoder, tmp_path / "t", block_size=200)
    assert len(packed) > 10
    assert set(packed.starts.tolist()) <= part_starts(packed, encoder)
    assert packed.begins_share == 1
    assert 0 < packed.repeated_share <= 0.05


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=8), min_size=1, max_size=8),
    block_size=st.integers(8, 200),
)
def test_blocks_cover_every_token_and_read_at_most_one_in_twenty_twice(tmp_path_factory, fixed_encoder, documents, block_size):
    texts = ["\n".join("word " * words for words in document) for document in documents]
    path = tmp_path_factory.mktemp("packed") / "t"
    try:
        packed = pack(texts, fixed_encoder, path, block_size=block_size)
    except CorpusError:
        return
    total, starts = len(packed.tokens), packed.starts
    assert starts[0] == 0
    assert starts[-1] + 1 < total <= starts[-1] + block_size + 1
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts) <= block_size).all()
    read = int(np.minimum(starts + block_size, total).sum() - starts.sum())
    assert packed.repeated_share == pytest.approx(max(0, 1 - total / read))
    assert packed.repeated_share <= max(0.05, 0.03125)
    parts = part_starts(packed, fixed_encoder)
    went_back = [start for start, before in zip(starts[1:], starts, strict=False) if start != before + block_size]
    assert set(went_back) <= parts, "a block goes back to the start of something"
    assert packed.begins_share * len(packed) == pytest.approx(sum(int(start) in parts for start in starts), abs=0.01)


def test_a_paragraph_longer_than_a_block_goes_on_in_the_next_block(tmp_path):
    encoder = make_encoder(tmp_path)
    packed = pack(["long " * 500], encoder, tmp_path / "t", block_size=32)
    assert np.diff(packed.starts).tolist() == [32] * (len(packed) - 1)
    assert packed.repeated_share == 0


@pytest.mark.parametrize("beyond", [0, 1, 2])
def test_every_block_has_a_target_whatever_the_length_of_the_text(tmp_path, beyond):
    encoder = make_encoder(tmp_path)
    total = len(encoder.stream(["long " * 500]))
    size = next(size for size in range(8, total) if total % size == beyond)
    packed = pack(["long " * 500], encoder, tmp_path / "t", block_size=size)
    _, targets = packed.rows(np.arange(len(packed)))
    assert (targets != IGNORED).any(axis=1).all()
    assert (targets != IGNORED).sum() == total - 1, "every token but the first is learned"


def test_targets_are_the_next_tokens_and_only_the_end_of_the_text_has_none(encoder, tmp_path):
    packed = pack(DOCUMENTS, encoder, tmp_path / "t", block_size=50)
    inputs, targets = packed.rows(np.arange(len(packed)))
    for row, start in enumerate(packed.starts):
        expected = packed.tokens[start + 1 : start + 51].tolist()
        assert targets[row, : len(expected)].tolist() == expected
        assert (targets[row, len(expected) :] == IGNORED).all()
    assert (targets[:-1] != IGNORED).all()
    assert (inputs[:-1, 1:] == targets[:-1, :-1]).all()


def test_packing_is_deterministic_and_the_fingerprint_follows_the_text(tmp_path):
    encoder = make_encoder(tmp_path)
    one, same = (pack(DOCUMENTS, encoder, tmp_path / name, block_size=64) for name in "ab")
    other = pack([*DOCUMENTS[:-1], DOCUMENTS[-1] + "!"], encoder, tmp_path / "c", block_size=64)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.starts.tolist() == same.starts.tolist()
    assert (tmp_path / "a").stat().st_size == 2 * len(one.tokens), "two bytes a token"


def test_special_tokens_in_the_text_stay_text(encoder):
    ids = encoder.encode(["a </s> b <s> c"])[0]
    assert encoder.bos not in ids
    assert encoder.eos not in ids


def test_bytes_of_tokens_add_up_to_the_text(tmp_path):
    encoder = make_encoder(tmp_path)
    ids = encoder.encode([DOCUMENTS[3]])[0]
    assert encoder.token_bytes_V[ids].sum() == len(DOCUMENTS[3].encode())
    assert encoder.token_bytes_V[[encoder.bos, encoder.eos]].sum() == 0


def test_a_text_shorter_than_a_block_is_refused_with_both_numbers(tmp_path):
    encoder = make_encoder(tmp_path)
    with pytest.raises(CorpusError, match=r"has \d+ tokens, one block needs 512"):
        pack(["short"], encoder, tmp_path / "t", block_size=512)
    with pytest.raises(CorpusError, match="has 0 tokens"):
        pack(["", ""], encoder, tmp_path / "t", block_size=8)


def test_an_eos_id_beyond_the_vocabulary_is_no_token(tmp_path):
    tokenizer = load_tokenizer(tiny_tokenizer(tmp_path / "tokenizer"))
    tokenizer.eos_token = None
    encoder = Encoder(tokenizer, rows=len(tokenizer), eos=len(tokenizer) + 5)
    assert encoder.eos is None
    packed = pack(DOCUMENTS, encoder, tmp_path / "t", block_size=64)
    assert packed.tokens.max() < len(tokenizer)
