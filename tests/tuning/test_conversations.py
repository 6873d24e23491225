"""Every usual layout of conversations is read as the same messages, and every unusual one ends in one sentence."""

from __future__ import annotations

import gzip
import json

import pytest

from lep_core.cli import main
from lep_core.errors import CorpusError
from lep_core.tuning import conversations as module
from lep_core.tuning.conversations import read_conversations
from tests.tuning.data import write_jsonl

QUESTION, ANSWER = "Где ключ?", "На столе."
EXPECTED = ({"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER})
SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
LAYOUTS = {
    "messages": {"messages": TURNS},
    "what follows the last answer is left out": {"messages": [*TURNS, {"role": "user", "content": "Thanks"}]},
    "parts of text": {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}, TURNS[1]]},
    "sharegpt": {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}]},
    "sharegpt with roles": {"conversations": TURNS},
    "alpaca": {"instruction": QUESTION, "input": "", "output": ANSWER},
    "alpaca without input": {"instruction": QUESTION, "output": ANSWER},
    "prompt and response": {"prompt": QUESTION, "response": ANSWER},
    "prompt and completion as messages": {"prompt": TURNS[:1], "completion": TURNS[1:]},
    "question and answer": {"id": 7, "question": QUESTION, "answer": ANSWER},
    "capital letters": {"Prompt": QUESTION, "Response": ANSWER},
    "other names of roles": {"messages": [{"role": "Human", "content": QUESTION}, {"role": "bot", "content": ANSWER}]},
}


@pytest.mark.parametrize("record", LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_is_recognised_by_its_keys(record, tmp_path):
    [read] = read_conversations([str(write_jsonl(tmp_path / "a.jsonl", [record]))])
    assert read.messages == EXPECTED
    assert read.source == f"{tmp_path / 'a.jsonl'}:1"


@pytest.mark.parametrize("answer", ["[-4, 2, 5]", "[]", '["a"]', "[1, 2"])
def test_an_answer_that_looks_like_a_list_is_a_text(answer, tmp_path):
    [read] = read_conversations([str(write_jsonl(tmp_path / "a.jsonl", [{"prompt": QUESTION, "response": answer}]))])
    assert read.messages[-1]["content"] == answer


def test_system_prompts_inputs_and_histories_are_kept(tmp_path):
    records = [
        {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}], "system": "Be brief."},
        {"messages": [SYSTEM, *TURNS]},
        {"prompt": QUESTION, "response": ANSWER, "system": "Be brief."},
        {"instruction": "Translate", "input": "дом", "output": "house", "history": [["Hi", "Hello"]], "system": "Be brief."},
    ]
    read = read_conversations([str(write_jsonl(tmp_path / "a.jsonl", records))])
    assert [one.messages for one in read[:3]] == [(SYSTEM, *EXPECTED)] * 3
    assert [message["content"] for message in read[3].messages] == ["Be brief.", "Hi", "Hello", "Translate\n\nдом", "house"]


def test_tables_arrays_and_compressed_files_hold_the_same(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    packed = json.dumps(TURNS, ensure_ascii=False)
    (tmp_path / "a.csv").write_text(f"id;prompt;response\n1;{QUESTION};{ANSWER}\n", encoding="cp1251")
    (tmp_path / "b.csv").write_text('messages\n"' + packed.replace('"', '""') + '"\n', encoding="utf-8")
    (tmp_path / "c.tsv").write_text(f"instruction\tinput\toutput\n{QUESTION}\t\t{ANSWER}\n", encoding="utf-8")
    (tmp_path / "d.json").write_text(json.dumps([{"messages": TURNS}]), encoding="utf-8")
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(json.dumps({"messages": TURNS}).encode()))
    pq.write_table(pa.table({"image": [b"\x00"], "messages": [TURNS]}), tmp_path / "f.parquet")
    read = read_conversations([str(tmp_path)])
    assert [one.messages for one in read] == [EXPECTED] * 6
    assert [one.source.rsplit("/", 1)[1] for one in read] == ["a.csv:2", "b.csv:2", "c.tsv:2", "d.json:1", "e.jsonl.gz:1", "f.parquet:1"]


def user(content):
    return {"role": "user", "content": content}


def said(content):
    return {"role": "assistant", "content": content}


BAD_RECORDS = {
    "unknown keys": ({"text": "a", "label": 1}, "its keys are text, label"),
    "no keys": ({}, "its keys are none"),
    "no answer": ({"messages": [user("a")]}, "has no assistant turn"),
    "only a system prompt": ({"messages": [SYSTEM]}, "has no assistant turn"),
    "no messages": ({"messages": []}, "messages is an empty list"),
    "messages are text": ({"messages": "hello"}, "messages is a text, not a list"),
    "messages are an object": ({"messages": {"role": "user"}}, "messages is an object, not a list"),
    "a turn is text": ({"messages": ["hello"]}, r"messages\[1\] is a text, not an object"),
    "a turn without content": ({"messages": [{"role": "user", "text": "a"}]}, r"messages\[1\] has no content; its keys are role, text"),
    "a turn without role": ({"messages": [{"content": "a"}]}, r"messages\[1\] has no role"),
    "an unknown role": ({"messages": [user("a"), {"role": "tool", "content": "b"}]}, r"messages\[2\] has the role 'tool'"),
    "a role that is a number": ({"messages": [{"role": 1, "content": "b"}]}, "has the role '1'"),
    "content is null": ({"messages": [user(None), said("b")]}, r"messages\[1\].content is empty \(null\), not text"),
    "content is a number": ({"messages": [user("a"), said(4)]}, r"messages\[2\].content is a number"),
    "an image": ({"messages": [user([{"type": "image_url", "image_url": {}}]), said("b")]}, r"holds a part that is no text \(image_url\)"),
    "a tool call": ({"messages": [user("a"), {**said(""), "tool_calls": [{}]}]}, "calls tools"),
    "an empty answer": ({"messages": [user("a"), said("  ")]}, "the answer in turn 2 is empty"),
    "an answer at first": ({"messages": [said("a"), user("b"), said("c")]}, "begins with an answer"),
    "half a character": ({"messages": [user("\ud83d"), said("b")]}, "half of a surrogate pair"),
    "an alpaca answer that is a list": ({"instruction": "a", "output": ["b"]}, "output is a list, not text"),
    "a history that is no list of pairs": ({"instruction": "a", "output": "b", "history": [["c"]]}, r"history\[1\] is no pair"),
    "a history that is a number": ({"instruction": "a", "output": "b", "history": 5}, "history is a number, not a list of pairs"),
    "a history that is text": ({"instruction": "a", "output": "b", "history": "c"}, "history is a text, not a list of pairs"),
    "a sharegpt turn without value": ({"conversations": [{"from": "human", "text": "a"}]}, r"conversations\[1\] has no value"),
    "a system prompt that is a number": ({"prompt": "a", "response": "b", "system": 3}, "system is a number"),
}


