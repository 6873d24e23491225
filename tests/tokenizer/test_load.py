import json

import pytest

from lep_core.errors import TokenizerError
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.load import as_tokenizer, read_definition, rust_errors, tokenizer_from_definition
from tests.tokenizer.conftest import trained


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json"):
        as_tokenizer(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model": 3}', "\x00\x01", "[" * 100_000])
def test_broken_json_is_a_tokenizer_error(tmp_path, text):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(TokenizerError):
        read_definition(tmp_path)


def test_a_merge_of_unknown_tokens_is_a_tokenizer_error():
    definition = json.loads(trained("byte-level"))
    definition["model"]["merges"].append(["nowhere", "near"])
    with pytest.raises(TokenizerError, match="cannot be used"):
        tokenizer_from_definition(definition)


@pytest.mark.parametrize("inside", [True, False])
def test_an_id_that_would_take_all_memory_is_refused(inside):
    definition = json.loads(trained("byte-level"))
    if inside:
        definition["model"]["vocab"]["zq"] = 4_000_000_000
    else:
        definition["added_tokens"].append({**definition["added_tokens"][0], "content": "<far>", "id": 999_999_999})
    with pytest.raises(TokenizerError, match=r"the id (4000000000|999999999), above 10000000"):
        tokenizer_from_definition(definition)


def test_a_panic_becomes_a_tokenizer_error():
    class PanicException(BaseException):
        pass

    with pytest.raises(TokenizerError, match="boom"), rust_errors("the tokenizer cannot be used"):
        raise PanicException("boom")


def test_other_errors_and_interrupts_pass_through():
    with pytest.raises(KeyboardInterrupt), rust_errors("x"):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="ours"), rust_errors("x"):
        raise ValueError("ours")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["model"].update(type="Unigram"), "only BPE"),
        (lambda data: data["model"].update(vocab=[1]), "not a table"),
        (lambda data: data["model"].update(vocab={}, merges=[]), "vocabulary is empty"),
        (lambda data: data["model"]["vocab"].update(twice=5), "share"),
        (lambda data: data["model"]["merges"].append("a b c"), "not a pair"),
        (lambda data: data["added_tokens"].append({"content": "x"}), "lack content or id"),
        (lambda data: data["added_tokens"].append({"content": "<s>", "id": 9}), "has the id 9"),
        (lambda data: data["model"].update(end_of_word_suffix="</w>"), "end_of_word_suffix"),
    ],
)
def test_definitions_that_cannot_be_adapted_are_refused(change, message):
    data = json.loads(trained("byte-level"))
    change(data)
    with pytest.raises(TokenizerError, match=message):
        Definition.parse(data)


def test_an_added_token_that_the_library_reads_under_another_id_is_refused(tmp_path):
    data = json.loads(trained("ignore-merges"))
    data["added_tokens"].append({**data["added_tokens"][0], "content": "<far>", "id": 600})
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(TokenizerError, match=r"'<far>' .* has the id 600 in tokenizer\.json, but is read as 384"):
        Definition.read(tmp_path)


def test_both_forms_of_merges_give_the_same_tokenizer():
    pairs = json.loads(trained("byte-level"))
    strings = json.loads(trained("byte-level"))
    strings["model"]["merges"] = [" ".join(merge) for merge in strings["model"]["merges"]]
    first, second = Definition.parse(pairs), Definition.parse(strings)
    assert first.merges == second.merges
    assert isinstance(second.extended([], []).data["model"]["merges"][0], str)
    text = "The house ends. Дом"
    assert first.tokenizer().encode(text).ids == second.extended([], []).tokenizer().encode(text).ids
