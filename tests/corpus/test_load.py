"""Every format gives the same documents, and every bad input ends in one `CorpusError` that names the place."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from lep_core.corpus import records, streams
from lep_core.corpus.load import cut_text, read_documents
from lep_core.errors import CorpusError
from lep_core.progress import SilentReporter

TEXTS = ["Первый абзац.", 'Он сказал: "да", и ушёл', "line one\nline two", "こんにちは 世界", "a\u2028b\u0085c", "\U0001f600 end"]


class Messages:
    """A reporter that keeps messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


def texts_of(*inputs: Path | str, **options: object) -> list[str]:
    return [document.text for document in read_documents([str(item) for item in inputs], **options)]


def refusal(*inputs: Path | str, **options: object) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        texts_of(*inputs, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def write_csv(path: Path, delimiter: str = ",", end: str = "\n") -> None:
    quoted = [text.replace('"', '""') for text in TEXTS]
    rows = [f'{number}{delimiter}"{text}"' for number, text in enumerate(quoted)]
    path.write_bytes(end.join([f"n{delimiter}text", *rows, ""]).encode())


def write_all_formats(folder: Path) -> list[Path]:
    records_of = [{"n": number, "text": text} for number, text in enumerate(TEXTS)]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records_of)
    (folder / "a.jsonl").write_text(lines, encoding="utf-8")
    (folder / "b.ndjson").write_text(lines.replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    (folder / "c.json").write_text(json.dumps(records_of, indent=2), encoding="utf-8")
    (folder / "d.json").write_text(lines, encoding="utf-16")
    write_csv(folder / "e.csv")
    write_csv(folder / "f.csv", delimiter=";")
    write_csv(folder / "g.tsv", delimiter="\t")
    pq.write_table(pa.table({"n": list(range(len(TEXTS))), "text": TEXTS}), folder / "h.parquet", row_group_size=2)
    plain = sorted(folder.iterdir())
    for path in plain:
        data = path.read_bytes()
        (folder / (path.name + ".gz")).write_bytes(gzip.compress(data))
        (folder / (path.name + ".zst")).write_bytes(zstandard.compress(data))
    (folder / "a.jsonl.bz2").write_bytes(bz2.compress((folder / "a.jsonl").read_bytes()))
    (folder / "a.jsonl.xz").write_bytes(lzma.compress((folder / "a.jsonl").read_bytes()))
    for path in plain:
        with zipfile.ZipFile(folder / f"{path.stem}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, f"../inner/{path.name}")
    return sorted(folder.iterdir())


def test_all_formats_give_the_same_documents(tmp_path: Path) -> None:
    paths = write_all_formats(tmp_path)
    assert len(paths) == 8 * 4 + 2
    for path in paths:
        assert texts_of(path) == TEXTS, path.name
    assert not (tmp_path.parent / "inner").exists()


def test_a_folder_is_read_in_sorted_order_and_unknown_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.txt").write_text("two\n")
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "c.md").write_text("three\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden.txt").write_text("no")
    reporter = Messages()
    documents = list(read_documents([str(tmp_path)], reporter=reporter))  # type: ignore[arg-type]
    assert [item.text for item in documents] == ["one\n", "two\n", "three\n"]
    assert [item.source for item in documents] == [f"{tmp_path.name}/{name}" for name in ("a.txt", "b/2.txt", "c.md")]
    assert any("picture.png" in line for line in reporter.lines)


def test_the_real_novel_is_the_same_in_all_five_forms(shared_data: Path) -> None:
    stem = shared_data / "formats" / "kapitanskaya_dochka"
    expected = Path(f"{stem}.txt").read_text(encoding="utf-8")
    for form in ("txt", "txt.gz"):
        assert "".join(texts_of(f"{stem}.{form}", unit_bytes=5000)) == expected
    for form in ("jsonl", "csv", "parquet"):
        assert "\n".join(texts_of(f"{stem}.{form}")) == expected.rstrip("\n")


@pytest.mark.parametrize("unit", [16, 100, 1000, 10**6])
def test_plain_text_is_cut_greedily_at_line_ends_and_nothing_is_lost(tmp_path: Path, unit: int) -> None:
    lines = [("слово " * (number % 7) + str(number)) * (number % 3) + "\n" for number in range(300)]
    text = "".join(lines) + "без конца строки"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    documents = list(read_documents([str(tmp_path / "a.txt")], unit_bytes=unit))
    assert "".join(item.text for item in documents) == text
    line = 1
    for this, following in zip(documents, [*documents[1:], None], strict=True):
        assert len(this.text.encode()) <= unit
        assert this.line == line
        line += this.text.count("\n")
        if this.text.endswith("\n") and following is not None:
            first = following.text.split("\n")[0] + "\n"
            assert len((this.text + first).encode()) > unit or "\n" not in following.text


def test_a_huge_line_is_cut_between_characters_with_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("ж" * 6_000_000, encoding="utf-8")
    tracemalloc.start()
    sizes = [len(item.text.encode()) for item in read_documents([str(path)])]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sizes == [1_000_000] * 12
    assert peak < 12_000_000


def test_a_cut_inside_a_long_line_prefers_a_space() -> None:
    pieces = [text for text, _ in cut_text(["раз два три четыре пять"], lambda _: 20)]
    assert "".join(pieces) == "раз два три четыре пять"
    assert all(piece.endswith(" ") for piece in pieces[:-1])


def test_large_records_are_cut_too(tmp_path: Path) -> None:
    text = "строка номер раз\n" * 100
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}) + "\n")
    pieces = texts_of(tmp_path / "a.jsonl", unit_bytes=300)
    assert "".join(pieces) == text
    assert max(len(piece.encode()) for piece in pieces) <= 300


