"""Chats are kept whatever happens to the file, votes are counted per pair, and nothing tells the names before the vote."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict, replace

import pytest

from lep_core.errors import ConfigError, InputError
from lep_core.runs import chats as module
from lep_core.runs.chat_exports import chat_json, chat_markdown, conversations, vote_summary
from lep_core.runs.chats import ChatAnswer, ChatStore, Exchange, title_of


@pytest.fixture
def store(tmp_path):
    return ChatStore(tmp_path)


def answer(model, text="ok", **values):
    return ChatAnswer(
        **{"model": f"/models/{model}", "name": model, "fingerprint": f"f-{model}", "text": text, "stop_reason": "eos", **values}
    )


def exchange(name, *answers, prompt="What is it?", **values):
    return Exchange(**{"id": name, "prompt": prompt, "time": 1.0, "answers": answers or (answer("one", "1"), answer("two", "2")), **values})


def test_a_chat_reads_as_it_was_written(store):
    chat = store.create("Привет,  мир")
    first = exchange("a", prompt="Привет,\n  мир", system="Be brief", settings={"seed": 3, "temperature": 0.5})
    store.save(chat.id, first)
    read = ChatStore(store.folder.parent).read(chat.id)
    assert read.title == "Привет, мир"
    assert read.exchanges == (first,)
    assert read.messages(0, 1) == [{"role": "user", "content": "Привет,\n  мир"}, {"role": "assistant", "content": "2"}]
    assert read.skipped == 0


def test_the_newest_line_of_an_exchange_counts_and_keeps_its_place(store):
    chat = store.create("x")
    asked = exchange("a", answer("one", "", stop_reason=""))
    for record in (asked, exchange("b"), replace(asked, answers=(answer("one", "done"),))):
        store.save(chat.id, record)
    read = store.read(chat.id)
    assert [item.id for item in read.exchanges] == ["a", "b"]
    assert read.exchanges[0].answers[0].text == "done"


def test_an_edited_message_takes_the_place_of_the_old_one_and_of_what_followed(store):
    chat = store.create("x")
    for record in (exchange("a"), exchange("b"), exchange("c"), exchange("d", replaces="b")):
        store.save(chat.id, record)
    assert [item.id for item in store.read(chat.id).exchanges] == ["a", "d"]
    assert len((store.folder / f"{chat.id}.jsonl").read_text().splitlines()) == 5, "nothing is lost on the disk"


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_line_is_skipped_and_the_next_writer_begins_anew(store, cut):
    chat = store.create("x")
    store.save(chat.id, exchange("a"))
    store.save(chat.id, exchange("b"))
    path = store.folder / f"{chat.id}.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    whole = 2 if cut == 1 else 1
    assert len(store.read(chat.id).exchanges) == whole
    store.save(chat.id, exchange("c"))
    read = store.read(chat.id)
    assert [item.id for item in read.exchanges][-1] == "c"
    assert len(read.exchanges) == whole + 1
    assert read.skipped == (0 if cut == 1 else 1)


DAMAGED = [
    "null",
    "[1]",
    "{",
    '{"kind": "exchange"}',
    '{"kind": "exchange", "id": 5, "answers": []}',
    '{"kind": "exchange", "id": "a", "answers": [3]}',
    '{"kind": "exchange", "id": "a", "answers": [{"text": null}]}',
    '{"kind": "exchange", "id": "a", "answers": [{"tokens": true}]}',
    '{"kind": "exchange", "id": "a", "time": "late", "answers": []}',
    '{"kind": "vote", "round": "x"}',
    '{"kind": "vote", "round": 0, "contestants": [1, 2]}',
    '{"kind": "title"}',
    '{"kind": "unknown"}',
    "\ud83d" + "[" * 100_000,
]


@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: line[:30])
def test_a_damaged_line_costs_that_line_only(store, line):
    chat = store.create("x")
    path = store.folder / f"{chat.id}.jsonl"
    with open(path, "ab") as stream:
        stream.write(line.encode("utf-8", errors="surrogatepass") + b"\n")
    store.save(chat.id, exchange("a"))
    read = store.read(chat.id)
    assert read.skipped == 1
    assert [item.id for item in read.exchanges] == ["a"]
    json.dumps(chat_json(read))
    vote_summary([read])


def test_files_that_are_no_chats_are_named_and_the_others_listed(store):
    chat = store.create("x")
    (store.folder / "chat-20260101-000000-0000000.jsonl").write_text('{"kind": "exchange"}\n')
    (store.folder / "chat-20260101-000000-0000001.jsonl").write_bytes(b"")
    listed, problems = store.listing()
    assert [item.id for item in listed] == [chat.id]
    assert len(problems) == 2
    assert all("chat-20260101-000000-000000" in text for text in problems)


def test_the_list_shows_the_last_changed_chat_first_and_follows_changes(store):
    one, two = store.create("one"), store.create("two")
    store.save(one.id, exchange("a", time=two.created + 5))
    assert [item.id for item in store.listing()[0]] == [one.id, two.id]
    store.rename(two.id, "  a   new name ")
    listed, _ = store.listing()
    assert {item.title for item in listed} == {"one", "a new name"}
    assert listed[1].models == ("one", "two") or listed[0].models == ("one", "two")
    store.delete(one.id)
    assert [item.id for item in store.listing()[0]] == [two.id]


def test_an_answer_to_a_deleted_chat_does_not_bring_it_back(store):
    chat = store.create("x")
    store.delete(chat.id)
    with pytest.raises(InputError, match="deleted"):
        store.save(chat.id, exchange("a"))
    assert not store.has(chat.id)


@pytest.mark.parametrize("bad", ["", "../../etc/passwd", "chat-1", None, 5, "chat-20260101-000000-0000000\n"])
def test_ids_cannot_leave_the_folder(store, bad):
    assert not store.has(bad)
    with pytest.raises(InputError):
        store.read(bad)


def test_a_chat_cannot_grow_without_end(store, monkeypatch):
    chat = store.create("x")
    monkeypatch.setattr(module, "MOST_BYTES", 2000)
    with pytest.raises(InputError, match="at most 2000"):
        store.save(chat.id, exchange("a", prompt="y" * 3000))
    assert store.read(chat.id).exchanges == ()
    with pytest.raises(ConfigError):
        store.rename(chat.id, "t" * 121)
    with pytest.raises(ConfigError):
        store.rename(chat.id, "  ")


def test_many_writers_lose_no_line(store):
    chat = store.create("x")
    names = [f"{thread}-{number}" for thread in range(8) for number in range(10)]

    def write(thread):
        for number in range(10):
            store.save(chat.id, exchange(f"{thread}-{number}", answer("one", "long " * 5000)))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    read = store.read(chat.id)
    assert sorted(item.id for item in read.exchanges) == sorted(names)
    assert read.skipped == 0


def test_titles_are_the_beginning_of_the_prompt():
    assert title_of("  short\ntext ") == "short text"
    assert title_of("word " * 40) == "word " * 11 + "word …"
    assert title_of("x" * 100) == "x" * 60 + " …"
    assert title_of(" ") == "…"


def blind_chat(store, *names, choice=None, prompt="Which?"):
    chat = store.create(prompt)
    store.save(chat.id, exchange("e1", *(answer(name, f"from {index}") for index, name in enumerate(names)), blind=True, prompt=prompt))
    return store.vote(chat.id, choice) if choice else store.read(chat.id)


def test_no_export_of_an_open_blind_round_names_a_model(store):
    chat = blind_chat(store, "secret-x", "secret-y")
    assert chat.names_hidden(0)
    texts = [json.dumps(chat_json(chat)), chat_markdown(chat), json.dumps(list(conversations([chat])))]
    assert not any(re.search("secret|f-", text) for text in texts)
    assert all("from 0" in text for text in texts[:2])
    decided = store.vote(chat.id, "B")
    assert not decided.names_hidden(0)
    assert "secret-y" in json.dumps(chat_json(decided))
    assert "secret-y" in chat_markdown(decided)


def test_the_first_vote_counts(store):
    chat = blind_chat(store, "x", "y", choice="A")
    with pytest.raises(ConfigError, match="no open blind round"):
        store.vote(chat.id, "B")
    assert store.read(chat.id).votes[0].choice == "A"


def test_impossible_votes_are_refused(store):
    chat = blind_chat(store, "x", "y")
    for choice in ("C", "a", "", "best"):
        with pytest.raises(ConfigError, match="no choice"):
            store.vote(chat.id, choice)
    running = store.create("x")
    store.save(running.id, exchange("e", answer("x", stop_reason=""), answer("y"), blind=True))
    with pytest.raises(ConfigError, match="not all models"):
        store.vote(running.id, "A")


def test_a_vote_or_a_failure_ends_a_blind_round(store):
    chat = blind_chat(store, "x", "y")
    assert chat.next_round(blind=True) == 0
    assert chat.next_round(blind=False) == 1
    assert store.vote(chat.id, "tie").next_round(blind=True) == 1
    failed = store.create("x")
    store.save(failed.id, exchange("e", answer("x"), answer("y", "", stop_reason="", error="killed"), blind=True))
    read = store.read(failed.id)
    assert not read.names_hidden(0)
    assert read.next_round(blind=True) == 1


def test_votes_are_counted_per_pair(store):
    rounds = [
        (("x", "y"), "A"),
        (("y", "x"), "A"),
        (("y", "x"), "B"),
        (("x", "y"), "tie"),
        (("y", "x"), "bad"),
        (("x", "y"), "none"),
        (("z", "y", "x"), "C"),
    ]
    for names, choice in rounds:
        blind_chat(store, *names, choice=choice)
    rows = {(row.first["name"], row.second["name"]): row for row in vote_summary(store.listing()[0])}
    xy = rows["x", "y"]
    assert (xy.first_wins, xy.second_wins, xy.ties, xy.both_bad, xy.n) == (3, 1, 1, 1, 6)
    assert (rows["x", "z"].first_wins, rows["x", "z"].n) == (1, 1)
    assert ("y", "z") not in rows, "a vote for x says nothing about y and z"


def test_a_model_that_was_trained_further_is_another_one(store):
    for mark in ("old", "new"):
        chat = store.create("x")
        store.save(chat.id, exchange("e", answer("x", fingerprint=mark), answer("y"), blind=True))
        store.vote(chat.id, "A")
    assert sorted(row.first["fingerprint"] for row in vote_summary(store.listing()[0])) == ["new", "old"]


def test_conversations_are_ready_for_instruction_tuning(store):
    chat = store.create("x")
    store.save(chat.id, exchange("a", answer("one", "1"), answer("two", "", stop_reason="", error="failed"), prompt="p", system="s"))
    store.save(chat.id, exchange("b", answer("one", "11"), answer("two", "22"), prompt="q", system="s"))
    store.save(chat.id, exchange("c", answer("base", "…", without_template=True), prompt="r", round=1))
    found = list(conversations([store.read(chat.id)]))
    system = {"role": "system", "content": "s"}
    assert [item["model"] for item in found] == ["one", "two"]
    assert [one["content"] for one in found[0]["messages"]] == ["s", "p", "1", "q", "11"]
    assert found[1]["messages"] == [system, {"role": "user", "content": "q"}, {"role": "assistant", "content": "22"}]
    assert len(list(conversations([store.read(chat.id)], model="/models/two"))) == 1


def test_preferred_conversations_are_the_winners_only(store):
    chats = [blind_chat(store, "x", "y", choice=choice) for choice in ("B", "tie", "A", "bad")]
    found = list(conversations(chats, preferred=True))
    assert [item["messages"][-1]["content"] for item in found] == ["from 1", "from 0"]


def test_markup_in_a_chat_stays_inside_its_fence(store):
    chat = store.create("<script>alert(1)</script> `x`")
    store.save(chat.id, exchange("a", answer("one", "```\n# not a heading\n````"), prompt="<b>x</b>"))
    text = chat_markdown(store.read(chat.id))
    assert "`````text\n```\n# not a heading\n````\n`````" in text
    assert text.startswith("# \\<script\\>")


def test_the_records_are_json(store):
    chat = store.create("x")
    store.save(chat.id, exchange("a", answer("one", "\ud800 lone", pieces=("a", "b"))))
    read = store.read(chat.id)
    assert read.exchanges[0].answers[0].pieces == ("a", "b")
    assert asdict(read.exchanges[0])["answers"][0]["text"].endswith("lone")
