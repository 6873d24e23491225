"""Prompts live in the app and not in the page: answers reach the disk, panes fail alone, nothing lands in a wrong chat."""

from __future__ import annotations

import threading
import time

import pytest

from lep_core.errors import ConfigError, JobError
from lep_core.runs.chats import ChatStore
from ui import chats as module
from ui.chat_files import pair_rows, write_chat_downloads, write_vote_downloads
from ui.chats import Chats, Question

SECONDS = 30


class Pool:
    """Models that answer with their own name and the prompt; `gate` holds them back, `broken` ones fail."""

    def __init__(self, *, broken=(), base=(), gate=None, liars=()):
        self.broken, self.base, self.gate, self.liars = broken, base, gate, liars
        self.asked = []
        self.left = threading.Event()

    def prepare(self, models):
        pass

    def loaded(self, model):
        if model in self.broken:
            return {"event": "error", "message": f"{model} is gone", "hint": "Choose another"}
        return {"event": "loaded", "path": model, "fingerprint": f"f-{model}", "is_chat": model not in self.base, "body_fingerprint": "b"}

    def generate(self, model, *, messages=None, prompt=None, settings=None):
        self.asked.append((model, messages, prompt, settings))
        text = f"{model} says {prompt or messages[-1]['content']}"
        fingerprint = "f-other" if model in self.liars else f"f-{model}"
        try:
            for word in text.split():
                if self.gate is not None:
                    self.gate.wait(SECONDS)
                yield {"event": "delta", "text": f"{word} ", "token_ids": [1], "pieces": [f"{word} "], "fingerprint": fingerprint}
            yield {"event": "done", "new_tokens": 5, "seconds": 0.5, "characters_per_second": 9.0, "stop_reason": "eos"}
        finally:
            self.left.set()

    def close(self):
        pass


def question(*models, **values):
    return Question(**{"prompt": "hello", "models": [(model, f"Name {model}") for model in models], "settings": {"seed": 1}, **values})


def saved(project, chat_id, count=1):
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        # The threads of the panes carry the chat's name.
        at_work = any(one.name.startswith(chat_id) for one in threading.enumerate())
        chat = ChatStore(project.path).read(chat_id)
        if not at_work and len(chat.exchanges) == count and chat.exchanges[-1].ended:
            return chat
        time.sleep(0.01)
    raise AssertionError("the answers did not reach the disk")


def test_answers_reach_the_disk_without_a_page(project):
    chats = Chats(pool=Pool())
    sending = chats.send(project, None, question("x", "y", system="be kind"))
    chat = saved(project, sending.chat_id)
    assert [answer.text.strip() for answer in chat.exchanges[0].answers] == ["x says hello", "y says hello"]
    assert [answer.fingerprint for answer in chat.exchanges[0].answers] == ["f-x", "f-y"]
    assert all(answer.pieces and answer.tokens == 5 for answer in chat.exchanges[0].answers)
    _, messages, prompt, settings = chats.pool.asked[0]
    assert messages == [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]
    assert (prompt, settings) == (None, {"seed": 1})


def test_each_pane_goes_on_with_its_own_answers(project):
    chats = Chats(pool=Pool())
    sending = chats.send(project, None, question("x", "y"))
    saved(project, sending.chat_id)
    chats.pool.asked.clear()
    chats.send(project, sending.chat_id, question("x", "y", prompt="more"))
    saved(project, sending.chat_id, 2)
    heard = {model: [one["content"].strip() for one in messages] for model, messages, _, _ in chats.pool.asked}
    assert heard == {"x": ["hello", "x says hello", "more"], "y": ["hello", "y says hello", "more"]}


def test_a_base_model_and_plain_continuation_get_the_text_alone(project):
    chats = Chats(pool=Pool(base=("b",)))
    sending = chats.send(project, None, question("b", "x", system="s"))
    first = saved(project, sending.chat_id)
    assert [answer.without_template for answer in first.exchanges[0].answers] == [True, False]
    chats.send(project, sending.chat_id, question("b", "x", plain=True, prompt="once upon"))
    chat = saved(project, sending.chat_id, 2)
    assert all(answer.without_template for answer in chat.exchanges[1].answers)
    assert {(model, prompt) for model, messages, prompt, _ in chats.pool.asked if messages is None} == {
        ("b", "hello"),
        ("b", "once upon"),
        ("x", "once upon"),
    }


