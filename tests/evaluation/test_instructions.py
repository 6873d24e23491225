"""Constraints are checked by rules that can be followed by hand; strict and loose shares as IFEval defines them."""

from __future__ import annotations

import pytest

from lep_core.errors import CorpusError
from lep_core.evaluation.constraints import IFEVAL, follows, follows_loosely
from lep_core.evaluation.generation import METRICS, measure_generation
from lep_core.evaluation.instructions import measure_instructions
from lep_core.evaluation.items import Constraint, Instruction, Reference
from lep_core.evaluation.reading import read_items
from lep_core.evaluation.shots import Shots
from lep_core.inference.generator import Generator
from tests.evaluation.test_items import written
from tests.evaluation.test_tasks import Parrot
from tests.factories import tiny_model

LEAST = {"relation": "at least"}
CASES = [
    ("words", {"count": 3, **LEAST}, "раз два три", "раз два"),
    ("words", {"count": 3, "relation": "less than"}, "one two", "one two three"),
    ("sentences", {"count": 2, "relation": "exactly"}, 'Он ушёл. "Куда?"', "Version 2.5 is out"),
    ("sentences", {"count": 2, "relation": "exactly"}, "下雨了。天黑了。", "下雨了。"),
    ("paragraphs", {"count": 2}, "a\n\nb\n", "a\nb"),
    ("paragraphs", {"count": 2, "divider": "***"}, "a\n***\nb", "a\n***\n***\nb"),
    ("paragraph_start", {"paragraph": 2, "word": "Дом", "count": 2}, "x\n\n«дом» стоит", "x\n\nдома стоят"),
    ("paragraph_start", {"paragraph": 1, "word": "a"}, "A b", "b a"),
    ("keywords", {"keywords": ["река", "house"]}, "Река и House", "Река"),
    ("forbidden_words", {"keywords": ["cat"]}, "concatenate", "a Cat."),
    ("keyword_frequency", {"keyword": "да", "count": 2, "relation": "exactly"}, "Да, да.", "да"),
    ("letter_frequency", {"letter": "o", "count": 2, **LEAST}, "Oslo", "on"),
    ("capital_words", {"count": 2, "relation": "at most"}, "ДА И нет", "ДА И НЕТ"),
    ("language", {"language": "ru"}, "да-да, ok", "yes, ок нет not"),
    ("language", {"language": "ja"}, "日本のこと", "the house"),
    ("upper_case", {"language": "ru"}, "ДОМ 5!", "HOUSE"),
    ("lower_case", {}, "дом 5!", "Дом"),
    ("no_comma", {}, "a; b", "a、b"),
    ("json", {}, '```json\n{"a": [1]}\n```', "{a: 1}"),
    ("bullets", {"count": 2}, "* a\n- b\n** no", "* a"),
    ("highlights", {"count": 2}, "*a* and **b**", "* a\n* b"),
    ("sections", {"divider": "Часть", "count": 2}, "Часть 1 x\nЧасть 2 y", "Часть 1"),
    ("title", {}, "<<Дом>>\ntext", "<< >> text"),
    ("placeholders", {"count": 2}, "[name], [city]", "[name]"),
    ("postscript", {"marker": "P.S."}, "text\nP. S. more", "text P.S. more"),
    ("one_of", {}, "My answer is maybe.", "Maybe."),
    ("one_of", {"options": ["да", "нет"]}, "нет", "ни то"),
    ("two_responses", {}, "a\n******\nb", "a\n******\na"),
    ("two_responses", {}, "a******b******", "a******b******c"),
    ("repeat_prompt", {"text": "Say it."}, "say it. Done", "Done. Say it."),
    ("start", {"text": "Итак"}, "«итак, начнём»", "Ну итак"),
    ("end", {"text": "the end."}, '"… The end."', "the end. No"),
    ("quotation", {}, "«дом»", "дом"),
]


@pytest.mark.parametrize(("kind", "values", "right", "wrong"), CASES, ids=[f"{case[0]}-{at}" for at, case in enumerate(CASES)])
def test_a_constraint_tells_right_from_wrong(kind, values, right, wrong):
    constraint = Constraint(kind, values)
    assert follows(right, constraint)
    assert not follows(wrong, constraint)
    assert not follows(" \n", constraint)


def test_loose_forgives_a_first_line_a_last_line_and_asterisks():
    ends = Constraint("end", {"text": "bye"})
    assert not follows("x bye\nHope this helps!", ends)
    assert follows_loosely("x bye\nHope this helps!", ends)
    begins = Constraint("start", {"text": "hello"})
    assert follows_loosely("Sure:\n**hello** you", begins)
    assert not follows_loosely("x\ny\nz", begins)


