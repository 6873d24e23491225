import gzip

import pytest

from lep_core import MeasureFertilityConfig, measure_fertility
from lep_core.corpus.parallel import parallel_lines, split_lines
from lep_core.errors import ConfigError, CorpusError
from tests.tokenizer.conftest import trained


@pytest.mark.parametrize("text", ["a\nb\n", "a\nb", "a\r\nb\r\n", "\n\n", "a\n\n", "", "a\u2028b\x0bc\nd"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_lines_are_the_same_however_the_text_arrives(text, size):
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    expected = [line.removesuffix("\r") for line in text.split("\n")]
    assert list(split_lines(pieces)) == (expected[:-1] if text.endswith("\n") or not text else expected)


@pytest.fixture
def make(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return str(path)

    return write


def test_files_are_named_after_their_language(make):
    files = [make("eng.txt", "one\n\nthree\n"), make("zho-CN.txt.gz", "一\n二\n三")]
    assert {name: list(lines) for name, lines in parallel_lines(files).items()} == {
        "eng": ["one", "", "three"],
        "zho-CN": ["一", "二", "三"],
    }


def test_different_numbers_of_lines_are_refused_with_both(make):
    with pytest.raises(CorpusError, match=r"eng\.txt has 2 lines, .*rus\.txt has 3"):
        parallel_lines([make("eng.txt", "a\nb\n"), make("rus.txt", "а\nб\nв\n")])


def test_tables_folders_and_equal_names_are_refused(make, tmp_path):
    for item in (make("eng.jsonl", '{"text": "a"}\n'), str(tmp_path)):
        with pytest.raises(CorpusError, match="no plain text file"):
            parallel_lines([item])
    with pytest.raises(CorpusError, match="both called eng"):
        parallel_lines([make("eng.txt", "a\n"), make("eng.md", "a\n")])


def test_parallel_text_alone_is_measured_and_compared(make, tmp_path):
    (tmp_path / "tokenizer.json").write_text(trained("byte-level"), encoding="utf-8")
    files = (make("rus.txt", "дом у реки\nсад\n"), make("eng.txt", "the house by the river\na garden\n"))
    report = measure_fertility(MeasureFertilityConfig(tokenizer=(str(tmp_path),), parallel=files)).to_json()
    first, second = report["parity"]
    assert list(first) == ["tokenizer", "language", "tokens", "ratio", "characters_per_token"]
    assert (first["language"], second["language"], second["ratio"]) == ("rus", "eng", 1)
    assert first["ratio"] == first["tokens"] / second["tokens"] > 1
    assert [entry["name"] for entry in report["tokenizers"][0]["inputs"]] == ["rus", "eng"]
    assert report["tokenizers"][0]["tokens"] == first["tokens"] + second["tokens"]
    assert report["tokenizers"][0]["words"] == 4 + 7


def test_beside_other_text_parallel_text_is_compared_only(make, tmp_path):
    (tmp_path / "tokenizer.json").write_text(trained("byte-level"), encoding="utf-8")
    config = MeasureFertilityConfig(
        tokenizer=(str(tmp_path),), input=(make("novel.txt", "сад и дом"),), parallel=(make("eng.txt", "a\n"), make("rus.txt", "я\n"))
    )
    report = measure_fertility(config).to_json()
    assert [entry["name"] for entry in report["tokenizers"][0]["inputs"]] == ["novel.txt"]
    assert report["tokenizers"][0]["words"] == 3
    assert len(report["parity"]) == 2


def test_settings_without_any_text_are_refused():
    with pytest.raises(ConfigError, match="--input is missing"):
        MeasureFertilityConfig(tokenizer=("t",))
    with pytest.raises(ConfigError, match="no parallel text"):
        MeasureFertilityConfig(tokenizer=("t",), input=("f",), reference="eng")


def test_news_in_fourteen_languages_is_compared(shared_data, tmp_path):
    files = tuple(str(path) for path in sorted((shared_data / "parallel/ntrex").glob("*.txt")))
    (tmp_path / "tokenizer.json").write_text(trained("byte-level"), encoding="utf-8")
    report = measure_fertility(MeasureFertilityConfig(tokenizer=(str(tmp_path),), parallel=files)).to_json()
    assert len(report["parity"]) == 14
    assert {entry["language"]: entry["ratio"] for entry in report["parity"]}["eng"] == 1
    assert report["texts"] == 14 * 1005
