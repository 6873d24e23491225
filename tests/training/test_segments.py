from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lep_core.tokenizer.separable import is_separable
from lep_core.training import segments
from lep_core.training.segments import SegmentEncoder
from tests.factories import SENTENCES, tiny_tokenizer


@pytest.fixture(scope="module", params=["byte-level", "sentencepiece"])
def tokenizer(request, tmp_path_factory):
    folder = tiny_tokenizer(tmp_path_factory.mktemp(request.param), family=request.param)
    found = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.encode_special_tokens = True
    assert is_separable(found)
    return found


def plain(tokenizer, texts):
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def check(tokenizer, encoder, texts):
    expected = plain(tokenizer, texts)
    ids, sizes = encoder.encode(texts)
    assert sizes.tolist() == list(map(len, expected))
    assert ids.tolist() == [token for listed in expected for token in listed]


PIECES = ["a", "дом", "the", "</s>", "<s>", " ", "  ", "\n", "\t", ".", ", ", "'s", "12", "\u00a0", "\u2581", "ё", "é", "\r\n", "🙂", "-"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), min_size=1, max_size=4))
def test_ids_are_those_of_the_whole_text(tokenizer, texts):
    encoder = SegmentEncoder(tokenizer)
    if encoder.encode(texts) is None:
        assert "\u2581" in "".join(texts), "one byte stands for the three of a literal space mark"
    else:
        check(tokenizer, encoder, texts)


def test_known_stretches_are_encoded_once_and_give_the_same_ids(tokenizer, monkeypatch):
    encoder = SegmentEncoder(tokenizer)
    for _ in range(2):
        check(tokenizer, encoder, list(SENTENCES))
    assert not [key for key in encoder._numbers if " " in key]
    monkeypatch.setattr(encoder, "_learn", None)  # nothing is new
    check(tokenizer, encoder, [sentence + " and" for sentence in SENTENCES[:1]] if "and" in encoder._numbers else list(SENTENCES))


def test_memory_is_bounded_by_forgetting(tokenizer, monkeypatch):
    monkeypatch.setattr(segments, "_MOST_KNOWN", 20)
    encoder = SegmentEncoder(tokenizer)
    for sentence in SENTENCES:
        check(tokenizer, encoder, [sentence, sentence])
        assert len(encoder._numbers) <= 40


def test_tokens_that_do_not_spell_the_text_are_noticed(tokenizer):
    encoder = SegmentEncoder(tokenizer)
    encoder._token_bytes_V = np.ones_like(encoder._token_bytes_V)
    assert encoder.encode([SENTENCES[0]]) is None


@pytest.mark.parametrize("name", ["mistral-7b-v0.1", "gpt-neox-20b"])
def test_real_tokenizers_and_novels_give_the_same_ids(shared_data, name):
    tokenizer = Tokenizer.from_file(str(shared_data / "tokenizers" / name / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    assert is_separable(tokenizer)
    paths = [next((shared_data / "corpora" / language).glob("*.txt")) for language in ("ru", "en", "kk", "hi")]
    check(tokenizer, SegmentEncoder(tokenizer), [path.read_text()[20_000:60_000] for path in paths])
