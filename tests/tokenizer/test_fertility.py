import json
import re
import unicodedata

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from lep_core.tokenizer import fertility, token_meter
from lep_core.tokenizer.browse import new_token_table, token_spans
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.fertility import measure_fertility
from tests.tokenizer.conftest import ENGLISH, KINDS, RUSSIAN, trained
from tests.tokenizer.layouts import LAYOUTS, layout

TEXTS = [*ENGLISH, *RUSSIAN, "  👩‍👩‍👧 emoji\u2003wide\u00a0space\r\n\r\nend  ", "x"]


def measure(name, texts=TEXTS):
    return measure_fertility([(name, Tokenizer.from_str(trained(name)))], texts).tokenizers[0]


def by_hand(tokenizer, texts):
    """The definitions again, character by character, from the library's own offsets."""
    tokens = words = continued = single = 0
    for text in texts:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        tokens += len(encoding.ids)
        for match in re.finditer(r"\S+", text):
            words += 1
            touching = sum(1 for start, end in encoding.offsets if start < match.end() and end > match.start())
            continued += touching > 1
            single += touching == 1
    return tokens, words, continued / words, single / words


def test_figures_agree_with_a_count_by_hand(kind):
    tokenizer = Tokenizer.from_str(trained(kind))
    got = measure(kind)
    tokens, words, continued, single = by_hand(tokenizer, TEXTS)
    characters, size = sum(map(len, TEXTS)), sum(len(text.encode()) for text in TEXTS)
    assert (got.tokens, got.words, got.characters, got.bytes) == (tokens, words, characters, size)
    assert got.tokens_per_word == tokens / words
    assert got.characters_per_token == characters / tokens
    assert got.bytes_per_token == size / tokens
    assert got.single_token_word_rate + got.continued_word_rate == pytest.approx(1)
    # Character offsets count the space before the first word as its token where a SentencePiece normaliser put it there.
    slack = 0 if kind in KINDS[:3] else len(TEXTS) / words
    assert got.continued_word_rate == pytest.approx(continued, abs=slack + 1e-12)
    assert got.single_token_word_rate == pytest.approx(single, abs=slack + 1e-12)
    used = {index for text in TEXTS for index in tokenizer.encode(text, add_special_tokens=False).ids}
    assert got.vocabulary_used_rate == len(used) / tokenizer.get_vocab_size()
    assert got.vocab_size == tokenizer.get_vocab_size()
    decoded = [tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) for text in TEXTS]
    assert got.round_trip_ok == (decoded == TEXTS)


