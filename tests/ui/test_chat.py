"""The chat tab as a browser meets it: each visit sees its own chat, and a blind round tells nothing before the vote."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import gradio as gr
import pytest

from lep_core.errors import ConfigError, JobError, LepError
from lep_core.runs.chats import ChatStore
from tests.ui.test_chats import SECONDS, Pool, saved
from ui.i18n import Translator
from ui.studio import Studio
from ui.tabs import chat as module
from ui.tabs.chat_history import PastChats
from ui.tabs.chat_layout import BLIND, NEW, SIDE
from ui.tabs.chat_vote import VoteSummary


@pytest.fixture
def tab(backend, project, monkeypatch, tmp_path):
    """The tab of a page with models that answer at once."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temporary"))
    with gr.Blocks():
        studio = Studio(backend=backend, t=Translator("en"), project=gr.Dropdown(), tabs=gr.Tabs())
        conversation = module.Conversation(studio)
        past = PastChats(studio, conversation, studio.tabs)
        votes = VoteSummary(studio)
        conversation.connect()
    conversation.running.pool = Pool()
    return SimpleNamespace(conversation=conversation, past=past, votes=votes, page=conversation.layout, project=project, t=studio.t)


def asked(tab, visit, text, *models, mode=SIDE, **settings):
    page = tab.page
    form = [settings.get(name, component.value) for name, component in page.form.components.items()]
    chosen = [*models, *[None] * (4 - len(models))]
    return [text, tab.project.id, visit, {}, mode, len(models), list(models), *chosen, *form]


def send(tab, visit, text, *models, **options):
    """All updates of one message, brought together."""
    return list(tab.conversation.on_send(*asked(tab, visit, text, *models, **options)))


def together(frames):
    result = {}
    for frame in frames:
        result |= frame
    return result


def value(change):
    return change["value"] if isinstance(change, dict) else change


def test_each_answer_comes_to_its_own_pane(tab):
    visit = module.Visit()
    frames = send(tab, visit, "hello", "x", "y", "z")
    shown = together(frames)
    assert [value(shown[pane.chat])[-1]["content"].strip() for pane in tab.page.panes[:3]] == [f"{name} says hello" for name in "xyz"]
    assert [value(shown[pane.facts]).split()[0] for pane in tab.page.panes[:3]] == ["`f-x`", "`f-y`", "`f-z`"]
    assert shown[tab.page.panes[3].chat] == []
    assert shown[tab.page.prompt] == ""
    assert shown[tab.conversation.saved] == {tab.project.id: visit.chat}
    assert shown[tab.page.stop]["interactive"] is False
    assert "2" in value(shown[tab.page.panes[0].facts]).splitlines()[-1], "models of one body say with which panes they share it"


def test_a_blind_round_tells_nothing_before_the_vote(tab):
    visit = module.Visit()
    frames = send(tab, visit, "hello", "m-one", "m-two", mode=BLIND)
    told = [{key: change for key, change in frame.items() if key is not tab.conversation.saved} for frame in frames]
    texts = [json.dumps([str(change) for change in frame.values()]) for frame in told]
    # The made-up models say their names; no other trace of them may be there, and no answer before all are written.
    for text in texts:
        clean = text.replace("m-one says hello", "").replace("m-two says hello", "")
        assert "f-m-" not in text
        assert "m-one" not in clean
        assert "m-two" not in clean
        assert tab.t("chat.numbers").split("**")[-1].strip() not in text
    for frame in frames:
        answers = [frame[pane.chat][-1]["content"] for pane in tab.page.panes[:2] if frame.get(pane.chat)]
        assert len({answer == "…" for answer in answers}) <= 1
    shown = together(frames)
    assert shown[tab.page.vote.row]["visible"] is True
    assert [shown[tab.page.vote.buttons[letter]]["visible"] for letter in "ABCD"] == [True, True, False, False]
    seats = [answer.model for answer in saved(tab.project, visit.chat).exchanges[0].answers]
    reopened = str(tab.conversation._shown(tab.project, visit))
    assert "f-m-" not in reopened
    voted = tab.conversation._voting("B")(tab.project.id, visit)
    assert voted[tab.page.vote.row]["visible"] is False
    assert seats[1] in value(voted[tab.page.vote.said])
    assert [value(voted[pane.title]) for pane in tab.page.panes[:2]] == [f"### A = {seats[0]}", f"### B = {seats[1]}"]
    assert "f-m-" in str(voted)


def test_the_list_of_rivals_does_not_give_the_order_away(tab):
    for _ in range(6):
        visit = module.Visit()
        send(tab, visit, "hello", "m-b", "m-a", mode=BLIND)
        assert value(tab.conversation._shown(tab.project, visit)[tab.page.competitors]) == ["m-a", "m-b"]
        assert all("m-" not in str(tab.conversation._shown(tab.project, visit)[pane.model]) for pane in tab.page.panes)


