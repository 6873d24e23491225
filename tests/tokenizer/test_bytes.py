import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from lep_core.errors import TokenizerError
from lep_core.tokenizer.bytes import BYTE_TO_CHARACTER, family, from_byte_level, from_sentencepiece, to_byte_level, token_bytes
from tests.tokenizer.conftest import KINDS, trained


def test_byte_level_alphabet_is_the_library_s():
    assert sorted(BYTE_TO_CHARACTER) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert len(set(BYTE_TO_CHARACTER)) == 256


def test_byte_level_spelling_is_what_the_pre_tokenizer_writes():
    text = "Ёж \n\t é👍\x00"
    written = "".join(word for word, _ in pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text))
    assert to_byte_level(text.encode()) == written
    assert from_byte_level(written) == text.encode()


def test_every_byte_string_survives_the_byte_level_spelling():
    data = bytes(range(256))
    assert from_byte_level(to_byte_level(data)) == data


def test_sentencepiece_tokens_are_bytes():
    assert from_sentencepiece("▁дом") == " дом".encode()
    assert from_sentencepiece("<0xD0>") == b"\xd0"
    assert from_sentencepiece("<0xd0>") == b"<0xd0>"
    assert from_byte_level("Ġx") == b" x"
    assert from_byte_level("日") is None


def test_family_is_recognised(kind):
    assert family(Tokenizer.from_str(trained(kind))) == ("byte-level" if kind in KINDS[:3] else "sentencepiece")


def test_all_256_bytes_are_tokens_and_special_tokens_have_none(kind):
    tokenizer = Tokenizer.from_str(trained(kind))
    table = token_bytes(tokenizer)
    assert {data for data in table if data is not None and len(data) == 1} == {bytes([byte]) for byte in range(256)}
    assert table[tokenizer.token_to_id("<s>")] is None
    assert len(table) == tokenizer.get_vocab_size()


def test_bytes_of_the_tokens_of_a_text_are_its_bytes(kind):
    tokenizer = Tokenizer.from_str(trained(kind))
    table = token_bytes(tokenizer)
    text = "Дом, 👍 the house\n12 é"
    spelled = b"".join(table[index] for index in tokenizer.encode(text, add_special_tokens=False).ids)
    assert spelled == (text if kind in KINDS[:3] else " " + text).encode()


def test_a_word_piece_tokenizer_is_refused():
    with pytest.raises(TokenizerError, match="neither byte-level nor SentencePiece"):
        family(Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")))
