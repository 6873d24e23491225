"""Minimal pairs and multiple choice: accuracies follow from the log-likelihoods, whatever the batch; letters survive a change of order."""

from __future__ import annotations

import pytest

from lep_core.evaluation.items import Choice, MinimalPair
from lep_core.evaluation.log_likelihood import encode_request, score_requests
from lep_core.evaluation.minimal_pairs import measure_minimal_pairs
from lep_core.evaluation.multiple_choice import listed, measure_multiple_choice
from lep_core.evaluation.shots import Shots
from lep_core.inference.generator import Generator
from tests.factories import SENTENCES, tiny_model

LETTERS = Choice(question="Where is the key?", options=("on the table", "in winter", "3 books"), answer=0, language="en", group="a")
RUSSIAN = Choice(question="Где ключ?", options=("на столе", "зимой"), answer=1, language="ru", group="b")
CLOZE = Choice(question="The wind is cold because", options=("it is winter", "it"), answer=1, cloze=True, group="c")


@pytest.fixture
def generator(tmp_path):
    return Generator.load(tiny_model(tmp_path, max_position_embeddings=512), device="cpu", threads=1)


def test_a_pair_is_right_when_the_good_sentence_is_likelier(generator):
    pairs = [MinimalPair(good=one, bad=two, language="en", group=group) for one, two, group in zip(SENTENCES[:4], SENTENCES[4:8], "aabb", strict=True)]  # fmt: skip
    found, records = measure_minimal_pairs(generator, pairs, batch_size=3)
    expected = []
    for pair in pairs:
        good, bad = score_requests(generator, [encode_request(generator, "", text) for text in (pair.good, pair.bad)], batch_size=1)
        expected.append(good.log_likelihood > bad.log_likelihood)
    assert [record["ok"] for record in records] == expected
    assert [(one.task, one.n) for one in found] == [("minimal-pairs", 4), ("minimal-pairs/en", 4), ("minimal-pairs/a", 2), ("minimal-pairs/b", 2)]  # fmt: skip
    assert sum(found[0].numerators) == sum(expected)


def test_options_are_listed_under_letters_in_the_language_of_the_question():
    assert listed(LETTERS) == "Where is the key?\nA. on the table\nB. in winter\nC. 3 books\nAnswer:"
    assert listed(RUSSIAN, (1, 0)) == "Где ключ?\nA. зимой\nB. на столе\nОтвет:"


def test_letters_are_scored_in_both_orders(generator):
    found, records = measure_multiple_choice(generator, [LETTERS, RUSSIAN], batch_size=4)
    for item, record in zip((LETTERS, RUSSIAN), records, strict=True):
        right = []
        for order in (range(len(item.options)), range(len(item.options) - 1, -1, -1)):
            requests = [
                encode_request(generator, listed(item, order), f" {letter}") for letter, _ in zip("ABC", item.options, strict=False)
            ]
            values = [score.log_likelihood for score in score_requests(generator, requests, batch_size=1)]
            right.append(list(order)[values.index(max(values))] == item.answer)
        assert record["ok"] == right[0]
        assert record["ok_both_orders"] == all(right)
    assert [(one.task, one.metric, one.n) for one in found][:2] == [
        ("multiple-choice", "accuracy", 2),
        ("multiple-choice/en", "accuracy", 1),
    ]
    assert {one.metric for one in found} == {"accuracy", "accuracy_both_orders"}


def test_a_model_that_always_says_a_is_right_in_one_order_only(generator, monkeypatch):
    def always_a(generator, requests, **options):
        from lep_core.evaluation.log_likelihood import Score

        first = requests[0].continuation
        return [Score(0.0 if request.continuation == first else -1.0, False, False) for request in requests]

    monkeypatch.setattr("lep_core.evaluation.multiple_choice.score_requests", always_a)
    _, [record] = measure_multiple_choice(generator, [LETTERS], batch_size=4)
    assert record["ok"]
    assert not record["ok_both_orders"]


def test_cloze_takes_the_sum_or_the_sum_per_byte(generator):
    found, [record] = measure_multiple_choice(generator, [CLOZE], batch_size=4)
    requests = [encode_request(generator, CLOZE.question, f" {option}") for option in CLOZE.options]
    values = [score.log_likelihood for score in score_requests(generator, requests, batch_size=1)]
    assert record["log_likelihoods"] == pytest.approx(values, abs=1e-4)
    assert record["ok"] == (values[1] > values[0])
    assert record["ok_normalized"] == (values[1] / 2 > values[0] / 12)
    assert [one.metric for one in found] == ["accuracy", "accuracy_normalized"]


def test_examples_stand_before_the_question(generator, tmp_path):
    example = Choice(question="Who?", options=("he", "she"), answer=1)
    seen = []
    measure_multiple_choice(generator, [RUSSIAN], shots=Shots([example], 1), batch_size=4, progress=lambda *numbers: seen.append(numbers))
    chat = Generator.load(tiny_model(tmp_path, chat=True, max_position_embeddings=512), device="cpu", threads=1)
    _, [record] = measure_multiple_choice(chat, [RUSSIAN], shots=Shots([example], 1), batch_size=4)
    messages = [
        {"role": "user", "content": listed(example)},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": listed(RUSSIAN)},
    ]
    context = tuple(chat.prompts.encode(messages=messages))
    from lep_core.evaluation.log_likelihood import Request, encode_plain

    scores = score_requests(chat, [Request(context, tuple(encode_plain(chat, letter))) for letter in "AB"], batch_size=1)
    assert record["log_likelihoods"] == pytest.approx([score.log_likelihood for score in scores], abs=1e-4)
    assert seen[-1] == (4, 4)


def test_a_question_longer_than_the_context_says_that_it_was_cut(generator):
    long = Choice(question="word " * 600, options=("x", "y"), answer=0)
    _, records = measure_multiple_choice(generator, [LETTERS, long], batch_size=4)
    assert [record["truncated"] for record in records] == [False, True]
