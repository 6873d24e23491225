"""Records are recognised by their keys, and a wrong one is named by line and key."""

from __future__ import annotations

import contextlib
import csv
import json

import pytest

from lep_core.errors import CorpusError
from lep_core.evaluation.items import Choice, Item, MinimalPair, limited
from lep_core.evaluation.reading import read_items
from lep_core.evaluation.shots import Shots


def written(path, *records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "record", "item"),
    [
        ("a.jsonl", {"prompt": "2+2?", "answer": "4", "language": "en"}, Item(prompt="2+2?", answers=("4",), language="en")),
        ("pairs.jsonl", {"good": "Он идёт.", "bad": "Он идут."}, MinimalPair(good="Он идёт.", bad="Он идут.", group="pairs")),
        ("x.jsonl", {"sentence_good": "a b", "sentence_bad": "b a", "UID": "order"}, MinimalPair(good="a b", bad="b a", group="order")),
        ("q.jsonl", {"question": "?", "choices": ["x", "y"], "answer": "B"}, Choice(question="?", options=("x", "y"), answer=1, group="q")),
        ("q.jsonl", {"question": "?", "choices": ["x", "y"], "answer": "x"}, Choice(question="?", options=("x", "y"), answer=0, group="q")),
        ("law_test.jsonl", {"question": "?", "choices": ["3", "4"], "answer": 1}, Choice(question="?", options=("3", "4"), answer=1, group="law")),
        (
            "arc.jsonl",
            {"question": "Why?", "choices": {"text": ["p", "q"], "label": ["1", "2"]}, "answerKey": "2"},
            Choice(question="Why?", options=("p", "q"), answer=1, cloze=True, group="arc"),
        ),
        (
            "val.tr.jsonl",
            {"premise": "Adam musluğu açtı.", "choice1": "Tuvalet doldu.", "choice2": "Su aktı.", "question": "effect", "label": 1},
            Choice(question="Adam musluğu açtı bu yüzden", options=("tuvalet doldu.", "su aktı."), answer=1, cloze=True, language="tr", group="val.tr"),
        ),
    ],
)  # fmt: skip
def test_every_layout_is_recognised(tmp_path, name, record, item):
    assert read_items([written(tmp_path / name, record)]) == [item]


def test_csv_files_and_folders_are_read(tmp_path):
    (tmp_path / "physics_test.csv").write_text('question,choice0,choice1,answer\n"What, then?",up,down,1\n', encoding="utf-8")
    (tmp_path / "noun.csv").write_text("id,source_sentence,target_sentence\n1,Дом стоит.,Дом стоят.\n", encoding="utf-8")
    assert read_items([tmp_path]) == [
        MinimalPair(good="Дом стоит.", bad="Дом стоят.", group="noun"),
        Choice(question="What, then?", options=("up", "down"), answer=1, group="physics"),
    ]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "x"}, "keys text, which are those of no task"),
        ({"good": "a", "bad": 3}, '"bad"'),
        ({"question": "?", "choices": ["x"], "answer": 0}, "has 1 choices"),
        ({"question": "?", "choices": "x", "answer": 0}, "no JSON list"),
        ({"question": "?", "choices": ["x", {}], "answer": 0}, "no list of texts"),
        ({"question": "?", "choices": ["x", "y"], "answer": 2}, "none of its 2 choices"),
        ({"question": "?", "choices": ["x", "y"], "answer": "C"}, "none of its 2 choices"),
        ({"question": "?", "choices": ["x", "y"], "answer": True}, "none of its 2 choices"),
        ({"question": "?", "choices": {"text": ["p"], "label": ["1"]}, "answerKey": "2"}, '"answerKey" is'),
        ({"question": "?", "choices": {"text": ["p", "q"], "label": ["1"]}, "answerKey": "1"}, "2 choices and 1 labels"),
        ({"question": "?", "choice0": "x", "choice2": "y", "answer": 1}, 'no "choice1" before its "choice2"'),
        ({"question": "?", "choices": ["x", "y"], "answer": 0, "cloze": "maybe"}, '"cloze" is'),
        ({"prompt": "?", "constraints": [{"type": "paragraph_start", "paragraph": 0, "word": "x"}]}, '"paragraph" of'),
        ({"premise": "P.", "choice1": "a", "choice2": "b", "question": "why", "label": 0}, '"question" is'),
        ({"premise": "P.", "choice1": "a", "choice2": "b", "question": "cause", "label": 0}, "because and so"),
    ],
)
def test_a_wrong_record_is_named(tmp_path, record, reason):
    path = written(tmp_path / "items.jsonl", {"prompt": "?", "answer": "x"}, record)
    with pytest.raises(CorpusError, match=f"items.jsonl:2.*{reason}"):
        read_items([path])


