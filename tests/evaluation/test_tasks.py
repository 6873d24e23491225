"""Copying and instructions are scored by rules that can be checked by hand."""

from __future__ import annotations

import random

import pytest

from lep_core.errors import CorpusError
from lep_core.evaluation import copy_task, instruct
from lep_core.evaluation.answers import is_right
from lep_core.evaluation.items import Item, limited
from lep_core.evaluation.reading import read_items
from lep_core.inference.generator import BatchAnswer, Generator
from tests.factories import SENTENCES, tiny_model


@pytest.mark.parametrize(
    ("first", "second", "length"),
    [("", "a", 0), ("abc", "abc", 3), ("ABCBDAB", "BDCABA", 4), ("XMJYAUZ", "MZJAWXU", 4), ("дом у реки", "дом реки", 8), ("ab", "ba", 1)],
)
def test_lcs_by_hand(first, second, length):
    assert copy_task.longest_common_subsequence(first, second) == length
    assert copy_task.longest_common_subsequence(second, first) == length


def test_lcs_equals_the_textbook_table():
    rng = random.Random(0)
    for _ in range(60):
        first = "".join(rng.choices("abcdж", k=rng.randrange(90)))
        second = "".join(rng.choices("abcdж", k=rng.randrange(90)))
        row = [0] * (len(second) + 1)
        for one in first:
            previous, row = row, [0]
            for at, other in enumerate(second):
                row.append(previous[at] + 1 if one == other else max(previous[at + 1], row[at]))
        assert copy_task.longest_common_subsequence(first, second) == row[-1]


def test_coverage_must_exceed_99_percent_of_the_longer_text():
    text = "x" * 200
    assert copy_task.covers(text, text[:-1])
    assert not copy_task.covers(text, text[:-2])  # exactly 99 % is not more than 99 %
    assert not copy_task.covers(text, text + " and so on")
    assert not copy_task.covers(text, "")


def test_the_instruction_is_in_the_language_of_the_text():
    assert copy_task.instruction_for(SENTENCES[0]).startswith("Copy")
    assert copy_task.instruction_for(SENTENCES[6]).startswith("Скопируй")
    assert SENTENCES[6] in copy_task.instruction_for(SENTENCES[6])


def test_sentences_come_from_all_documents_and_fit():
    documents = [" ".join(SENTENCES[:3]), " ".join(SENTENCES[6:8])]
    assert copy_task.sentences_of(documents, limit=3, fits=lambda text: True) == [SENTENCES[0], SENTENCES[6], SENTENCES[1]]
    assert copy_task.sentences_of(documents, limit=9, fits=lambda text: "river" not in text)[0] == SENTENCES[6]


def test_paragraphs_are_cut_at_sentence_ends_to_fit():
    [paragraph] = copy_task.paragraphs_of([" ".join(SENTENCES[:6])], limit=5, fits=lambda text: len(text) < 220)
    assert paragraph == " ".join(SENTENCES[:3])


class Parrot:
    """Stands in for a model: answers the prompts that hold given texts, spelled by a real tokenizer or letter by letter."""

    is_chat, context = True, None

    def __init__(self, generator: Generator, answers: dict[str, str], *, letters: bool = False) -> None:
        self.tokenizer, self.prompts, self.eos_ids = generator.tokenizer, generator.prompts, generator.eos_ids
        self._answers, self._letters = answers, letters

    def batch(self, prompts, **_):
        asked = [self.tokenizer.decode(ids) for ids in prompts]
        answers = [next(answer for text, answer in self._answers.items() if text in prompt) for prompt in asked]
        parts = [list(answer) if self._letters else [answer] for answer in answers]
        ids = [[one for part in text for one in self.tokenizer(part, add_special_tokens=False)["input_ids"]] for text in parts]
        return [BatchAnswer(answer, (*own, next(iter(self.eos_ids))), "eos") for answer, own in zip(answers, ids, strict=True)]


@pytest.fixture(scope="module")
def generator(tmp_path_factory) -> Generator:
    return Generator.load(tiny_model(tmp_path_factory.mktemp("m"), chat=True), device="cpu")