def test_a_pane_that_fails_leaves_the_others_alone(project):
    chats = Chats(pool=Pool(broken=("x",), liars=("z",)))
    sending = chats.send(project, None, question("x", "y", "z"))
    failed, good, foreign = saved(project, sending.chat_id).exchanges[0].answers
    assert failed.error == "x is gone. Choose another."
    assert good.usable
    assert not failed.usable
    assert "f-other" in foreign.error
    assert foreign.text == "", "what another model said is not shown"


def test_an_unexpected_fault_ends_in_one_sentence(project, monkeypatch):
    class Panic(BaseException):
        pass

    pool = Pool()

    def loaded(model):
        raise Panic("native library")

    monkeypatch.setattr(pool, "loaded", loaded)
    sending = Chats(pool=pool).send(project, None, question("x"))
    assert "Panic" in saved(project, sending.chat_id).exchanges[0].answers[0].error


def test_stop_keeps_what_has_come_and_lets_the_model_go(project):
    gate = threading.Event()
    chats = Chats(pool=Pool(gate=gate))
    sending = chats.send(project, None, question("x", "y"))
    with pytest.raises(JobError, match="still being answered"):
        chats.send(project, sending.chat_id, question("x"))
    assert chats.running(project, sending.chat_id) is sending
    sending.stop()
    assert sending.ended
    assert chats.running(project, sending.chat_id) is None
    chat = ChatStore(project.path).read(sending.chat_id)
    assert [answer.stop_reason for answer in chat.exchanges[0].answers] == ["stopped", "stopped"]
    gate.set()
    assert chats.pool.left.wait(SECONDS), "the request is given up at the next token"
    assert ChatStore(project.path).read(sending.chat_id).exchanges[0].answers == chat.exchanges[0].answers


def test_an_app_that_ends_keeps_what_has_come(project):
    gate = threading.Event()
    chats = Chats(pool=Pool(gate=gate))
    sending = chats.send(project, None, question("x"))
    chats.close()
    gate.set()
    assert ChatStore(project.path).read(sending.chat_id).exchanges[0].answers[0].stop_reason == "stopped"


def test_a_chat_deleted_while_it_is_answered_stays_deleted(project):
    gate = threading.Event()
    chats = Chats(pool=Pool(gate=gate))
    sending = chats.send(project, None, question("x"))
    ChatStore(project.path).delete(sending.chat_id)
    gate.set()
    until = time.monotonic() + SECONDS
    while sending.problem is None and time.monotonic() < until:
        time.sleep(0.01)
    assert "deleted" in str(sending.problem)
    assert not ChatStore(project.path).has(sending.chat_id)


def test_the_page_sees_every_state_and_the_end(project):
    gate = threading.Event()
    sending = Chats(pool=Pool(gate=gate)).send(project, None, question("x", "y"))
    states = sending.changes(seconds=0.005)
    assert not next(states).exchanges[0].ended
    gate.set()
    last = list(states)[-1]
    assert [answer.text.strip() for answer in last.exchanges[0].answers] == ["x says hello", "y says hello"]


def test_many_people_chat_at_once_and_no_answer_is_mixed_up(project):
    chats = Chats(pool=Pool())
    found = {}

    def person(number):
        chat_id = None
        for turn in range(3):
            sending = chats.send(project, chat_id, question(f"m{number}", "shared", prompt=f"p{number}-{turn}"))
            chat_id = sending.chat_id
            saved(project, chat_id, turn + 1)
        found[number] = chat_id

    people = [threading.Thread(target=person, args=(number,)) for number in range(10)]
    for one in people:
        one.start()
    for one in people:
        one.join(SECONDS)
    assert len(set(found.values())) == 10
    for number, chat_id in found.items():
        chat = ChatStore(project.path).read(chat_id)
        assert [item.prompt for item in chat.exchanges] == [f"p{number}-{turn}" for turn in range(3)]
        for item in chat.exchanges:
            assert [answer.text.strip() for answer in item.answers] == [f"m{number} says {item.prompt}", f"shared says {item.prompt}"]