def test_damaged_csv_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="holds no items"):
        read_items([tmp_path])
    (tmp_path / "a.csv").write_text('good,bad\n"x"y,z\n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"a\.csv:2 is no valid CSV"):
        read_items([tmp_path / "a.csv"])
    (tmp_path / "b.csv").write_text("good,bad\nOh, a cat.,Oh, cat a.\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"b\.csv:2 has more fields"):
        read_items([tmp_path / "b.csv"])


def test_whether_choices_continue_the_question_is_read_from_csv(tmp_path):
    rows = [f'?,"[""x"", ""y""]",1,{cloze}' for cloze in ("true", "False", "1", "0", "")]
    (tmp_path / "a.csv").write_text("\n".join(["question,choices,answer,cloze", *rows]), encoding="utf-8")
    assert [item.cloze for item in read_items([tmp_path / "a.csv"])] == [True, False, True, False, False]


def test_values_at_the_edge_of_what_can_be_nested_are_refused(tmp_path):
    for depth in range(900, 1010):
        path = tmp_path / "a.jsonl"
        path.write_text('{"prompt": "a", "answer": "b", "x": ' + "[" * depth + "]" * depth + "}\n")
        with contextlib.suppress(CorpusError):
            read_items([path])


def test_a_limit_takes_evenly_from_all_groups():
    pairs = [MinimalPair(good=f"{group}{n}", bad="x", group=group) for group in "abc" for n in range(5)]
    assert [pair.good for pair in limited(pairs, 5)] == ["a0", "a1", "b0", "b1", "c0"]


def test_shots_come_from_the_own_group_where_it_has_enough_and_never_hold_the_item_itself():
    items = [Choice(question=f"{group}{n}", options=("x", "y"), answer=0, group=group) for group in "ab" for n in range(2)]
    assert [one.question for one in Shots(items, 2).of(Choice(question="?", options=("x", "y"), answer=0, group="b"))] == ["b0", "b1"]
    assert [one.question for one in Shots(items, 2).of(items[2])] == ["a0", "a1"]
    assert Shots().of(items[0]) == []


def test_the_real_benchmarks_are_read(shared_data):
    benchmarks = shared_data / "benchmarks"
    blimp, rublimp, mmlu, xcopa = (read_items([benchmarks / name]) for name in ("blimp", "rublimp", "mmlu/test", "xcopa"))
    assert len(blimp) == 34 * 150
    assert {type(item) for item in blimp + rublimp} == {MinimalPair}
    assert len({pair.group for pair in blimp}) == 34
    assert all(len(item.options) == 4 and not item.cloze for item in mmlu)
    assert {item.language for item in xcopa} == {"tr", "id", "it"}


HOSTILE: dict[str, bytes] = {
    "nul.jsonl": b"\0\0\0",
    "utf16.jsonl": '{"prompt": "x"}'.encode("utf-16"),
    "digits.jsonl": b'{"prompt": "x", "answer": ' + b"9" * 6000 + b"}",
    "deep.jsonl": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "half.jsonl": b'{"prompt": "\\ud800", "answer": "x"}',
    "string.jsonl": b'"x"',
    "nothing.jsonl": b"{}",
    "list.jsonl": b'{"prompt": ["x"], "answer": "y"}',
    "language.jsonl": b'{"prompt": "x", "answer": "y", "language": ["en"]}',
    "superscript.jsonl": '{"question": "q", "choices": ["a", "b"], "answer": "²"}'.encode(),
    "many.jsonl": b'{"question": "q", "choices": ["a"' + b', "a"' * 26 + b'], "answer": 0}',
    "arc.jsonl": b'{"question": {"stem": 5, "choices": []}, "answerKey": "A"}',
    "cause.jsonl": b'{"premise": "p", "choice1": "a", "choice2": "b", "question": ["cause"], "label": 0}',
    "huge.csv": b"good,bad\n" + b"x" * 200_000 + b",y\n",
    "number.csv": b"question,choice0,choice9999999999,answer\nq,a,b,0\n",
    "header.csv": b"good,bad\n",
    "references.jsonl": b'{"prompt": "x", "references": {"a": 1}}',
    "summary.jsonl": b'{"text": "t", "summary": 3}',
    "cut.json": b'{"data": [',
    "numbers.json": b"[1]",
    "articles.json": b'{"data": ["x"]}',
    "unanswerable.json": b'{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": []}]}]}]}',
    "question.json": b'{"data": [{"paragraphs": [{"context": "c", "qas": [7]}]}]}',
    "constraints.jsonl": b'{"prompt": "x", "constraints": "no_comma"}',
    "relation.jsonl": b'{"prompt": "x", "constraints": [{"type": "words", "count": 5, "relation": ["at least"]}]}',
    "true.jsonl": b'{"prompt": "x", "constraints": [{"type": "words", "count": true, "relation": "exactly"}]}',
    "type.jsonl": b'{"prompt": "x", "constraints": [{"type": ["words"]}]}',
    "ifeval.jsonl": b'{"prompt": "x", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []}',
    "unknown.jsonl": b'{"prompt": "x", "instruction_id_list": ["fly:high"], "kwargs": [{}]}',
    "null.jsonl": b'{"prompt": "x", "instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"num_words": null}]}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence_that_names_it(tmp_path, name):
    (tmp_path / name).write_bytes(HOSTILE[name])
    with pytest.raises(CorpusError, match=name) as refused:
        read_items([tmp_path / name])
    assert len(str(refused.value)) < 900


def test_the_longest_field_does_not_depend_on_what_else_this_process_has_read(tmp_path):
    before = csv.field_size_limit(10_000_000)
    try:
        (tmp_path / "huge.csv").write_bytes(b"good,bad\n" + b"x" * 200_000 + b",y\n")
        with pytest.raises(CorpusError, match="longer than 131072 characters"):
            read_items([tmp_path / "huge.csv"])
    finally:
        csv.field_size_limit(before)
