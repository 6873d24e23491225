"""Prompts: what is found in text, what is chosen, and that files of all kinds end in prompts or in one clear sentence."""

import json
import random

import pytest

from lep_core.calibration.prompt_files import read_prompts
from lep_core.calibration.prompts import TEMPLATES, Prompt, PromptReport, choose_prompts, prompts_from_texts
from lep_core.errors import CorpusError

TEXT = "Старый дом стоит у реки. Кто живёт в этом доме? Никто не знает, «кто там?» спросил он. Зимой там холодно и пусто."


def chosen(texts, **options):
    report = PromptReport("file")
    settings = {"limit": 100, "seed": 0, "longest": 1000, **options}
    return choose_prompts([Prompt(text, f"f:{number}") for number, text in enumerate(texts)], report, **settings), report


def test_questions_stand_as_they_are_and_passages_go_into_a_template_of_their_language():
    found = list(prompts_from_texts([TEXT, "The old house stands by the river. Nobody knows who lives there, they say."], limit=10, seed=0))
    assert Prompt("Кто живёт в этом доме?", "question") in found
    tasks = [prompt.text for prompt in found if prompt.source == "passage"]
    assert len(tasks) == 2
    for task, language in zip(sorted(tasks), ("en", "ru"), strict=True):
        assert any(task.startswith(template.split("{text}")[0]) for template in TEMPLATES[language])


def test_a_fragment_that_begins_with_a_small_letter_is_no_question():
    assert list(prompts_from_texts(["Он спросил. и где же теперь старый дом?"], limit=5, seed=0)) == []


def test_a_given_template_takes_the_place_of_the_built_in_ones_and_braces_stay():
    passage = "Set notation: {text} and {0} are two things that this long sentence mentions twice, {text}."
    (prompt,) = prompts_from_texts([passage], templates=("Tl;dr {text}",), limit=5, seed=0)
    assert prompt.text == f"Tl;dr {passage}"


def test_the_choice_depends_on_the_seed_and_not_on_the_order():
    texts = [f"What is the number {number} good for?" for number in range(50)]
    first, _ = chosen(texts, limit=10)
    random.Random(1).shuffle(texts)
    second, _ = chosen(texts, limit=10)
    assert {one.text for one in first} == {one.text for one in second}
    assert {one.text for one in chosen(texts, limit=10, seed=1)[0]} != {one.text for one in first}


def test_what_is_left_out_is_counted_with_its_reason():
    texts = ["Where is it?", "where  IS it?", "a", "x" * 2000, "Где ключ?", "What is measured?"]
    found, report = chosen(texts, script="latin", excluded=["what is MEASURED?"])
    assert [one.text for one in found] == ["Where is it?"]
    assert report.to_json() == {
        "origin": "file",
        "candidates": 6,
        "dropped": {"long": 1, "measured": 1, "repeated": 1, "script": 1, "short": 1},
        "kept": 1,
    }


def test_nothing_left_says_why():
    with pytest.raises(CorpusError, match=r"no prompt is left of 1 \(short: 1\)"):
        chosen(["?"])


RECORDS = {
    "prompt": {"prompt": "Hi there", "response": "never looked at"},
    "question": {"question": "Hi there"},
    "alpaca": {"instruction": "Hi", "input": "there"},
    "messages": {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "before"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "Hi there"},
            {"role": "assistant", "content": "b"},
        ]
    },
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi there"}, {"from": "gpt", "value": "b"}]},
}


@pytest.mark.parametrize("layout", RECORDS)
def test_known_layouts_give_the_last_turn_of_the_user(layout, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(RECORDS[layout]) + "\n", encoding="utf-8")
    (prompt,) = read_prompts([str(path)])
    assert prompt.text.split() == ["Hi", "there"]
    assert prompt.source.endswith("prompts.jsonl:1")


def test_tables_json_lists_and_plain_lines_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,note\nHi,x\n", encoding="utf-8")
    (tmp_path / "b.json").write_text('[{"prompt": "Ho"}]', encoding="utf-8")
    (tmp_path / "c.txt").write_text("\ufeffOne line\n\n  Another  \n", encoding="utf-8")
    found = [prompt.text for name in ("a.csv", "b.json", "c.txt") for prompt in read_prompts([str(tmp_path / name)])]
    assert found == ["Hi", "Ho", "One line", "Another"]


HOSTILE = {
    "torn.jsonl": b'{"prompt": "a"}\n{"prompt": "b',
    "numbers.jsonl": b'{"prompt": 7}\n',
    "list.jsonl": b"[1, 2]\n",
    "nothing.jsonl": b'{"other": "x"}\n',
    "turns.jsonl": b'{"messages": [{"role": "assistant", "content": "x"}]}\n',
    "nested.jsonl": b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}\n",
    "content.jsonl": b'{"messages": [{"role": "user", "content": {"a": 1}}]}\n',
    "surrogate.jsonl": b'{"prompt": "\\ud800"}\n',
    "deep.jsonl": b"[" * 200_000 + b"\n",
    "binary.txt": bytes(range(256)),
    "binary.jsonl": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "quote.csv": b'prompt\n"never closed\n',
    "sharegpt.csv": b'messages\n"[{"\n',
    "fake.parquet": b"PAR0" + bytes(50),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_files_end_in_one_sentence_with_the_place(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    with pytest.raises(CorpusError) as caught:
        list(read_prompts([str(path)]))
    assert name in caught.value.message
    assert caught.value.hint


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"none\.txt"):
        list(read_prompts([str(tmp_path / "none.txt")]))


def test_records_without_a_prompt_can_be_passed_by(tmp_path):
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": 7}\nnot json\n{"prompt": "b"}\n', encoding="utf-8")
    bad = []
    assert [one.text for one in read_prompts([str(path)], on_bad=bad.append)] == ["a", "b"]
    assert len(bad) == 2