@pytest.mark.parametrize("name", ["content", "Document", "body"])
def test_the_text_column_is_found_by_itself(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 3, name: "текст"}) + "\n")
    (tmp_path / "a.csv").write_text(f"id,{name}\n3,текст\n4,ещё\n")
    pq.write_table(pa.table({"id": [3], name: ["текст"]}), tmp_path / "a.parquet")
    for form in ("jsonl", "csv", "parquet"):
        assert texts_of(tmp_path / f"a.{form}")[0] == "текст"


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "json"])
def test_a_missing_text_column_names_the_columns(tmp_path: Path, form: str) -> None:
    record = {"title": "a", "body": "b"}
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        pq.write_table(pa.table({key: [value] for key, value in record.items()}), path)
    else:
        path.write_text("title,body\na,b\n" if form == "csv" else json.dumps(record if form == "jsonl" else [record]))
    error = refusal(path)
    assert "title, body" in error.message
    assert "--text-field" in error.hint
    assert "title, body" in refusal(path, text_field="text").message
    assert texts_of(path, text_field="body") == ["b"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a"', "not valid JSON"),
        ('{"text": 5}', "text is a number, not text"),
        ('{"text": null}', "text is empty (null), not text"),
        ('{"other": "a"}', "the record has no text"),
        ("[1, 2]", "the record is a list"),
        ('{"text": "\\ud83d"}', "surrogate"),
        ("[" * 100_000, "not"),
    ],
)
def test_a_bad_jsonl_row_is_named_by_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n\n' + line + "\n")
    error = refusal(path)
    assert f"{path}:3: " in error.message
    assert reason in error.message


def test_csv_mistakes_are_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('n,text\n1,"two\nlines"\n2,b,c\n')
    assert f"{path}:4: the row has 3 columns, the header 2" in refusal(path).message
    path.write_text('n,text\n1,"never closed\n2,b\n')
    assert f"{path}:2: not valid csv" in refusal(path).message


def test_tsv_with_bare_quotation_marks_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('id\ttext\n1\t"Да, сказал он\n2\tнет" и ушёл\n')
    assert texts_of(path) == ['"Да, сказал он', 'нет" и ушёл']


def test_csv_fields_may_be_large(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,n\n" + "x" * 300_000 + ",1\n")
    assert len(texts_of(path)[0]) == 300_000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"text": "a"},\n\n{"text": }]', 3),
        ('[{"text": "a"}\n{"text": "b"}]', 2),
        ('[{"text": "a"},\n', 2),
        ('[{"text": "a"},]', 1),
        ('[{"text":"a"}]\nx', 2),
    ],
)
def test_broken_json_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    assert f"{path}:{line}: not valid JSON" in refusal(path).message


def test_json_is_read_in_small_pieces() -> None:
    values = [{"text": f"слово {number}", "n": [number, {"a": None}]} for number in range(50)] + [12345, "s", 1.5]
    for text in (json.dumps(values, indent=1), "\n".join(json.dumps(value) for value in values)):
        for size in (1, 7, 10**6):
            pieces = [text[start : start + size] for start in range(0, len(text), size)]
            assert [value for _, value in records.json_values(pieces, "x")] == values


def test_a_line_without_end_in_a_table_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(records, "MAXIMUM_RECORD_CHARACTERS", 1_000_000)
    (tmp_path / "a.jsonl").write_text('{"text": "' + "x" * 2_000_000)
    assert "a.jsonl:1: one line has more than" in refusal(tmp_path / "a.jsonl").message


