"""Encodings are told apart on short and long texts; wrong bytes are named by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lep_core.corpus.encoding import check_encoding, detect_encoding
from lep_core.corpus.load import CorpusReader, read_documents
from lep_core.errors import CorpusError

RUSSIAN = "Отец мой Андрей Петрович в молодости своей служил при графе и вышел в отставку премьер-майором.\nЩёлк!\n"
UKRAINIAN = "Її батько приїхав з міста ввечері, і вони довго говорили про життя.\n"
OTHERS = {
    "cp1252": "Où est la forêt? Noël à l'école, ça m'étonne; garçon élève\n",
    "cp1250": "Zażółć gęślą jaźń; więc książki są już wszędzie, proszę\n",
    "cp1254": "Güneş doğdu ve çocuklar ışığı görünce şarkı söyledi\n",
    "cp1253": "Η γλώσσα είναι το σπίτι μας και οι λέξεις είναι τα παράθυρα του κόσμου, έτσι λένε\n",
    "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 3,
}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1251", "koi8-r", "cp866", "iso8859-5", "mac-cyrillic", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [RUSSIAN, RUSSIAN * 50, RUSSIAN.upper(), "Chapter 1. English first. " * 5 + RUSSIAN, RUSSIAN[:12]])
def test_russian_is_recognised(encoding: str, text: str) -> None:
    assert detect_encoding(text.encode(encoding), "x", complete=True) == encoding


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-u", "cp1125"])
def test_ukrainian_is_recognised(encoding: str) -> None:
    assert detect_encoding(UKRAINIAN.encode(encoding), "x", complete=True) == encoding


@pytest.mark.parametrize("encoding", OTHERS)
def test_other_languages_decode_to_their_text(encoding: str) -> None:
    data = OTHERS[encoding].encode(encoding)
    assert data.decode(detect_encoding(data, "x", complete=True)) == OTHERS[encoding]


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "cp866"])
def test_a_real_novel_is_recognised_wherever_one_looks(shared_data: Path, encoding: str) -> None:
    text = (shared_data / "formats" / "kapitanskaya_dochka.txt").read_text(encoding="utf-8")
    data = text.encode(encoding, "ignore")
    for start in range(0, len(data), 20_000):
        assert detect_encoding(data[start : start + 150], "x", complete=True) == encoding


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1251", "koi8-r", "cp866", "utf-16-le"])
def test_files_are_read_in_their_encoding_and_it_is_reported(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((RUSSIAN * 100).encode(encoding))
    reader = CorpusReader([str(path)])
    assert "".join(item.text for item in reader.documents()) == RUSSIAN * 100
    assert reader.encodings["a.txt"].startswith(encoding)


def test_ascii_at_the_beginning_does_not_mislead(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = "plain ascii line\n" * 20_000 + RUSSIAN
    path.write_bytes(text.encode("cp1251"))
    assert "".join(item.text for item in read_documents([str(path)])) == text


@pytest.mark.parametrize("lines", [3, 60_000])
def test_wrong_bytes_in_the_middle_are_named_by_line(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("хорошая строка текста\n".encode() * lines + b"bad \xff\xfe byte\n" + "ещё строка\n".encode() * 3)
    with pytest.raises(CorpusError) as caught:
        list(read_documents([str(path)]))
    assert f"{path}:{lines + 1}: the bytes ff" in caught.value.message
    assert "--encoding" in caught.value.hint


def test_a_character_cut_at_the_end_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("одна строка\nвторая".encode()[:-1])
    with pytest.raises(CorpusError, match=r"a\.txt:2"):
        list(read_documents([str(path)]))


def test_a_given_encoding_is_used_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("été".encode("latin-1"))
    assert [item.text for item in read_documents([str(path)], encoding="cp437")] == ["été".encode("latin-1").decode("cp437")]
    for name in ("klingon", "rot13", "base64", "idna", "undefined", "unicode_escape", "a\0b", ""):
        with pytest.raises(CorpusError, match="no text encoding"):
            check_encoding(name)
    with pytest.raises(CorpusError, match=r"a\.txt:1"):
        list(read_documents([str(path)], encoding="ascii"))


def test_a_few_nul_characters_do_not_make_a_text_binary() -> None:
    assert detect_encoding(b"some text with one \0 in it\n", "x", complete=True) == "utf-8"
