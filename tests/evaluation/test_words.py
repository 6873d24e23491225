"""Agreement of answers and references equals values worked out by hand, and those of the rouge_score package where it is installed."""

from __future__ import annotations

import random

import pytest

from lep_core.evaluation.generation import METRICS, scores_of
from lep_core.evaluation.words import exact_match, f1, normalized_answer, rouge_l, rouge_n, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The cat's 2 hats.", ["the", "cat", "s", "2", "hats"]),
        ("Ёлка — «новая»!", ["ёлка", "новая"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("我爱你 ok", ["我", "爱", "你", "ok"]),
        ("ＡＢＣ x_y", ["abc", "x", "y"]),
        ("…", []),
    ],
)
def test_words_of_any_script(text, found):
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "language", "normal"),
    [
        ("The  Cat, an apple!", "en", "cat apple"),
        ("The cat", "ru", "the cat"),
        ("«Дом у реки»…", "ru", "дом у реки"),
        ("Der Hund und die Katze", "de", "hund und katze"),
        ("الكتاب", "ar", "كتاب"),
        ("A. B", None, "b"),
    ],
)
def test_answers_are_normalised_as_in_squad_and_mlqa(text, language, normal):
    assert normalized_answer(text, language) == normal


def test_f1_and_exact_match_by_hand():
    assert exact_match("The Eiffel Tower.", "eiffel tower", "en")
    assert not exact_match("", "the", "en")
    assert not exact_match("!", "?", None)
    assert f1("in the city of Paris", "Paris", "en") == pytest.approx(2 * 0.25 / 1.25)
    assert f1("Paris Paris", "Paris", "en") == pytest.approx(2 / 3)
    assert f1("", "Paris", "en") == 0
    assert f1("北京市", "北京", "zh") == pytest.approx(0.8)


def test_rouge_by_hand():
    answer, reference = words("the cat sat on the mat"), words("the cat was on a mat")
    # Shared words: the, cat, on, mat of 6 and 6; shared pairs: "the cat" of 5 and 5; in order: the cat on mat.
    assert rouge_n(answer, reference, 1) == pytest.approx(4 / 6)
    assert rouge_n(answer, reference, 2) == pytest.approx(1 / 5)
    assert rouge_l(answer, reference) == pytest.approx(4 / 6)
    assert rouge_l(words("на столе ключ лежит"), words("ключ лежит на столе")) == pytest.approx(2 / 4)
    assert rouge_n(["x"], ["x"], 2) == 0
    assert rouge_n([], [], 1) == 0


def test_rouge_equals_the_package():
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge_score is not installed")

    class Tokenizer:
        def tokenize(self, text: str) -> list[str]:
            return words(text)

    package = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Tokenizer())
    chance = random.Random(0)
    for _ in range(30):
        answer, reference = (
            " ".join(chance.choices(["the", "cat", "дом", "у", "реки", "on", "mat", "我们"], k=chance.randrange(1, 15))) for _ in range(2)
        )
        theirs, ours = package.score(reference, answer), scores_of(answer, [reference], None)
        for metric in ("rouge1", "rouge2", "rougeL"):
            assert ours[metric] == pytest.approx(theirs[metric].fmeasure)


def test_each_metric_takes_the_best_reference():
    found = scores_of("on the old table", ["in the house", "on the table"], "en")
    assert found["exact_match"] == 0
    assert found["f1"] == pytest.approx(2 * 2 / 5)
    assert found["rouge2"] == pytest.approx(2 / 5)
    assert found["rougeL"] == pytest.approx(6 / 7)
    assert found["lcs"] == 1
    assert scores_of("", ["x"], None) == dict.fromkeys(METRICS, 0.0)
