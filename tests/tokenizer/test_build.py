import contextlib
import json
import shutil
from itertools import islice

import pytest
from tokenizers import AddedToken, Tokenizer

from lep_core.config import BuildTokenizerConfig
from lep_core.errors import ConfigError, CorpusError, LepError, TokenizerError
from lep_core.progress import SilentReporter
from lep_core.tokenizer.build import build_tokenizer
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.checks import NASTY_TEXTS, is_lossless, unreachable_tokens
from lep_core.tokenizer.conventions import character_class
from lep_core.tokenizer.extend import encode_words
from lep_core.tokenizer.load import as_tokenizer
from lep_core.tokenizer.mapping import build_mapping
from tests.tokenizer.conftest import ENGLISH, KINDS, RUSSIAN

CORPUS = [*RUSSIAN * 4, *ENGLISH]


class Listener(SilentReporter):
    def __init__(self, stop_after: int | None = None):
        self.messages, self.stages, self.calls, self.stop_after = [], [], 0, stop_after

    def message(self, text):
        self.messages.append(text)

    def stage(self, name):
        self.stages.append(name)

    def should_stop(self):
        self.calls += 1
        return self.stop_after is not None and self.calls > self.stop_after


def build(base, tmp_path, *, variant="continued-bpe", texts=CORPUS, reporter=None, **settings):
    output = tmp_path / f"out-{variant}"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    config = BuildTokenizerConfig(base=str(base), input=("unused",), output=str(output), variant=variant, **settings)
    report = build_tokenizer(config, lambda: iter(texts), output, reporter or Listener())
    return as_tokenizer(base), as_tokenizer(output), report, output


@pytest.mark.parametrize("variant", ["continued-bpe", "extension"])
def test_new_tokens_come_after_the_old_ones_and_no_id_moves(kind, variant, make_folder, tmp_path):
    old, new, report, _ = build(make_folder(kind), tmp_path, variant=variant, new_tokens=60)
    size = old.get_vocab_size()
    assert {token: index for token, index in new.get_vocab().items() if index < size} == old.get_vocab()
    assert report.vocab_size == new.get_vocab_size() == size + 60
    assert (report.new_tokens, report.removed_tokens) == (60, 0)
    assert report.characters_per_token_after > report.characters_per_token_before


@pytest.mark.parametrize("variant", ["continued-bpe", "extension", "bpe"])
def test_every_new_token_is_reachable_by_merges_alone(kind, variant, make_folder, tmp_path):
    size = {"vocab_size": 420} if variant == "bpe" else {"new_tokens": 80}
    old, new, report, _ = build(make_folder(kind), tmp_path, variant=variant, **size)
    assert report.unreachable_tokens == 0
    definition = json.loads(new.to_str())
    definition["model"]["ignore_merges"] = False
    definition.update(normalizer=None, pre_tokenizer=None, post_processor=None, added_tokens=[])
    model = Tokenizer.from_str(json.dumps(definition))
    fresh = [token for token in new.get_vocab() if token not in old.get_vocab()]
    assert fresh
    assert all(model.encode(token).ids == [new.token_to_id(token)] for token in fresh)


@pytest.mark.parametrize("variant", ["continued-bpe", "extension", "bpe"])
def test_nothing_is_lost_that_the_old_tokenizer_keeps(kind, variant, make_folder, tmp_path):
    size = {"vocab_size": 420} if variant == "bpe" else {"new_tokens": 80}
    old, new, report, _ = build(make_folder(kind), tmp_path, variant=variant, **size)
    assert report.round_trip_ok
    for text in (*NASTY_TEXTS, *CORPUS):
        assert is_lossless(new, text) or not is_lossless(old, text)
    assert {data for data in token_bytes(new) if data is not None and len(data) == 1} == {bytes([byte]) for byte in range(256)}


@pytest.mark.parametrize("variant", ["continued-bpe", "extension"])
def test_english_keeps_its_tokens(kind, variant, make_folder, tmp_path):
    old, new, _, _ = build(make_folder(kind), tmp_path, variant=variant, texts=list(RUSSIAN * 4), new_tokens=60)
    for text in (*ENGLISH[:4], "Totally new: the cat's 2,048 hats - no.", "  x\n\n\ty  "):
        assert new.encode(text).ids == old.encode(text).ids