def test_ifeval_files_are_read_as_they_are(tmp_path):
    record = {
        "key": 7,
        "prompt": "Write.",
        "instruction_id_list": ["length_constraints:number_words", "change_case:english_capital", "length_constraints:number_paragraphs"],
        "kwargs": [{"num_words": 300.0, "relation": "at least", "keywords": None}, {}, {"num_paragraphs": 3}],
    }
    [item] = read_items([written(tmp_path / "ifeval.jsonl", record)])
    assert item == Instruction(
        prompt="Write.",
        constraints=(
            Constraint("words", {"count": 300, "relation": "at least"}),
            Constraint("upper_case", {"language": "en"}),
            Constraint("paragraphs", {"divider": "***", "count": 3}),
        ),
        group="ifeval",
    )
    assert len(IFEVAL) == 25


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        ({"type": "fly"}, "type 'fly', which is not known"),
        ({"type": "words", "count": 5}, 'words lacks "relation"'),
        ({"type": "words", "count": "5", "relation": "exactly"}, "\"count\" of the constraint words is '5'"),
        ({"type": "no_comma", "count": 5}, 'no_comma takes no "count"'),
        ({"type": "language", "language": "xx"}, "\"language\" of the constraint language is 'xx'"),
    ],
)
def test_an_unknown_constraint_is_named_by_line(tmp_path, constraint, reason):
    path = written(tmp_path / "i.jsonl", {"prompt": "x", "constraints": [{"type": "title"}]}, {"prompt": "x", "constraints": [constraint]})
    with pytest.raises(CorpusError, match=f"i.jsonl:2.*{reason}"):
        read_items([path])


@pytest.fixture(scope="module")
def generator(tmp_path_factory) -> Generator:
    return Generator.load(tiny_model(tmp_path_factory.mktemp("m"), chat=True), device="cpu", threads=1)


def test_shares_over_prompts_and_over_constraints(generator):
    comma, long = Constraint("no_comma", {}), Constraint("words", {"count": 3, "relation": "at least"})
    items = [
        Instruction(prompt="a?", constraints=(comma, long), language="en"),
        Instruction(prompt="b?", constraints=(comma,), language="ru"),
        Instruction(prompt="c?", constraints=(comma, long, Constraint("title", {})), language="en"),
    ]
    parrot = Parrot(generator, {"a?": "one two three", "b?": "*x*", "c?": "a, b"})
    found, records = measure_instructions(parrot, items, max_new_tokens=9, batch_size=2)
    values = {(one.task, one.metric): sum(one.numerators) / sum(one.denominators) for one in found}
    assert values["instructions", "prompt_strict"] == pytest.approx(2 / 3)
    assert values["instructions", "instruction_strict"] == pytest.approx(3 / 6)
    assert values["instructions/en", "instruction_strict"] == pytest.approx(2 / 5)
    assert {one.metric for one in found} == {"prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose"}
    assert {one.n for one in found if one.task == "instructions"} == {3}
    assert records[2]["strict"] == [False, False, False]


def test_constraints_of_one_prompt_are_drawn_together(generator):
    # Prompts are wholly right or wholly wrong: 40 constraints tell no more than the 4 prompts that hold them.
    items = [Instruction(prompt=f"{name}?", constraints=(Constraint("no_comma", {}),) * 10) for name in "abcd"]
    parrot = Parrot(generator, {"a?": "x", "b?": "x", "c?": "x,", "d?": "x,"})
    found, _ = measure_instructions(parrot, items, max_new_tokens=9, batch_size=4)
    interval = next(one for one in found if one.metric == "instruction_strict").interval(0)
    assert (interval.low, interval.value, interval.high) == (0.0, 0.5, 1.0)


def test_generation_scores_answers_per_language_and_overall(generator):
    items = [
        Reference(prompt="Where? a", references=("on the table", "table"), language="en", group="g"),
        Reference(prompt="Где? b", references=("на столе",), language="ru", group="g"),
    ]
    parrot = Parrot(generator, {"Where? a": "The table.", "Где? b": "на полу"})
    found, records = measure_generation(parrot, items, max_new_tokens=9, batch_size=2)
    values = {(one.task, one.metric): sum(one.numerators) / one.n for one in found}
    assert values["generation", "exact_match"] == 0.5
    assert values["generation/ru", "f1"] == pytest.approx(0.5)
    assert values["generation/ru", "lcs"] == pytest.approx(5 / 8)
    assert [one.metric for one in found if one.task == "generation"] == list(METRICS)
    assert records[0]["ok"]


def test_examples_stand_before_a_generation(generator):
    items = [Reference(prompt="b", references=("y",))]
    seen = []

    class Listening(Parrot):
        def batch(self, prompts, **options):
            seen.extend(prompts)
            return super().batch(prompts, **options)

    measure_generation(Listening(generator, {"b": "y"}), items, shots=Shots([Reference(prompt="a", references=("x", "z"))], 1), max_new_tokens=9, batch_size=1)  # fmt: skip
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "b"}]
    assert seen == [generator.prompts.encode(messages=messages)]


def test_squad_trees_are_read_as_they_are(tmp_path, shared_data):
    items = read_items([shared_data / "benchmarks" / "xquad"])
    assert {item.language for item in items} == {"en", "ru", "tr", "hi"}
    assert {item.group for item in items} == {"xquad"}
    russian = next(item for item in items if item.language == "ru")
    assert russian.prompt.startswith("Прочитай текст")
    assert len(items) > 2000
