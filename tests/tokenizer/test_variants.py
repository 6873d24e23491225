"""All variants on all kinds of tokenizers: lossless, without dead tokens, with the model's control tokens."""

from __future__ import annotations

import json
import shutil

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from lep_core.config import AdaptConfig, BuildTokenizerConfig
from lep_core.errors import ConfigError, TokenizerError
from lep_core.tokenizer.build import build_tokenizer
from lep_core.tokenizer.checks import NASTY_TEXTS, is_lossless
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.load import as_tokenizer
from lep_core.tokenizer.pieces import learn_pieces
from lep_core.tokenizer.spm_model import read_sentencepiece_model
from tests.tokenizer.conftest import ENGLISH, KINDS, RUSSIAN, trained
from tests.tokenizer.test_build import CORPUS, Listener

SIZES = {
    "continued-bpe": {"new_tokens": 40},
    "extension": {"new_tokens": 40},
    "optimization": {"new_tokens": 40, "keep_tokens": 370},
    "bpe": {"vocab_size": 460},
    "unigram": {"vocab_size": 460},
    "leaf-pruning": {"vocab_size": 372},
}


def build(base, tmp_path, variant, *, texts=CORPUS, reporter=None, **changes):
    output = tmp_path / f"out-{variant}"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    config = BuildTokenizerConfig(base=str(base), input=("x",), output=str(output), variant=variant, **(SIZES.get(variant, {}) | changes))
    report = build_tokenizer(config, lambda: iter(texts), output, reporter or Listener())
    return as_tokenizer(base), as_tokenizer(output), report


@pytest.mark.parametrize("variant", SIZES)
def test_every_variant_is_lossless_reachable_and_keeps_control_tokens(variant, kind, make_folder, tmp_path):
    old, new, report = build(make_folder(kind), tmp_path, variant)
    assert report.round_trip_ok
    assert report.unreachable_tokens == 0
    assert report.vocab_size == new.get_vocab_size()
    assert all(is_lossless(new, text) or not is_lossless(old, text) for text in (*NASTY_TEXTS, *CORPUS))
    for added in old.get_added_tokens_decoder().values():
        index = new.token_to_id(added.content)
        assert new.encode(f"a{added.content}b", add_special_tokens=False).ids.count(index) == 1
    assert new.encode("дом").ids[0] == new.token_to_id("<s>")


@pytest.mark.parametrize("variant", SIZES)
def test_numbers_are_cut_as_before(variant, kind, make_folder, tmp_path):
    old, new, _ = build(make_folder(kind), tmp_path, variant)
    for text in ("12", "1234567", "3.14", "x 2004 12 12345"):
        before, after = (t.encode(text, add_special_tokens=False).offsets for t in (old, new))
        digits = [[span for span in spans if any(map(str.isdecimal, text[slice(*span)]))] for spans in (before, after)]
        assert digits[0] == digits[1]


@pytest.mark.parametrize("variant", SIZES)
@pytest.mark.parametrize("kind", ["ignore-merges", "prepend"])
def test_random_text_survives_every_variant(variant, kind, make_folder, tmp_path):
    old, new, _ = build(make_folder(kind), tmp_path, variant)

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @hypothesis.given(
        st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \n\t▁<0x1>ёе\u0301я12")), max_size=40)
    )
    def survives(text):
        assert is_lossless(new, text) or not is_lossless(old, text)

    survives()


def unigram_base(make_folder) -> str:
    data = json.loads(trained("metaspace"))
    pieces = list(data["model"]["vocab"])
    scores = [[piece, -1000.0 if piece.startswith("<") and len(piece) > 1 else -2.0 - len(piece) / 4] for piece in pieces]
    data["model"] = {"type": "Unigram", "unk_id": 0, "vocab": scores, "byte_fallback": True}
    return make_folder("unigram", text=json.dumps(data))