@pytest.mark.parametrize("variant", ["continued-bpe", "extension", "bpe"])
def test_special_tokens_templates_and_the_chat_template_survive(kind, variant, make_folder, tmp_path):
    base = make_folder(kind)
    size = {"vocab_size": 420} if variant == "bpe" else {"new_tokens": 40}
    old, new, _, output = build(base, tmp_path, variant=variant, **size)
    assert {a.content: a.special for a in new.get_added_tokens_decoder().values()} == {
        a.content: a.special for a in old.get_added_tokens_decoder().values()
    }
    assert new.encode("дом").ids[0] == new.token_to_id("<s>")
    assert new.encode("a</s>b", add_special_tokens=False).ids.count(new.token_to_id("</s>")) == 1
    assert (output / "chat_template.jinja").read_text() == (base / "chat_template.jinja").read_text()
    config = json.loads((output / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "auto_map" not in config
    assert config["eos_token"] == "</s>"
    assert not (output / "vocab.json").exists()


def test_transformers_gives_the_same_ids_as_the_file(make_folder, tmp_path):
    from transformers import AutoTokenizer

    for kind in ("ignore-merges", "prepend"):
        _, new, _, output = build(make_folder(kind), tmp_path, new_tokens=40)
        loaded = AutoTokenizer.from_pretrained(str(output), local_files_only=True)
        assert len(loaded) == new.get_vocab_size()
        assert loaded.chat_template
        for text in CORPUS[:8]:
            assert loaded(text)["input_ids"] == new.encode(text).ids


def test_the_learned_sequences_are_what_the_new_tokenizer_encodes(kind, make_folder, tmp_path):
    from lep_core.tokenizer.bytes import family
    from lep_core.tokenizer.conventions import admissible_beside
    from lep_core.tokenizer.definition import Definition
    from lep_core.tokenizer.extend import _mergeable, add_characters
    from lep_core.tokenizer.load import definition_of
    from lep_core.tokenizer.merges import MergeLearner
    from lep_core.tokenizer.words import WordCounter

    old = as_tokenizer(make_folder(kind))
    definition = Definition.parse(definition_of(old))
    counter = WordCounter(old, definition)
    for text in CORPUS:
        counter.add(text)
    words = counter.words()
    wide, tokenizer, characters = add_characters(old, definition, words, at_most=20, min_frequency=2)
    texts = _mergeable(wide)
    rule = admissible_beside(family(old), words)
    learner = MergeLearner(
        encode_words(tokenizer, words),
        list(words.values()),
        texts=texts,
        vocab=wide.vocab,
        first_id=wide.size,
        admissible=rule,
        min_frequency=2,
    )
    names, merges, tokens = dict(enumerate(texts)), [], list(characters)
    for merge in islice(learner.learn(), 150):
        merges.append((names[merge.left], names[merge.right]))
        names[merge.token] = merge.text
        tokens += [merge.text] if merge.is_new else []
    assert encode_words(definition.extended(tokens, merges).tokenizer(), words) == learner.words


def test_added_tokens_outside_the_model_keep_their_ids(make_folder, tmp_path):
    old, new, _, output = build(make_folder("ignore-merges"), tmp_path, new_tokens=30)
    vocab = json.loads((output / "tokenizer.json").read_text())["model"]["vocab"]
    for index, token in old.get_added_tokens_decoder().items():
        assert new.token_to_id(token.content) == vocab[token.content] == index


def test_new_tokens_hold_no_digits_and_cross_no_word_boundary(kind, make_folder, tmp_path):
    old, new, _, _ = build(make_folder(kind), tmp_path, new_tokens=100, min_frequency=2)
    table = token_bytes(new)
    for data in table[old.get_vocab_size() :]:
        text = data.decode("utf-8", "ignore")
        assert not any(character.isnumeric() for character in text)
        if kind in KINDS[3:]:
            assert {character_class(character) for character in text.removeprefix(" ")} in ({"L"}, {"P"})
        assert " " not in text[1:]


def test_characters_that_the_old_vocabulary_spells_in_bytes_get_tokens(make_folder, tmp_path):
    old, new, report, _ = build(make_folder("prepend"), tmp_path, new_tokens=80)
    assert report.character_tokens > 0
    assert old.token_to_id("қ") is None
    assert new.token_to_id("қ") is not None
    assert len(new.encode("қ", add_special_tokens=False).ids) < len(old.encode("қ", add_special_tokens=False).ids)


def test_a_vocabulary_from_nothing_replaces_the_old_one(kind, make_folder, tmp_path):
    old, new, report, _ = build(make_folder(kind), tmp_path, variant="bpe", vocab_size=450)
    assert report.vocab_size == new.get_vocab_size() == 450
    old_bytes, new_bytes = set(token_bytes(old)) - {None}, set(token_bytes(new)) - {None}
    assert report.new_tokens == len(new_bytes - old_bytes) > 0
    assert report.removed_tokens == len(old_bytes - new_bytes) > 0
    assert sorted(new.get_vocab().values()) == list(range(450))
    assert len(build_mapping(old, new).missing) == 0


def test_a_vocabulary_too_small_for_bytes_names_both_numbers(kind, make_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"is 100, but .* take (2[56]|35)\d") as caught:
        build(make_folder(kind), tmp_path, variant="bpe", vocab_size=100)
    assert caught.value.field == "vocab_size"


def test_a_vocabulary_size_below_the_old_one_is_refused(make_folder, tmp_path):
    with pytest.raises(ConfigError, match="is 300, but the model's vocabulary has"):
        build(make_folder("byte-level"), tmp_path, vocab_size=300)
    old, _, report, _ = build(make_folder("byte-level"), tmp_path, vocab_size=400)
    assert report.vocab_size == 400
    assert report.new_tokens == 400 - old.get_vocab_size()


def test_a_small_corpus_gives_fewer_tokens_and_says_so(make_folder, tmp_path):
    listener = Listener()
    _, new, report, _ = build(make_folder("byte-level"), tmp_path, texts=["дом дом дом"], new_tokens=5000, reporter=listener)
    assert 0 < report.new_tokens < 5000
    assert report.requested_tokens == 5000
    assert report.vocab_size == new.get_vocab_size()
    assert any("5,000" in message for message in listener.messages)
    assert len(listener.stages) == 5


@pytest.mark.parametrize("texts", [[], [""], ["я"], ["1 2 3 4 5 6"]])
def test_a_corpus_without_anything_to_learn_is_refused(texts, make_folder, tmp_path):
    with pytest.raises(CorpusError):
        build(make_folder("byte-level"), tmp_path, texts=texts)


def test_stopping_keeps_what_was_learned(make_folder, tmp_path):
    _, _new, report, _ = build(
        make_folder("byte-level"), tmp_path, texts=[" ".join(CORPUS)] * 3, new_tokens=3000, reporter=Listener(stop_after=0)
    )
    assert report.stopped
    assert report.new_tokens > 0
    assert report.unreachable_tokens == 0


def test_a_unigram_tokenizer_without_byte_fallback_is_refused(make_folder, tmp_path):
    definition = json.loads(make_folder("prepend").joinpath("tokenizer.json").read_text())
    vocab = [[token, 0.0] for token in ("<unk>", "<s>", "</s>", "▁a")]
    definition["model"] = {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": False}
    with pytest.raises(TokenizerError, match="no byte fallback"):
        build(make_folder("prepend", text=json.dumps(definition)), tmp_path)


def test_dead_tokens_are_found():
    from tests.tokenizer.conftest import trained

    tokenizer = Tokenizer.from_str(trained("ignore-merges"))
    definition = json.loads(tokenizer.to_str())
    definition["model"]["vocab"]["qzq"] = 500
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    assert unreachable_tokens(tokenizer, ["qzq", "Ġthe"]) == ["qzq"]
    assert tokenizer.model.ignore_merges


def test_lstrip_and_normal_added_tokens_keep_their_ids_from_nothing(make_folder, tmp_path):
    folder = make_folder("ignore-merges")
    tokenizer = as_tokenizer(folder)
    tokenizer.add_tokens([AddedToken("<think>", special=False, lstrip=True)])
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    _, new, _, _ = build(folder, tmp_path, variant="bpe", vocab_size=400)
    assert new.get_vocab_size() == 400
    assert new.token_to_id("<think>") == 399


@pytest.mark.parametrize("name", ["mistral-7b-v0.1", "gpt-neox-20b"])
def test_a_real_tokenizer_is_continued(name, shared_data, tmp_path):
    text = (shared_data / "corpora/ru/Pushkin_CapitanskaaDochka.txt").read_text(encoding="utf-8")
    english = (shared_data / "corpora/en/ENG18530_Dickens.txt").read_text(encoding="utf-8")[:200_000]
    old, new, report, _ = build(shared_data / "tokenizers" / name, tmp_path, texts=[text], new_tokens=2000)
    assert (report.new_tokens, report.unreachable_tokens, report.round_trip_ok) == (2000, 0, True)
    assert report.characters_per_token_after > 1.3 * report.characters_per_token_before
    paragraphs = english.split("\n")
    pairs = zip(*(tokenizer.encode_batch_fast(paragraphs, add_special_tokens=False) for tokenizer in (old, new)), strict=True)
    assert sum(first.ids != second.ids for first, second in pairs) <= len(paragraphs) // 100


@pytest.mark.parametrize("text", ["{", "[1]", '{"x":' + "[" * 100_000])
def test_a_damaged_tokenizer_config_is_told_before_the_corpus_is_read(text, make_folder, tmp_path):
    folder, listener = make_folder("byte-level"), Listener()
    (folder / "tokenizer_config.json").write_text(text)
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json is not"):
        build(folder, tmp_path, reporter=listener)
    assert listener.stages == ["reading the tokenizer"]


@pytest.mark.parametrize("variant", ["continued-bpe", "extension"])
@pytest.mark.parametrize("name", ["mistral-7b-v0.1", "gpt-neox-20b"])
def test_english_that_changes_under_a_real_tokenizer_becomes_shorter(name, variant, shared_data, tmp_path):
    russian = (shared_data / "corpora/ru/Pushkin_CapitanskaaDochka.txt").read_text(encoding="utf-8")[:60_000]
    english = (shared_data / "corpora/en/ENG18530_Dickens.txt").read_text(encoding="utf-8")
    base = shared_data / "tokenizers" / name
    # More English than Russian, so that English words become tokens as well.
    old, new, report, _ = build(base, tmp_path, variant=variant, texts=[russian, english[:150_000]], new_tokens=400)
    assert report.unreachable_tokens == 0
    documents = [document for document in english[150_000:250_000].splitlines() if document.strip()]
    before, after = ([encoding.ids for encoding in t.encode_batch_fast(documents, add_special_tokens=False)] for t in (old, new))
    changed = [(len(first), len(second)) for first, second in zip(before, after, strict=True) if first != second]
    assert len(changed) > 10
    assert all(longer > shorter for longer, shorter in changed)


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_definition_ends_in_one_sentence(seed, make_folder, tmp_path):
    """Every place in tokenizer.json, vocabulary and merges apart, is replaced by something foreign; no other error may come out."""
    whole = json.loads(as_tokenizer(make_folder("prepend" if seed else "ignore-merges")).to_str())
    strange = ([5], {"type": "Nothing"}, "\ud800")[seed]
    for path in _places(whole):
        data = json.loads(json.dumps(whole))
        place = data
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = strange
        folder = make_folder("damaged", text=json.dumps(data))
        with contextlib.suppress(LepError):
            build(folder, tmp_path, texts=["дом дом дом"], new_tokens=2)


def _places(value, path=()):
    if len(path) < 4:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ():
            if key not in ("vocab", "merges") and not isinstance(inner, bool):
                yield (*path, key)
                yield from _places(inner, (*path, key))
