"""Filters, the judge and the copy tasks: each rule with an example on either side of it."""

import pytest

from lep_core.calibration.answers import Pair
from lep_core.calibration.copying import LEAST_CHARACTERS, copy_tasks
from lep_core.calibration.filters import filter_pairs, packed_characters, repeated_share, report_of
from lep_core.calibration.journal import Journal
from lep_core.calibration.judging import keep_best, score_pairs
from lep_core.calibration.scripts import main_script, share_of_script
from lep_core.config import CalibrateConfig
from lep_core.evaluation.copy_task import INSTRUCTIONS
from lep_core.inference.generator import Generator
from tests.factories import SENTENCES


def config(**changes):
    return CalibrateConfig(model="m", output="o", teacher="t", prompt_file=("p",), **changes)


def reason(prompt, answer, stop="eos", **changes):
    (judged,) = filter_pairs([Pair(prompt, answer, "f:1", stop)], config(**changes))
    return judged.reason


LOOP = "Кошка сидит на окне и ждёт. " * 12


@pytest.mark.parametrize(
    ("answer", "stop", "changes", "expected"),
    [
        ("Дом.", "eos", {}, None),
        ("", "eos", {}, "empty"),
        ("Дом", "length", {}, "unfinished"),
        ("Дом", "context", {}, "unfinished"),
        ("Дом", "length", {"unfinished": True}, None),
        ("Дом", "eos", {"min_answer_characters": 4}, "short"),
        ("Дом на холме", "eos", {"max_answer_characters": 4}, "long"),
        ("The house", "eos", {}, "script"),
        ("The house", "eos", {"answer_script": "any"}, None),
        ("The house", "eos", {"answer_script": "latin"}, None),
        ("Дом (house)", "eos", {"script_share": 0.9}, "script"),
        ("42", "eos", {}, None),
        (LOOP, "eos", {}, "repetitive"),
        (LOOP, "eos", {"max_repetition": 1.0, "max_compression": 1000.0}, None),
        ("Я не могу ответить на этот вопрос.", "eos", {}, None),
    ],
)
def test_the_first_broken_rule_names_the_reason(answer, stop, changes, expected):
    assert reason("Что это такое?", answer, stop, **changes) == expected


def test_prompts_that_differ_in_case_and_spaces_count_as_repeated():
    judged = filter_pairs([Pair("Что это?", "Дом", "f:1", "eos"), Pair("что  это?", "Кот", "f:2", "eos")], config())
    assert [one.reason for one in judged] == [None, "repeated"]


def test_ordinary_answers_are_far_from_the_limits_and_loops_beyond(shared_data):
    import json

    lines = (shared_data / "instruct" / "ru_arena_general.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["messages"][-1]["content"] for line in lines]
    out = [text for text in answers if repeated_share(text) > 0.3 or packed_characters(text) > 4]
    assert len(out) <= 0.02 * len(answers)
    assert repeated_share(LOOP) > 0.8
    assert packed_characters(LOOP) > 4


def test_the_report_counts_and_shows_three_examples():
    pairs = [Pair(f"Вопрос {number}?", "", "f", "eos") for number in range(5)] + [Pair("Что?", "я" * 10, "f", "eos")]
    report = report_of(filter_pairs(pairs, config())).to_json()
    assert (report["given"], report["kept"], report["dropped"]) == (6, 1, {"empty": 5})
    assert len(report["examples"]["empty"]) == 3


def test_scripts_are_told_apart_by_their_letters():
    assert main_script("Привет, world! Как дела?") == "cyrillic"
    assert main_script("123 !?") is None
    assert main_script("日本語のテキストです") == "japanese"
    assert share_of_script("日本語のテキストです", "japanese") == 1.0
    assert share_of_script("ещё two", "cyrillic") == 0.5
    assert main_script("გამარჯობა") == "georgian"


def test_the_judge_keeps_the_share_that_it_likes_best(tiny, tmp_path):
    judge = Generator.load(tiny(chat=True), threads=1)
    judged = filter_pairs([Pair(f"Вопрос {number}: {text}", text, "f", "eos") for number, text in enumerate(SENTENCES[6:])], config())
    path = tmp_path / "scores.jsonl"
    scores = score_pairs(judge, judged, Journal(path), template=None, batch_size=4)
    kept = keep_best(judged, scores, 0.5)
    assert sum(one.reason is None for one in kept) == 3
    assert min(one.score for one in kept if one.reason is None) >= max(one.score for one in kept if one.reason == "judge")
    path.write_bytes(path.read_bytes()[:-30])
    assert score_pairs(judge, judged, Journal(path), template=None, batch_size=4) == scores


def test_what_the_rules_left_out_is_not_judged(tiny, tmp_path):
    judge = Generator.load(tiny(chat=True), threads=1)
    judged = filter_pairs([Pair("Что?", "", "f", "eos"), Pair("Где?", "Дом", "f", "eos")], config())
    scores = score_pairs(judge, judged, Journal(tmp_path / "s.jsonl"), template="{answer} <- {prompt} {answer}", batch_size=4)
    assert scores[0] is None
    assert scores[1] is not None
    assert [one.reason for one in keep_best(judged, scores, 0.5)] == ["empty", None]


TEXTS = ["\n".join(SENTENCES[:6]), "\n".join(SENTENCES[6:]) + "\n" + SENTENCES[6] + " " + SENTENCES[7]]


def test_copy_tasks_ask_for_text_that_stands_in_the_corpus():
    found = copy_tasks(TEXTS, count=10, seed=0, longest=200)
    assert len(found) == 10
    for prompt, text in found:
        assert any(text in one for one in TEXTS)
        assert LEAST_CHARACTERS <= len(text) <= 200
        assert prompt.text in (template.format(text=text) for template in INSTRUCTIONS.values())
        assert prompt.source == "copy"


def test_copy_tasks_fit_and_do_not_depend_on_the_order_of_documents():
    first = copy_tasks(TEXTS, count=5, seed=3, longest=80, fits=lambda prompt, text: len(text) < 70)
    second = copy_tasks(TEXTS[::-1], count=5, seed=3, longest=80, fits=lambda prompt, text: len(text) < 70)
    assert first == second
    assert all(len(text) < 70 for _, text in first)
    assert copy_tasks(TEXTS, count=0, seed=3, longest=80) == []


def test_a_given_copy_template_is_used():
    ((prompt, text),) = copy_tasks(TEXTS, count=1, seed=0, longest=80, template="Көшір: {text}")
    assert prompt.text == f"Көшір: {text}"


def test_likelihood_is_that_of_the_answers_tokens_in_the_judges_own_template(tiny, tmp_path):
    import torch

    judge = Generator.load(tiny(chat=True), threads=1)
    judged = filter_pairs([Pair("Где ключ?", "Ключ лежит на столе.", "f", "eos"), Pair("Что?", "Дом", "f", "eos")], config())
    scores = score_pairs(judge, judged, Journal(tmp_path / "s.jsonl"), method="likelihood", batch_size=4)
    for one, score in zip(judged, scores, strict=True):
        context = judge.prompts.encode(messages=[{"role": "user", "content": one.pair.prompt}])
        answer = judge.tokenizer(f"{one.pair.answer}<|end|>", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = judge.model(torch.tensor([context + answer])).logits[0, len(context) - 1 : -1].log_softmax(-1)
        expected = sum(float(logits[place, token]) for place, token in enumerate(answer)) / len(answer)
        assert score == pytest.approx(expected, abs=1e-4)