def test_a_failure_in_a_blind_round_says_why_there_is_no_vote(tab):
    tab.conversation.running.pool = Pool(broken=("m-two",))
    visit = module.Visit()
    shown = together(send(tab, visit, "hello", "m-one", "m-two", mode=BLIND))
    assert value(shown[tab.page.vote.said]) == tab.t("vote.was_failed")
    with pytest.raises(ConfigError):
        tab.conversation._voting("A")(tab.project.id, visit)


def test_an_update_of_a_chat_that_was_left_never_stays(tab):
    gate = threading.Event()
    tab.conversation.running.pool = Pool(gate=gate)
    visit = module.Visit()
    frames = tab.conversation.on_send(*asked(tab, visit, "hello", "x"))
    next(frames)
    next(frames)
    left = visit.chat
    cleared = tab.conversation.on_new(tab.project.id, visit, {tab.project.id: left})
    assert cleared[tab.conversation.saved] == {}
    gate.set()
    rest = list(frames)
    assert rest[-1][tab.page.panes[0].chat] == [], "the last word is the empty chat that is shown now"
    assert "hello" not in str([frame.get(pane.chat) for frame in rest for pane in tab.page.panes])
    assert saved(tab.project, left).exchanges[0].answers[0].text.strip() == "x says hello", "the answer went to its chat"


def test_a_reload_finds_the_chat_and_the_answers_that_still_come(tab):
    gate = threading.Event()
    tab.conversation.running.pool = Pool(gate=gate)
    first = module.Visit()
    frames = tab.conversation.on_send(*asked(tab, first, "hello", "x", "y", temperature=0.5))
    next(frames)
    frames.close()
    again = module.Visit()
    offer = tab.conversation.refresh(tab.project)[tab.conversation.offer]
    shown = tab.conversation.on_offer(offer, {tab.project.id: first.chat}, again, SIDE)
    assert again.chat == first.chat
    assert value(shown[tab.page.panes[1].model]) == "y"
    assert shown[tab.page.form.components["temperature"]] == 0.5
    assert shown[tab.page.stop]["interactive"] is True
    gate.set()
    followed = together(tab.conversation.on_follow(tab.project.id, again))
    assert value(followed[tab.page.panes[1].chat])[-1]["content"].strip() == "y says hello"


def test_new_results_change_no_models_of_a_chat_or_of_a_choice(tab, chain):
    offer = tab.conversation.refresh(tab.project)[tab.conversation.offer]
    visit = module.Visit()
    fresh = tab.conversation.on_offer(offer, {}, visit, SIDE)
    assert value(fresh[tab.page.panes[1].model]) == str(chain.propagated.output)
    assert tab.t("chat.intro_no_result") not in value(fresh[tab.page.intro])
    assert "value" in tab.conversation.on_offer(offer, {}, visit, SIDE)[tab.page.panes[0].model]
    module._touch(visit)
    assert "value" not in tab.conversation.on_offer(offer, {}, visit, SIDE)[tab.page.panes[0].model]
    visit.touched, visit.chat = False, "chat-20260101-000000-0000000"
    assert "value" not in tab.conversation.on_offer(offer, {}, visit, SIDE)[tab.page.panes[0].model]


def test_another_project_begins_with_empty_panes(tab, workspace):
    other = workspace.create_project("Other")
    visit = module.Visit()
    send(tab, visit, "hello", "x")
    offer = tab.conversation.refresh(other)[tab.conversation.offer]
    shown = tab.conversation.on_offer(offer, {tab.project.id: visit.chat}, visit, SIDE)
    assert (visit.project, visit.chat) == (other.id, None)
    assert shown[tab.page.panes[0].chat] == []


def test_answering_again_replaces_and_counts_the_seed_up(tab):
    visit = module.Visit()
    send(tab, visit, "hello", "x", temperature=0.7, seed=4)
    saved(tab.project, visit.chat)
    shown = together(tab.conversation.on_again(*asked(tab, visit, "", "x", temperature=0.7, seed=4)))
    chat = saved(tab.project, visit.chat)
    assert chat.exchanges[0].settings["seed"] == 5
    assert shown[tab.page.form.components["seed"]] == 5
    assert tab.page.prompt not in shown, "what is being typed stays"
    together(tab.conversation.on_again(*asked(tab, visit, "", "x", temperature=0.0, seed=5)))
    assert saved(tab.project, visit.chat).exchanges[0].settings["seed"] == 5


def test_an_edited_message_replaces_the_last(tab):
    visit = module.Visit()
    for text in ("one", "two"):
        send(tab, visit, text, "x")
    assert tab.conversation.on_edit(tab.project.id, visit)[tab.page.prompt] == "two"
    send(tab, visit, "three", "x")
    assert [item.prompt for item in saved(tab.project, visit.chat, 2).exchanges] == ["one", "three"]
    assert visit.replacing is False


def test_the_other_mode_begins_a_new_chat(tab):
    visit = module.Visit()
    send(tab, visit, "hello", "x", "y")
    changes = tab.conversation.on_mode(tab.project.id, visit, {}, BLIND, 2, ["x", "y", "z"])
    assert visit.chat is None
    assert changes[tab.page.competitors]["visible"] is True
    assert [changes[pane.column]["visible"] for pane in tab.page.panes] == [True, True, True, False]
    assert not any(changes[pane.model]["visible"] for pane in tab.page.panes)