@pytest.mark.parametrize(
    "asked",
    [
        question("x", prompt="  "),
        question("x", prompt="y" * 200_001),
        question(),
        question("x", blind=True),
        question("x", "x", blind=True),
        question("a", "b", "c", "d", "e", blind=True),
    ],
    ids=["empty", "long", "no model", "one blind", "twice the same", "five"],
)
def test_what_cannot_be_asked_makes_no_chat(project, asked):
    with pytest.raises(ConfigError):
        Chats(pool=Pool()).send(project, None, asked)
    assert ChatStore(project.path).listing() == ([], [])


def test_blind_panes_are_shuffled_once_a_round(project):
    chats = Chats(pool=Pool())
    orders = set()
    for _ in range(12):
        sending = chats.send(project, None, question("a", "b", "c", blind=True))
        chat = saved(project, sending.chat_id)
        orders.add(tuple(answer.model for answer in chat.exchanges[0].answers))
        assert all(answer.name == f"Name {answer.model}" for answer in chat.exchanges[0].answers)
    assert len(orders) > 1
    # A second message of the same round keeps the seats, whatever the page names; the next round is shuffled anew.
    chats.send(project, sending.chat_id, question("c", "b", "a", blind=True))
    going_on = saved(project, sending.chat_id, 2)
    assert [one.model for one in going_on.exchanges[1].answers] == [one.model for one in going_on.exchanges[0].answers]
    assert going_on.round == 0
    ChatStore(project.path).vote(sending.chat_id, "A")
    chats.send(project, sending.chat_id, question("a", "b", blind=True))
    assert saved(project, sending.chat_id, 3).round == 1


def test_a_message_is_replaced_only_within_its_round(project):
    chats = Chats(pool=Pool())
    sending = chats.send(project, None, question("x"))
    first = saved(project, sending.chat_id).exchanges[0].id
    chats.send(project, sending.chat_id, question("x", prompt="better", replaces=first))
    assert [item.prompt for item in saved(project, sending.chat_id).exchanges] == ["better"]


def test_the_summary_has_intervals_and_tells_equal_names_apart(project):
    chats = Chats(pool=Pool())
    store = ChatStore(project.path)
    for _ in range(9):
        sending = chats.send(project, None, question("x", "y", blind=True))
        seats = [answer.model for answer in saved(project, sending.chat_id).exchanges[0].answers]
        store.vote(sending.chat_id, "AB"[seats.index("x")])
    (row,) = pair_rows(store)
    assert (row.first, row.second, row.share, row.result.n) == ("Name x", "Name y", 1.0, 9)
    assert row.low == pytest.approx(0.7009, abs=1e-3), "Wilson's lower end of 9 of 9"
    assert row.high == 1.0
    same = Question(prompt="p", models=[("u", "Same"), ("v", "Same")], settings={}, blind=True)
    sending = chats.send(project, None, same)
    saved(project, sending.chat_id)
    store.vote(sending.chat_id, "tie")
    names = {one for pair in pair_rows(store) for one in (pair.first, pair.second)}
    assert {"Same (f-u)", "Same (f-v)"} <= names


def test_downloads_lie_outside_the_workspace(project, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temporary"))
    sending = Chats(pool=Pool()).send(project, None, question("x", "y", prompt="=SUM(1)"))
    files = write_chat_downloads(saved(project, sending.chat_id))
    assert [path.suffix for path in files] == [".md", ".json", ".jsonl"]
    assert all(path.is_relative_to(tmp_path / "temporary") for path in [*files, *write_vote_downloads(project)])
    assert "x says =SUM(1)" in files[2].read_text()


def test_only_one_set_of_chats_stands_behind_all_languages(backend):
    first = module.shared_chats(backend)
    assert module.shared_chats(backend) is first
    for closer in backend.closers:
        closer()
    assert module.shared_chats(backend) is not first
