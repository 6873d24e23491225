"""A corpus folder holds what was given, says what it holds, and can be read page by page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lep_core.config import AddCorpusConfig
from lep_core.corpus import add
from lep_core.corpus.add import CorpusReport, add_corpus
from lep_core.corpus.load import read_documents
from lep_core.corpus.preview import load_summary, preview
from lep_core.errors import CorpusError
from lep_core.progress import SilentReporter


def made(folder: Path, *inputs: Path, **options: object) -> CorpusReport:
    folder.mkdir(exist_ok=True)
    return add_corpus(AddCorpusConfig(input=tuple(map(str, inputs)), output=str(folder), **options), folder)


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return path


TEXTS = [f"Документ номер {number}, в котором говорится про {number * number}." for number in range(400)]


def test_a_corpus_holds_every_text_once_and_both_splits_together_are_all(tmp_path: Path) -> None:
    report = made(tmp_path / "c", write_jsonl(tmp_path / "a.jsonl", [*TEXTS, TEXTS[3], "  ", TEXTS[5]]), heldout_share=0.1)
    assert (report.documents, report.duplicates_exact, report.empty_documents) == (400, 2, 1)
    assert report.characters == sum(map(len, TEXTS))
    assert report.splits["train"]["documents"] + report.splits["heldout"]["documents"] == 400
    everything, train, heldout = (
        [item.text for item in read_documents([str(tmp_path / "c")], split=split)] for split in ("all", "train", "heldout")
    )
    assert everything == TEXTS
    assert sorted(train + heldout) == sorted(TEXTS)
    assert len(heldout) == report.splits["heldout"]["documents"]
    assert 15 < len(heldout) < 70


def test_report_and_summary_agree_and_are_json(tmp_path: Path) -> None:
    report = made(tmp_path / "c", write_jsonl(tmp_path / "a.jsonl", TEXTS))
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    summary = load_summary(tmp_path / "c")
    assert {key: summary[key] for key in values} == values
    assert summary["encodings"] == {"a.jsonl": "utf-8"}
    assert summary["scripts"]["Cyrillic"] > 0.5
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["corpus.json", "documents.parquet"]


def test_the_hash_depends_on_texts_only(tmp_path: Path) -> None:
    first = made(tmp_path / "c1", write_jsonl(tmp_path / "a.jsonl", TEXTS))
    (tmp_path / "b.json").write_text(json.dumps([{"content": text} for text in TEXTS]), encoding="utf-16")
    assert made(tmp_path / "c2", tmp_path / "b.json").sha256 == first.sha256
    assert made(tmp_path / "c3", write_jsonl(tmp_path / "c.jsonl", TEXTS[:-1])).sha256 != first.sha256
    assert made(tmp_path / "c4", tmp_path / "c1").sha256 == first.sha256
    assert first.sha256 == "5deb01bdb369a0a497678215137ca8259959ac6f3bfdfa45541cc1161485e7a1"


def test_what_a_corpus_held_out_stays_so_when_it_is_added_again(tmp_path: Path) -> None:
    made(tmp_path / "c", write_jsonl(tmp_path / "a.jsonl", TEXTS), heldout_share=0.3)
    made(tmp_path / "again", tmp_path / "c", heldout_share=0.02)
    before, after = ({item.text for item in read_documents([str(tmp_path / name)], split="heldout")} for name in ("c", "again"))
    assert before == after


def test_duplicates_may_be_kept_and_fall_on_one_side(tmp_path: Path) -> None:
    report = made(tmp_path / "c", write_jsonl(tmp_path / "a.jsonl", TEXTS * 2), keep_duplicates=True, heldout_share=0.2)
    assert (report.documents, report.duplicates_exact) == (800, 400)
    train, heldout = ({item.text for item in read_documents([str(tmp_path / "c")], split=split)} for split in ("train", "heldout"))
    assert not train & heldout


@pytest.mark.parametrize("count", [2, 3])
def test_a_tiny_corpus_has_a_document_on_each_side(tmp_path: Path, count: int) -> None:
    report = made(tmp_path / "c", write_jsonl(tmp_path / "a.jsonl", TEXTS[:count]), heldout_share=0.001)
    assert report.splits["heldout"]["documents"] == 1
    assert len(list(read_documents([str(tmp_path / "c")], split="heldout"))) == 1


def test_one_document_stays_for_training(tmp_path: Path) -> None:
    for number in range(6):
        report = made(tmp_path / f"c{number}", write_jsonl(tmp_path / "a.jsonl", [TEXTS[number]]), heldout_share=0.5)
        assert report.splits["train"]["documents"] == 1
    with pytest.raises(CorpusError, match="no held-out documents"):
        list(read_documents([str(tmp_path / "c0")], split="heldout"))


def test_short_plain_text_is_cut_finely_so_that_little_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
    report = made(tmp_path / "c", tmp_path / "a.txt")
    assert report.splits["heldout"]["documents"] >= 1
    assert report.splits["heldout"]["characters"] < 0.2 * report.characters
    assert "".join(item.text for item in read_documents([str(tmp_path / "c")])) == (tmp_path / "a.txt").read_text(encoding="utf-8")


def test_a_few_bad_rows_are_listed_and_many_are_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[6] = "{broken"
    path.write_text("\n".join(lines), encoding="utf-8")
    report = made(tmp_path / "c", path)
    assert (report.bad_rows, report.documents, report.rows) == (1, 399, 400)
    assert report.bad_rows_listed[0]["line"] == 7
    assert report.bad_rows_listed[0]["source"] == str(path)
    for number in range(10, 40):
        lines[number] = '{"text": 5}'
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        made(tmp_path / "c2", path)
    assert "31 of 400 rows are bad" in caught.value.message
    assert f"{path}:7: " in caught.value.message


def test_windows_files_are_cleaned_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffпервая\r\nвто\0рая\r\n".encode())
    report = made(tmp_path / "c", tmp_path / "a.txt")
    assert [row["text"] for row in preview(tmp_path / "c")] == ["первая\nвторая\n"]
    assert report.cleaning == {"byte_order_marks": 0, "windows_line_ends": 2, "nul_characters": 1}


def test_nothing_but_nul_characters_and_spaces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no text"):
        made(tmp_path / "c", write_jsonl(tmp_path / "a.jsonl", ["\0", " \n"]))


def test_pages_join_to_the_whole_over_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(add, "ROW_GROUP_DOCUMENTS", 37)
    made(tmp_path / "c", write_jsonl(tmp_path / "a.jsonl", TEXTS), heldout_share=0.3)
    for split in ("all", "train", "heldout"):
        expected = [item.text for item in read_documents([str(tmp_path / "c")], split=split)]
        pages = [row for offset in range(0, 400, 30) for row in preview(tmp_path / "c", offset, 30, split)]
        assert [row["text"] for row in pages] == expected
        assert [row["index"] for row in pages] == list(range(len(expected)))
    row = preview(tmp_path / "c", 399, 5, maximum_characters=4)
    assert row == [
        {"index": 399, "text": TEXTS[399][:4], "source": "a.jsonl", "line": 400, "split": row[0]["split"], "characters": len(TEXTS[399])}
    ]
    assert preview(tmp_path / "c", 400, 5) == []
    assert preview(tmp_path / "c", -3, -1) == []


def test_a_damaged_corpus_is_named(tmp_path: Path) -> None:
    made(tmp_path / "c", write_jsonl(tmp_path / "a.jsonl", TEXTS))
    documents = tmp_path / "c" / "documents.parquet"
    documents.write_bytes(documents.read_bytes()[:-100])
    with pytest.raises(CorpusError, match=r"documents\.parquet is damaged"):
        preview(tmp_path / "c")
    with pytest.raises(CorpusError, match=r"documents\.parquet is damaged"):
        list(read_documents([str(tmp_path / "c")]))
    (tmp_path / "c" / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match=r"corpus\.json cannot be read"):
        load_summary(tmp_path / "c")
    with pytest.raises(CorpusError, match="no corpus folder"):
        preview(tmp_path)


class Recorder(SilentReporter):
    """Keeps progress; asks to stop after the first row group."""

    def __init__(self, *, stop: bool = False) -> None:
        self.seen: list[tuple[float, float | None, str]] = []
        self._stop = stop

    def progress(self, done: float, total: float | None = None, unit: str = "") -> None:
        self.seen.append((done, total, unit))

    def should_stop(self) -> bool:
        return self._stop


def test_progress_rises_to_the_total_and_stop_keeps_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(add, "ROW_GROUP_DOCUMENTS", 50)
    path = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    config = AddCorpusConfig(input=(str(path),), output=str(tmp_path / "c"))
    (tmp_path / "c").mkdir()
    recorder = Recorder()
    add_corpus(config, tmp_path / "c", recorder)
    done = [item[0] for item in recorder.seen]
    assert done == sorted(done)
    assert recorder.seen[-1] == (path.stat().st_size, path.stat().st_size, "bytes")
    (tmp_path / "d").mkdir()
    report = add_corpus(config, tmp_path / "d", Recorder(stop=True))
    assert report.stopped
    assert report.documents == 50 == len(list(read_documents([str(tmp_path / "d")])))


def test_the_real_novel_is_counted_as_the_data_kit_counts(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "formats" / "kapitanskaya_dochka.txt"
    text = path.read_text(encoding="utf-8")
    report = made(tmp_path / "c", path, keep_duplicates=True)
    assert (report.characters, report.words, report.bytes) == (len(text), len(text.split()), len(text.encode()))
    hashes = {made(tmp_path / f"c{form}", Path(str(path)[:-3] + form)).sha256 for form in ("jsonl", "csv", "parquet")}
    assert len(hashes) == 1


def test_a_file_of_nothing_but_bad_rows_says_what_is_wrong_with_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "half \\ud800 of a pair"}\n' * 3, encoding="utf-8")
    with pytest.raises(CorpusError, match=r"a\.jsonl:1: text holds half of a surrogate pair"):
        made(tmp_path / "c", path)