@pytest.mark.parametrize("variant", ["continued-bpe", "extension", "bpe", "unigram", "optimization"])
def test_a_unigram_base_can_be_adapted(variant, make_folder, tmp_path):
    old, new, report = build(unigram_base(make_folder), tmp_path, variant, texts=list(RUSSIAN) * 4)
    assert (report.unreachable_tokens, report.round_trip_ok) == (0, True)
    assert report.characters_per_token_after > report.characters_per_token_before
    if variant in ("continued-bpe", "extension"):
        for text in ENGLISH[:4]:
            assert new.encode(text).ids == old.encode(text).ids


def test_leaf_pruning_of_a_unigram_base_is_refused(make_folder, tmp_path):
    with pytest.raises(TokenizerError, match="has none"):
        build(unigram_base(make_folder), tmp_path, "leaf-pruning")


def test_leaf_pruning_drops_the_least_frequent_tokens(make_folder, tmp_path):
    old, new, report = build(make_folder("byte-level"), tmp_path, "leaf-pruning", texts=["the the the " * 9])
    assert report.removed_tokens == old.get_vocab_size() - 372
    assert new.token_to_id("Ġthe") is not None
    assert report.characters_per_token_after == report.characters_per_token_before
    assert report.curve[0]["vocab_size"] == old.get_vocab_size()
    assert report.curve[-1]["vocab_size"] == 372


@pytest.mark.parametrize("variant", ["continued-bpe", "bpe"])
def test_the_curve_says_what_a_smaller_training_would_give(variant, make_folder, tmp_path):
    size = "vocab_size" if variant == "bpe" else "new_tokens"
    _, _, report = build(make_folder("byte-level"), tmp_path, variant, **{size: 400 if variant == "bpe" else 60})
    assert set(report.curve[0]) == {"new_tokens", "vocab_size", "characters_per_token"}
    assert report.curve[0]["new_tokens"] == 0
    assert report.curve[0]["characters_per_token"] == report.characters_per_token_before
    assert report.curve[-1]["characters_per_token"] == pytest.approx(report.characters_per_token_after)
    point = report.curve[-2]
    wanted = point["vocab_size"] if variant == "bpe" else point["new_tokens"]
    _, _, smaller = build(make_folder("byte-level"), tmp_path, variant, **{size: wanted})
    assert smaller.characters_per_token_after == pytest.approx(point["characters_per_token"], rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_another_familys_tokenizer_can_be_imported(kind, make_folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text(trained("prepend" if kind in KINDS[:3] else "ignore-merges"))
    old, new, _ = build(make_folder(kind), tmp_path, "import", source=str(other))
    given = as_tokenizer(other)
    assert all(is_lossless(new, text) or not is_lossless(old, text) or not is_lossless(given, text) for text in NASTY_TEXTS)
    special = {a.content for a in old.get_added_tokens_decoder().values() if a.special}
    assert special <= {a.content for a in new.get_added_tokens_decoder().values()}
    assert new.encode("дом").ids[0] == new.token_to_id("<s>")
    again = build(make_folder(kind), tmp_path, "extension", source=str(other), new_tokens=None)[2]
    assert again.unreachable_tokens == 0


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_a_sentencepiece_model_is_imported_with_the_ids_of_the_library(model_type, make_folder, tmp_path):
    import sentencepiece

    (tmp_path / "text").write_text("\n".join(CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "m"), model_type=model_type, vocab_size=420, byte_fallback=True,
        normalization_rule_name="identity", minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    _, new, report = build(make_folder("prepend"), tmp_path, "import", source=str(tmp_path / "m.model"))
    assert report.round_trip_ok
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    for text in RUSSIAN[:3]:
        assert new.encode(text, add_special_tokens=False).tokens == processor.encode(text, out_type=str)


def test_something_else_is_no_sentencepiece_model(tmp_path):
    path = tmp_path / "x.model"
    for content in (b"", b"\x0a\xff\xff\xff\xff\x0fabc", b"PK\x03\x04 zip", b"\x80\x04pickle", b"\x0a\x03\x0a\x01a"):
        path.write_bytes(content)
        if content.endswith(b"a"):
            assert read_sentencepiece_model(path).pieces == [("a", 0.0, 1)]
        else:
            with pytest.raises(TokenizerError, match=r"x\.model"):
                read_sentencepiece_model(path)


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"variant": "import"}, "needs a tokenizer"),
        ({"variant": "import", "source": "s", "vocab_size": 9}, "own size"),
        ({"variant": "leaf-pruning", "new_tokens": 9}, "only drops"),
        ({"variant": "unigram", "new_tokens": 9}, "adds no tokens"),
        ({"variant": "bpe", "source": "s"}, "takes no ready tokenizer"),
        ({"variant": "bpe", "keep_tokens": 3}, "does not choose"),
        ({"paper": True}, "no published recipe"),
    ],
)
def test_contradictions_are_refused(settings_, words):
    with pytest.raises(ConfigError, match=words):
        BuildTokenizerConfig(base="b", input=("t",), output="o", **settings_)
    if not {"keep_tokens", "paper"} & settings_.keys():
        with pytest.raises(ConfigError, match=words):
            AdaptConfig(base="b", instruct="i", input=("t",), output="o", **settings_)