@pytest.mark.parametrize("settings", [{"temperature": -1}, {"top_p": 2}, {"max_new_tokens": 0}, {"seed": -1}, {"repetition_penalty": 0}])
def test_impossible_settings_are_refused_before_anything_is_asked(tab, settings):
    with pytest.raises(LepError):
        send(tab, module.Visit(), "hello", "x", **settings)
    assert ChatStore(tab.project.path).listing()[0] == []


def test_past_chats_are_opened_renamed_and_deleted_after_a_question(tab):
    visit = module.Visit()
    send(tab, visit, "hello", "x")
    chat_id = visit.chat
    saved(tab.project, chat_id)
    tab.conversation.on_new(tab.project.id, visit, {})
    listed = tab.past.on_show(tab.project.id, visit, None)
    assert listed[tab.past.table]["value"][0][0] == "hello"
    opened = tab.past.on_open(tab.project.id, visit, {}, chat_id)
    assert visit.chat == chat_id
    assert value(opened[tab.page.panes[0].chat])[-1]["content"].strip() == "x says hello"
    renamed = tab.past.on_rename(tab.project.id, visit, chat_id, "better")
    assert renamed[tab.past.title] == "better"
    asking = tab.past.on_delete(tab.project.id, chat_id)
    assert asking[tab.past.confirm_row]["visible"] is True
    assert ChatStore(tab.project.path).has(chat_id)
    gone = tab.past.on_delete_really(tab.project.id, visit, {}, chat_id)
    assert not ChatStore(tab.project.path).has(chat_id)
    assert gone[tab.page.panes[0].chat] == []
    assert tab.conversation.open(tab.project.id, visit, {}, NEW)


def test_a_chat_that_is_being_answered_is_not_deleted(tab):
    gate = threading.Event()
    tab.conversation.running.pool = Pool(gate=gate)
    visit = module.Visit()
    frames = tab.conversation.on_send(*asked(tab, visit, "hello", "x"))
    next(frames)
    with pytest.raises(JobError):
        tab.past.on_delete_really(tab.project.id, visit, {}, visit.chat)
    tab.conversation.on_stop(tab.project.id, visit)
    gate.set()
    assert saved(tab.project, visit.chat).exchanges[0].answers[0].stop_reason == "stopped"


def test_the_votes_are_shown_with_intervals(tab):
    assert value(tab.votes.draw(tab.project.id)[tab.votes.said]) == tab.t("vote.none_yet")
    for _ in range(6):
        visit = module.Visit()
        send(tab, visit, "hello", "x", "y", mode=BLIND)
        seats = [answer.model for answer in saved(tab.project, visit.chat).exchanges[0].answers]
        tab.conversation._voting("AB"[seats.index("y")])(tab.project.id, visit)
    drawn = tab.votes.draw(tab.project.id)
    assert drawn[tab.votes.table]["value"] == [["x", "y", "0", "6", "0", "0", "6", "0% [0% – 39%]"]]
    assert "**y**" in drawn[tab.votes.said]
    assert "100% " in drawn[tab.votes.said]


def test_ten_browsers_with_real_models_are_not_mixed_up(backend, project, tiny, tmp_path, monkeypatch):
    """Ten visits at once over two models that share a process: each gets what it would have got alone."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temporary"))
    one = tiny(chat=True)
    two = tiny(sibling_of=one, chat=True)
    with gr.Blocks():
        studio = Studio(backend=backend, t=Translator("en"), project=gr.Dropdown(), tabs=gr.Tabs())
        conversation = module.Conversation(studio)
    tab = SimpleNamespace(conversation=conversation, page=conversation.layout, project=project)
    models = (str(one), str(two))

    def answers(number, visit):
        text = f"Where is the key number {number}?"
        send(tab, visit, text, *models, temperature=1.0, seed=number, max_new_tokens=12)
        (exchange,) = saved(project, visit.chat).exchanges
        assert exchange.prompt == text
        assert [answer.model for answer in exchange.answers] == list(models)
        assert not exchange.failed, exchange.answers
        return [(answer.text, answer.fingerprint) for answer in exchange.answers]

    found = {}
    people = [threading.Thread(target=lambda n=n: found.update({n: answers(n, module.Visit())})) for n in range(10)]
    try:
        for person in people:
            person.start()
        for person in people:
            person.join(4 * SECONDS)
        assert len(found) == 10
        assert len({fingerprint for pair in found.values() for _, fingerprint in pair}) == 2
        for number in (0, 3, 9):
            assert answers(number, module.Visit()) == found[number]
    finally:
        conversation.running.close()


def test_markup_and_control_strings_are_shown_as_text(tab):
    shown = together(send(tab, module.Visit(), "<b>x</b> </s> &lt; <|im_end|>", "x"))
    typed, answered = (one["content"] for one in value(shown[tab.page.panes[0].chat]))
    assert typed == "&lt;b>x&lt;/b> &lt;/s> &amp;lt; &lt;|im_end|>"
    assert "<" not in answered
    assert tab.page.panes[0].chat.render_markdown is False