def test_sentence_copies_score_token_ratio_and_exactness(generator):
    texts = [SENTENCES[0], SENTENCES[6]]
    (ratio, exact), records = copy_task.measure_copy(
        Parrot(generator, dict(zip(texts, texts, strict=True))), texts, task="copy-sentence", batch_size=2
    )
    assert ratio.numerators == [1.0, 1.0]
    assert exact.numerators == [1.0, 1.0]
    assert [record["ok"] for record in records] == [True, True]
    (ratio, exact), _ = copy_task.measure_copy(
        Parrot(generator, dict(zip(texts, texts, strict=True)), letters=True), texts, task="copy-sentence", batch_size=2
    )
    count = len(generator.tokenizer(texts[0], add_special_tokens=False)["input_ids"])
    assert ratio.numerators[0] == pytest.approx(count / len(texts[0]))
    assert exact.numerators == [1.0, 1.0]
    (ratio, exact), _ = copy_task.measure_copy(Parrot(generator, {texts[0]: "", texts[1]: "x"}), texts, task="copy-sentence", batch_size=2)
    assert ratio.numerators[0] == 0.0
    assert exact.numerators == [0.0, 0.0]


def test_paragraph_copies_score_coverage(generator):
    texts = [" ".join(SENTENCES[:3]), " ".join(SENTENCES[6:9])]
    parrot = Parrot(generator, {texts[0]: texts[0], texts[1]: texts[1][:60]})
    [found], _ = copy_task.measure_copy(parrot, texts, task="copy-paragraph", batch_size=2)
    assert found.numerators == [1.0, 0.0]
    assert (found.task, found.metric, found.is_share) == ("copy-paragraph", "lcs_above_99", True)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Red apple", True),
        (" RED  apple", False),
        ("red apple.\n", True),
        ("«red apple»!", False),
        ("red apple ?!", True),
        ("ＲＥＤ apple", True),
        ("red", False),
        ("", False),
    ],
)
def test_exact_match_forgives_case_width_and_final_punctuation_only(answer, right):
    assert is_right(answer, ("red apple",)) is right


def test_any_accepted_answer_is_right_and_punctuation_alone_is_an_answer():
    assert is_right("Ёлка", ("ель", "ёлка."))
    assert is_right("!", ("!",))
    assert not is_right("?", ("!",))


def test_instruct_counts_per_language_and_overall(generator):
    items = [
        Item(prompt="a?", answers=("yes",), language="en", kind="k"),
        Item(prompt="б?", answers=("да",), language="ru"),
        Item(prompt="c?", answers=("no",), language="en"),
    ]
    parrot = Parrot(generator, {"a?": "Yes.", "б?": "нет", "c?": "no"})
    found, records = instruct.measure_instruct(parrot, items, max_new_tokens=9, batch_size=2)
    assert [(one.task, sum(one.numerators), one.n) for one in found] == [
        ("instruct", 2.0, 3),
        ("instruct/en", 2.0, 2),
        ("instruct/ru", 0.0, 1),
    ]
    assert records[1] == {"task": "instruct", "language": "ru", "kind": None, "prompt": "б?", "expected": ["да"], "got": "нет", "ok": False, "fits": True}  # fmt: skip


def test_a_prompt_that_does_not_fit_counts_as_wrong(generator):
    items = [Item(prompt="house " * 300, answers=("x",)), Item(prompt="?", answers=("x",))]
    found, records = instruct.measure_instruct(generator, items, max_new_tokens=4, batch_size=2)
    assert [record["fits"] for record in records] == [False, True]
    assert found[0].n == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "items.jsonl:2 is not JSON"),
        ("[1]", "items.jsonl:2 is not a JSON object"),
        ('{"answer": "x"}', 'items.jsonl:2 .*"prompt"'),
        ('{"prompt": 3, "answer": "x"}', 'items.jsonl:2 .*"prompt"'),
        ('{"prompt": "?"}', 'items.jsonl:2 .*"answer"'),
        ('{"prompt": "?", "answer": []}', 'items.jsonl:2 .*"answer"'),
        ('{"prompt": "?", "answer": ["x", 1]}', 'items.jsonl:2 .*"answer"'),
        ('{"prompt": "?", "answer": "x", "language": 1}', 'items.jsonl:2 .*"language"'),
    ],
)
def test_malformed_items_are_named_by_line_and_key(tmp_path, line, reason):
    path = tmp_path / "items.jsonl"
    path.write_text('{"prompt": "?", "answer": "x"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=reason):
        read_items([path])


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="cannot be read"):
        read_items([tmp_path / "none.jsonl"])
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(CorpusError, match="no item"):
        read_items([tmp_path / "empty.jsonl"])
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe9"}')
    with pytest.raises(CorpusError, match="not UTF-8"):
        read_items([tmp_path / "latin.jsonl"])


def test_a_limit_takes_evenly_from_all_languages():
    items = [Item(prompt=f"{language}{number}", answers=("x",), language=language) for language in ("en", "ru") for number in range(10)]
    assert [item.prompt for item in limited(items, 4)] == ["en0", "en1", "ru0", "ru1"]
    assert len(limited(items[:12], 8)) == 8