@pytest.mark.parametrize(("record", "reason"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_bad_record_ends_in_one_sentence_with_file_and_line(record, reason, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n" + json.dumps({"messages": TURNS}) + "\n" + json.dumps(record) + "\n")
    with pytest.raises(CorpusError, match=reason) as caught:
        read_conversations([str(path)])
    assert caught.value.message.startswith(f"{path}:3: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("record", [*(record for record, _ in BAD_RECORDS.values()), '{"messages": [', "3", '"text"'])
def test_bad_records_are_counted_and_passed_by_when_asked(record, tmp_path):
    path, bad = tmp_path / "a.jsonl", []
    path.write_text((record if isinstance(record, str) else json.dumps(record)) + "\n" + json.dumps({"messages": TURNS}) + "\n")
    [read] = read_conversations([str(path)], on_bad=bad.append)
    assert read.messages == EXPECTED
    assert [one.source for one in bad] == [f"{path}:1"]


BAD_FILES = {
    "missing.jsonl": (None, "does not exist"),
    "plain.txt": (b"hello", "is plain text, not conversations"),
    "broken.jsonl": (b'{"messages": [\n', r"broken.jsonl:1: not valid JSON"),
    "array.jsonl": (b"[1, 2]\n", r"array.jsonl:1: the record is no JSON object"),
    "open.json": (b'[{"messages": []}, ', r"not valid JSON|is an empty list"),
    "empty.jsonl": (b"", "there is no conversation in"),
    "blank.jsonl": (b"\n \n", "there is no conversation in"),
    "header.csv": (b"prompt,response\n", "there is no conversation in"),
    "foreign.csv": (b"a,b\n1,2\n", r"foreign.csv:2: the record is no conversation: its keys are a, b"),
    "short.csv": (b"prompt,response\nx\n", r"short.csv:2: the row has 1 columns, the header 2"),
    "half.csv": (b"prompt,response\nx,\n", r"its keys are prompt"),
    "quote.csv": (b'prompt,response\n"x,y\n', "not valid csv"),
    "fake.parquet": (b"PAR1" + b"\0" * 50, "is no sound parquet file"),
    "other.parquet": (b"hello", "is no parquet file"),
    "fake.jsonl.gz": (b"hello", "damaged or not compressed"),
    "picture.jsonl": (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "picture.jsonl"),
    "nested.jsonl": (b'{"messages": ' + b"[" * 100_000 + b"\n", "not usable JSON|not valid JSON"),
    "book.pdf": (b"%PDF-1.4 ...", "book.pdf"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_ends_the_command_with_one_line(name, tmp_path, capsys):
    content, reason = BAD_FILES[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=reason) as caught:
        read_conversations([str(path)])
    assert name in caught.value.message


def test_a_parquet_file_without_known_columns_names_those_it_has(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"url": ["a"], "caption": ["b"]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="its keys are url, caption"):
        read_conversations([str(tmp_path / "a.parquet")])


def test_sizes_are_bounded(tmp_path, monkeypatch):
    path = str(write_jsonl(tmp_path / "a.jsonl", [{"messages": TURNS * 3}]))
    monkeypatch.setattr(module, "MOST_TURNS", 4)
    with pytest.raises(CorpusError, match="has 6 turns, more than 4"):
        read_conversations([path])
    monkeypatch.setattr(module, "MOST_TURNS", 10)
    monkeypatch.setattr(module, "MOST_CHARACTERS", 20)
    with pytest.raises(CorpusError, match="has 54 characters, more than 20"):
        read_conversations([path])


def test_the_command_refuses_in_one_line_and_leaves_nothing(tiny, tmp_path, capsys):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a"}])
    words = ["calibrate", "--model", str(tiny(chat=True)), "--data", str(path), "--output", str(tmp_path / "out")]
    assert main(words) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "a.jsonl:1: the record is no conversation: its keys are text" in errors[0]
    assert not (tmp_path / "out").exists()
    assert main(words[:-4] + words[-2:]) == 2
    assert "neither --data nor --teacher" in capsys.readouterr().err


def test_real_data_is_read_whole(shared_data):
    read = read_conversations([str(shared_data / "instruct")])
    assert len(read) == 675
    assert all(one.messages[-1]["role"] == "assistant" for one in read)
