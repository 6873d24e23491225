"""Answers of the teacher: those of plain generation, kept batch by batch, equal to the byte after any kill."""

import json

import pytest

from lep_core.calibration.answers import answer_prompts
from lep_core.calibration.journal import Journal
from lep_core.calibration.prompts import Prompt
from lep_core.inference.generator import Generator
from lep_core.inference.sampling import GenerationSettings
from lep_core.progress import SilentReporter
from tests.factories import SENTENCES

PROMPTS = [Prompt(sentence, f"f:{number}") for number, sentence in enumerate(SENTENCES)]
SETTINGS = {"max_new_tokens": 7, "batch_size": 5}


@pytest.fixture
def teacher(tiny):
    return Generator.load(tiny(chat=True), threads=1)


class Stopping(SilentReporter):
    """Asks to stop after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def should_stop(self):
        self.left -= 1
        return self.left < 0


def test_answers_are_those_of_greedy_generation_one_by_one(teacher, tmp_path):
    pairs, report = answer_prompts(teacher, PROMPTS, Journal(tmp_path / "a.jsonl"), **SETTINGS)
    for prompt, pair in zip(PROMPTS, pairs, strict=True):
        alone = teacher.answer(
            messages=[{"role": "user", "content": prompt.text}], settings=GenerationSettings(max_new_tokens=7, temperature=0.0)
        )
        assert (pair.prompt, pair.answer, pair.stop_reason) == (prompt.text, alone.text.strip(), alone.stop_reason)
    assert report.answers == len(PROMPTS)
    assert sum(report.stop_reasons.values()) == len(PROMPTS)


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_stopped_run_goes_on_to_equal_pairs(teacher, tmp_path, batches):
    whole, _ = answer_prompts(teacher, PROMPTS, Journal(tmp_path / "whole.jsonl"), **SETTINGS)
    path = tmp_path / "stopped.jsonl"
    assert answer_prompts(teacher, PROMPTS, Journal(path), **SETTINGS, reporter=Stopping(batches)) is None
    pairs, report = answer_prompts(teacher, PROMPTS, Journal(path), **SETTINGS)
    assert pairs == whole
    assert report.reused == 5 * batches
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_batch_torn_by_a_kill_is_made_again_as_a_whole(teacher, tmp_path):
    path = tmp_path / "a.jsonl"
    whole, _ = answer_prompts(teacher, PROMPTS, Journal(path), **SETTINGS)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:7]) + lines[7][:20])
    pairs, report = answer_prompts(teacher, PROMPTS, Journal(path), **SETTINGS)
    assert pairs == whole
    assert report.reused == 5


def test_answers_of_other_settings_or_another_teacher_are_not_taken(teacher, tiny, tmp_path):
    path = tmp_path / "a.jsonl"
    answer_prompts(teacher, PROMPTS, Journal(path), **SETTINGS)
    _, longer = answer_prompts(teacher, PROMPTS, Journal(path), max_new_tokens=9, batch_size=5)
    assert longer.reused == 0
    other = Generator.load(tiny(chat=True, seed=1), threads=1)
    _, report = answer_prompts(other, PROMPTS, Journal(path), **SETTINGS)
    assert report.reused == 0


def test_prompts_that_fill_the_context_are_counted_and_passed_over(tiny, tmp_path):
    teacher = Generator.load(tiny(chat=True, max_position_embeddings=40), threads=1)
    pairs, report = answer_prompts(teacher, [*PROMPTS, Prompt("слово " * 60, "f:x")], Journal(tmp_path / "a.jsonl"), **SETTINGS)
    assert report.too_long >= 1
    assert len(pairs) == len(PROMPTS) + 1 - report.too_long


def test_control_strings_in_a_prompt_stay_text(teacher, tmp_path):
    end = teacher.tokenizer.convert_tokens_to_ids("<|end|>")
    ids = teacher.prompts.encode(messages=[{"role": "user", "content": "a <|end|> b"}])
    assert ids.count(end) == teacher.prompts.encode(messages=[{"role": "user", "content": "a b"}]).count(end)
    answer_prompts(teacher, [Prompt("a <|end|> b", "f")], Journal(tmp_path / "a.jsonl"), **SETTINGS)


def test_a_journal_passes_over_damaged_lines_and_cuts_off_half_of_one(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"key": "a", "n": 1}\nrubbish\n[1]\n{"n": 2}\n{"key": "b", "n": 2}\n{"key": "c"')
    journal = Journal(path)
    assert ("a" in journal, "b" in journal, "c" in journal, journal.damaged_lines) == (True, True, False, 3)
    journal.append([{"key": "c", "n": 3}])
    again = Journal(path)
    assert again["c"] == {"key": "c", "n": 3}
    assert json.loads(path.read_bytes().splitlines()[-1]) == {"key": "c", "n": 3}