def test_a_known_text_gives_known_figures():
    tokenizer = Tokenizer(models.BPE({**{c: i for i, c in enumerate("abcĠ")}, "ab": 4, "Ġab": 5}, [("a", "b"), ("Ġ", "ab")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import decoders

    tokenizer.decoder = decoders.ByteLevel()
    got = measure_fertility([("small", tokenizer)], ["ab ab abc"]).tokenizers[0]
    assert (got.tokens, got.words, got.characters) == (4, 3, 9)
    assert got.continued_word_rate == pytest.approx(1 / 3)
    assert got.single_token_word_rate == pytest.approx(2 / 3)
    assert got.vocabulary_used_rate == pytest.approx(3 / 6)


def test_words_are_counted_by_offsets_when_the_normaliser_changes_the_text():
    tokenizer = Tokenizer.from_str(trained("byte-level"))
    tokenizer.normalizer = normalizers.NFC()
    got = measure_fertility([("nfc", tokenizer)], ["cafe\u0301 house e\u0301"]).tokenizers[0]
    assert got.words == 3
    assert not got.round_trip_ok
    assert got.continued_word_rate + got.single_token_word_rate == pytest.approx(1)


def test_special_literals_in_text_are_plain_text_and_the_caller_s_tokenizer_is_left_alone():
    tokenizer = Tokenizer.from_str(trained("byte-level"))
    tokenizer.enable_truncation(2)
    got = measure_fertility([("t", tokenizer)], ["<s> a <s>"]).tokenizers[0]
    assert got.tokens > 5
    assert tokenizer.truncation["max_length"] == 2
    assert not tokenizer.encode_special_tokens


def test_many_tokenizers_are_measured_in_one_pass():
    seen = []

    def stream():
        for text in TEXTS * 40:
            seen.append(text)
            yield text

    report = measure_fertility([(kind, Tokenizer.from_str(trained(kind))) for kind in KINDS], stream())
    assert len(seen) == report.texts == len(TEXTS) * 40
    assert [entry.name for entry in report.tokenizers] == list(KINDS)
    assert report.tokenizers[0].tokens == 40 * measure("byte-level").tokens
    assert json.loads(json.dumps(report.to_json()))["tokenizers"][0]["name"] == "byte-level"


def test_a_text_that_is_lost_late_is_noticed():
    texts = ["house"] * 100
    assert measure("metaspace", texts).round_trip_ok
    assert not measure("metaspace", [*texts, " house"]).round_trip_ok  # this tokenizer drops the leading space


def test_nothing_to_measure_gives_zeros():
    got = measure("byte-level", [])
    assert (got.tokens, got.words, got.tokens_per_word, got.characters_per_token) == (0, 0, 0, 0)


def test_lone_surrogates_do_not_stop_the_measurement():
    assert measure("byte-level", ["a\ud800b"]).characters == 3


AWKWARD = (
    *ENGLISH,
    *RUSSIAN,
    *(unicodedata.normalize("NFD", text) for text in RUSSIAN),
    "",
    " ",
    "\n",
    " leading, two  inside and trailing  ",
    "a literal \u2581 mark \u2581and \u2581\u2581",
    "日本語の文章には空白がありません。" * 90,
    "x" * 3000 + " y",
    "tab\tand\u00a0no-break \u3000wide\u2028line \x1c end\r\n\r\n",
    "<s> and <|endoftext|> are <0x0A> words",
    "👩‍👩‍👧 emoji 𝕏 𐍈 \u0301 alone",
    "a\ud800b lone",
)


@pytest.mark.parametrize("name", [*KINDS, *LAYOUTS])
def test_encoding_each_distinct_stretch_once_changes_no_figure(name, monkeypatch):
    tokenizer = Tokenizer.from_str(trained(name) if name in KINDS else layout(name))
    texts = {"first": AWKWARD * 2, "second": AWKWARD[:9]}
    fast = measure_fertility([("t", tokenizer)], texts).tokenizers[0]
    monkeypatch.setattr(fertility, "_HELD_BYTES", 0)
    monkeypatch.setattr(fertility, "_BLOCK_CHARACTERS", 100)
    assert measure_fertility([("t", tokenizer)], texts).tokenizers[0] == fast
    monkeypatch.setattr(token_meter, "is_separable", lambda tokenizer: False)
    assert measure_fertility([("t", tokenizer)], texts).tokenizers[0] == fast


@pytest.mark.parametrize("name", LAYOUTS)
def test_figures_of_known_layouts_agree_with_a_count_by_hand(name):
    tokenizer = Tokenizer.from_str(layout(name))
    texts = [*ENGLISH, *RUSSIAN, "Мир  и\u00a0война\n"]
    got = measure_fertility([(name, tokenizer)], texts).tokenizers[0]
    tokens, words, continued, single = by_hand(tokenizer, texts)
    assert (got.tokens, got.words) == (tokens, words)
    # Offsets count the space before the first word as a token of it, where one was put there and is a token by itself.
    slack = len(texts) / words if name in ("gpt2-prefix-space", "llama2", "llama2-legacy-metaspace", "unigram") else 0
    assert got.continued_word_rate == pytest.approx(continued, abs=slack + 1e-12)
    assert got.single_token_word_rate == pytest.approx(single, abs=slack + 1e-12)
    assert got.round_trip_ok == (name != "gpt2-prefix-space")


def test_a_tokenizer_that_fails_on_the_sample_encodes_whole_texts(monkeypatch):
    monkeypatch.setattr(token_meter, "is_separable", lambda tokenizer: True)
    definition = json.loads(trained("byte-level"))
    definition["pre_tokenizer"]["pretokenizers"] = [
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    ]
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    texts = ["The old house stands by the river. " * 3, *ENGLISH]
    definition["model"]["vocab"]["eĠ"] = tokenizer.get_vocab_size()
    definition["model"]["merges"].insert(0, ["e", "Ġ"])
    joins = Tokenizer.from_str(json.dumps(definition))
    meter = token_meter.TokenMeter("whole", joins)
    meter.try_on([text.encode() for text in texts])
    assert not meter.separable
    got = measure_fertility([("t", joins)], texts).tokenizers[0]
    assert got.tokens == sum(len(joins.encode(text).ids) - len(joins.encode("").ids) for text in texts)


def test_every_input_has_its_own_figures():
    texts = {"english": list(ENGLISH), "russian": list(RUSSIAN)}
    report = measure_fertility([(kind, Tokenizer.from_str(trained(kind))) for kind in KINDS], texts)
    for entry in report.tokenizers:
        assert [part.name for part in entry.inputs] == ["english", "russian"]
        for part in entry.inputs:
            alone = measure(entry.name, texts[part.name])
            for name in ("tokens", "words", "characters", "bytes", "tokens_per_word", "characters_per_token"):
                assert getattr(part, name) == getattr(alone, name)
        assert sum(part.tokens for part in entry.inputs) == entry.tokens
    assert list(report.to_json()["tokenizers"][0]["inputs"][0]) == [
        "name",
        "tokens",
        "words",
        "characters",
        "bytes",
        "tokens_per_word",
        "characters_per_token",
    ]


def test_a_stopped_measurement_gives_the_figures_so_far():
    class Stopping:
        def __getattr__(self, name):
            return (lambda: True) if name == "should_stop" else (lambda *values: None)

    report = measure_fertility([("t", Tokenizer.from_str(trained("byte-level")))], {"one": ENGLISH, "two": RUSSIAN}, Stopping())
    first, second = report.tokenizers[0].inputs
    assert first.tokens == measure("byte-level", ENGLISH).tokens
    assert second.tokens == second.words == 0


@pytest.mark.parametrize("text", ["Привет, мир! 👩‍👩‍👧 ң🙂 x", "  a\n\nb\t", "", " ", "日本語 and ёлка"])
def test_coloured_spans_together_are_the_text(kind, text):
    tokenizer = Tokenizer.from_str(trained(kind))
    spans = token_spans(tokenizer, text)
    assert "".join(span.text for span in spans) == text
    assert [index for span in spans for index in span.ids] == tokenizer.encode(text, add_special_tokens=False).ids


def test_new_tokens_are_listed_with_counts_and_old_pieces():
    old = Tokenizer.from_str(trained("byte-level"))
    definition = json.loads(trained("byte-level"))
    size = old.get_vocab_size()
    definition["model"]["vocab"].update({token["content"]: token["id"] for token in definition["added_tokens"]})
    definition["model"]["vocab"]["ĠtheĠ"] = size
    definition["model"]["vocab"]["zq"] = size + 1
    definition["model"]["merges"].append(["z", "q"])
    new = Tokenizer.from_str(json.dumps(definition))
    table = new_token_table(old, new, ["zqzq the", "zq"])
    assert table[0] == {"token": "zq", "id": size + 1, "count": 3, "old_pieces": ["z", "q"]}
    assert table[1]["token"] == " the "
    assert table[1]["count"] == 0
    assert "".join(table[1]["old_pieces"]) == " the "
    assert len(token_bytes(new)) == size + 2
