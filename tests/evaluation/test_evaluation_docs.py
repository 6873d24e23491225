"""The examples of docs/evaluation.md are read, each as the task under whose heading it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lep_core.config import TASKS
from lep_core.evaluation.constraints import IFEVAL, TYPES
from lep_core.evaluation.layout_instructions import VALUES
from lep_core.evaluation.material import KINDS
from lep_core.evaluation.reading import read_items

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^### ([a-z-]+)\n\n```jsonl\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("task", "lines"), EXAMPLES, ids=[task for task, _ in EXAMPLES])
def test_every_example_is_an_item_of_its_task(tmp_path, task, lines):
    file = tmp_path / "items.jsonl"
    file.write_text(lines, encoding="utf-8")
    items = read_items([file])
    assert len(items) == len(lines.splitlines())
    assert {type(item) for item in items} == {KINDS[task][0]}


def test_every_task_with_items_has_an_example_and_every_task_a_row():
    assert [task for task, _ in EXAMPLES] == list(KINDS)
    assert all(f"| `{task}` |" in PAGE for task in TASKS)


def test_every_type_of_constraint_is_described():
    described = " ".join(re.findall(r"^\| (`[a-z_`, ]+`) \|", PAGE, flags=re.MULTILINE))
    assert all(f"`{name}`" in described for name in TYPES)
    assert len(IFEVAL) == 25
    assert {value for known in TYPES.values() for value in known.values + known.optional} == set(VALUES)