BINARY = {
    "a.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "a.pdf": b"%PDF-1.7\n\xe2\xe3",
    "a.docx": b"PK\x03\x04" + bytes(100),
    "a.safetensors": struct.pack("<Q", 40) + b'{"weight":{"dtype":"F32"}}' + bytes(100),
    "a.txt": bytes((number * 7919 + number // 251) % 256 for number in range(5000)),
    "b.txt": gzip.compress(b"text"),
    "c.jsonl": b"PAR1" + bytes(50),
    "zeros.txt": bytes(10_000),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_files_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BINARY[name])
    error = refusal(tmp_path / name)
    assert name in error.message
    assert len(error.message) < 300


def test_broken_archives_are_refused(tmp_path: Path) -> None:
    text = "".join(f"строка {number * number}\n" for number in range(20_000)).encode()
    for name, data in {
        "a.txt.gz": gzip.compress(text),
        "a.txt.zst": zstandard.compress(text),
        "a.txt.bz2": bz2.compress(text),
        "a.txt.xz": lzma.compress(text),
    }.items():
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        assert "truncated" in refusal(tmp_path / name).message
        (tmp_path / name).write_bytes(b"this is no archive at all, only text")
        assert "damaged or not compressed" in refusal(tmp_path / name).message
    zipped = tmp_path / "a.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", text)
    data = bytearray(zipped.read_bytes())
    zipped.write_bytes(bytes(data[: len(data) // 2]))
    assert "damaged" in refusal(zipped).message
    data[1000] ^= 0xFF
    zipped.write_bytes(bytes(data))
    assert "damaged" in refusal(zipped).message


@pytest.mark.parametrize("form", ["gz", "zst", "bz2", "xz", "zip"])
def test_decompression_bombs_are_stopped(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FREE_BYTES", 8_000_000)
    text = b"a" * 999_999 + b"\n"
    path = tmp_path / f"a.txt.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.txt", "w") as stream:
            for _ in range(12):
                stream.write(text)
    else:
        data = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress}[form](text * 3)
        path.write_bytes(data * 4)
    assert "grows more than 250 times" in refusal(path).message


def test_several_frames_in_one_file_are_all_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    (tmp_path / "b.txt.zst").write_bytes(zstandard.compress(b"one\n") + zstandard.compress(b"two\n"))
    assert texts_of(tmp_path / "a.txt.gz") == texts_of(tmp_path / "b.txt.zst") == ["one\ntwo\n"]


def test_archives_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("a.png", b"x")
        archive.writestr("deep.zip", b"x")
    assert "a.png" in refusal(tmp_path / "pictures.zip").message
    with zipfile.ZipFile(tmp_path / "none.zip", "w"):
        pass
    assert "no files" in refusal(tmp_path / "none.zip").message
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"x"))
    assert "archive of a kind" in refusal(tmp_path / "a.tar.gz").message
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as archive:
        archive.writestr("a.txt", "text")
    data = bytearray((tmp_path / "locked.zip").read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(data))
    assert "password" in refusal(tmp_path / "locked.zip").message


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"row {number} " * 20 for number in range(500)]}), path, use_dictionary=False, compression="zstd")
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"PAR1", data[:200] + bytes(400) + data[600:]):
        path.write_bytes(damaged)
        assert "a.parquet" in refusal(path).message
    path.write_text("text\nnot parquet\n")
    assert "no parquet file" in refusal(path).message
    pq.write_table(pa.table({"text": [1, 2]}), path)
    assert "int64, not text" in refusal(path).message
    pq.write_table(pa.table({"text": ["a", None]}), path)
    assert f"{path}:2: text is empty (null)" in refusal(path).message


def test_nothing_to_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    assert "is empty" in refusal(tmp_path / "empty.txt").message
    for name in ("empty.jsonl", "empty.csv", "empty.parquet", "empty.json"):
        (tmp_path / name).touch()
        assert "is empty" in refusal(tmp_path / name).message
    (tmp_path / "blank.txt").write_text(" \n\t\n")
    assert "there is no text" in refusal(tmp_path / "blank.txt").message
    (tmp_path / "header.csv").write_text("text,n\n")
    assert "there is no text" in refusal(tmp_path / "header.csv").message
    assert "does not exist" in refusal(tmp_path / "missing.txt").message
    assert refusal(tmp_path / ("x" * 300 + ".txt"))
    assert refusal("nul\0.txt")
    (tmp_path / "folder").mkdir()
    assert "no files" in refusal(tmp_path / "folder").message
    (tmp_path / "folder" / "a.png").touch()
    assert "a.png" in refusal(tmp_path / "folder").message
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone.txt")
    assert "link" in refusal(tmp_path / "link.txt").message
    assert "no input" in refusal().message
    os.mkfifo(tmp_path / "pipe.txt")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe.txt").message


def test_an_empty_file_among_others_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.txt").write_text("text\n")
    assert texts_of(tmp_path) == ["text\n"]


def test_a_file_without_rights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.txt"))

    monkeypatch.setattr(streams, "open", denied, raising=False)
    assert "may not be read" in refusal(tmp_path / "a.txt").message


def test_the_hub_is_not_asked_when_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "offline" in refusal("hf://owner/name").message
    assert "no data set name" in refusal("hf://").message


def test_importing_the_reader_loads_nothing_heavy() -> None:
    code = "import sys, lep_core.corpus.load, lep_core.corpus.add; print([n for n in ('torch','pyarrow','pandas','datasets','numpy') if n in sys.modules])"
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_guessed_column_is_said(tmp_path):
    said = []

    class Listening(SilentReporter):
        def message(self, text):
            said.append(text)

    path = tmp_path / "names.csv"
    path.write_text("id;name\n1;first text\n2;second text\n", encoding="utf-8")
    assert [document.text for document in read_documents([str(path)], reporter=Listening())] == ["first text", "second text"]
    assert [text for text in said if "taken from the column name" in text] == said
    assert len(said) == 1