@pytest.mark.parametrize(("size", "words"), [(5_000, "has only"), (20, "alone take")])
def test_leaf_pruning_to_an_impossible_size_names_both_numbers(size, words, make_folder, tmp_path):
    with pytest.raises(ConfigError, match=f"is {size}, .*{words}"):
        build(make_folder("byte-level"), tmp_path, "leaf-pruning", vocab_size=size)


@pytest.mark.parametrize("variant", ["extension", "optimization", "bpe", "unigram"])
def test_the_published_recipe_runs_and_is_worse_or_lossy(variant, make_folder, tmp_path):
    changes = {"new_tokens": 400} if variant in ("extension", "optimization") else {"vocab_size": 420}
    _, new, report = build(make_folder("ignore-merges"), tmp_path, variant, paper=True, **changes)
    assert report.vocab_size == new.get_vocab_size()
    if variant in ("bpe", "unigram"):
        assert not report.round_trip_ok
    else:
        assert report.unreachable_tokens > 0


@pytest.mark.parametrize("variant", ["bpe", "unigram"])
def test_a_published_size_below_the_characters_of_the_corpus_names_both_numbers(variant, make_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"of 270 tokens is too small: .* alone take 3\d\d"):
        build(make_folder("ignore-merges"), tmp_path, variant, paper=True, vocab_size=270)


def test_importing_leaves_out_runs_of_spaces_and_says_so(make_folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text(trained("prepend"))
    listener = Listener()
    old, new, _ = build(make_folder("ignore-merges"), tmp_path, "import", source=str(other), reporter=listener)
    assert "    " in old.get_vocab()
    assert "    " not in new.get_vocab()
    assert any("only white space are left out (1)" in message for message in listener.messages)
    assert is_lossless(new, "a    b  c")


def test_a_language_that_the_pre_tokenizer_cuts_is_named(make_folder, tmp_path):
    listener = Listener()
    build(make_folder("byte-level"), tmp_path, "continued-bpe", texts=["हिन्दी भाषा में लिखा हुआ पाठ " * 5], reporter=listener, new_tokens=5)
    assert any("vowel signs" in message for message in listener.messages)


def test_damaged_definitions_name_the_file(make_folder, tmp_path):
    data = json.loads(trained("byte-level"))
    data["model"]["vocab"]["zz"] = 5
    folder = make_folder("byte-level", text=json.dumps(data))
    with pytest.raises(TokenizerError, match=r"base-byte-level.*share"):
        Definition.parse(data, str(folder))


def test_sentencepiece_finds_the_merges_of_plain_bpe():
    words = {"низкий": 5, "низко": 7, "новый": 6, "новее": 3}
    pieces = learn_pieces(words, sorted({c for w in words for c in w}), pieces=6, longest=16)
    vocab = {text: index for index, text in enumerate([*sorted({c for w in words for c in w}), *pieces])}
    assert pieces[0] in ("ни", "из", "зк")
    assert Tokenizer(models.BPE({t: i for t, i in vocab.items() if len(t) == 1}, [])).get_vocab_size() < len(vocab)
