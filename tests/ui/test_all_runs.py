"""All runs in one table: filtered, compared, noted, downloaded, deleted and put back."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from lep_core.errors import InputError, JobError
from ui.i18n import Translator
from ui.run_table import chosen_runs, differences, rows
from ui.studio import Studio
from ui.tabs.all_runs import AllRuns

T = Translator("en")


@pytest.fixture
def part(backend, project, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    with gr.Blocks():
        return AllRuns(Studio(backend=backend, t=T, project=gr.Dropdown(), tabs=None))


def test_filters_leave_what_fits(project, chain):
    chain.trained.write_note("the good one")
    assert chosen_runs(project, ["train"], [], "", T) == [chain.trained]
    assert chosen_runs(project, [], ["failed"], "", T) == []
    assert chosen_runs(project, [], [], "GOOD", T) == [chain.trained]
    assert len(chosen_runs(project, [], [], "", T)) == 4


def test_rows_name_state_time_and_note(project, chain):
    chain.trained.write_note("note")
    (row,) = rows([chain.trained], project, T)
    assert row[0] == "Training 1"
    assert row[1].endswith("done")
    assert row[3:] == [1.0, "note"]


def test_differences_hold_only_settings_that_differ_and_name_results(project, chain, finish):
    values = {**chain.trained.config, "steps": 7, "learning_rate": 1e-4}
    other = finish(project.create_run("train", values))
    found = differences([chain.trained, other], project, T)
    assert {row[0] for row in found} == {T.field_label("steps"), T.field_label("learning_rate")}
    mixed = differences([chain.rows, chain.trained], project, T)
    assert [T.field_label("model"), "–", "Initialisation 1"] in mixed


def test_downloads_hold_the_table_and_the_settings(part, project, chain):
    chain.trained.write_note("=1+1")
    drawn = part.refresh(project)
    table = list(csv.reader(Path(drawn[part.csv]["value"]).read_text().splitlines()))
    assert len(table) == 5
    assert table[2][-1] == "'=1+1"
    chosen = part.on_choose(project.id, [chain.trained.id])
    (record,) = json.loads(Path(chosen[part.json]["value"]).read_text())
    assert record["config"] == chain.trained.config
    assert chosen[part.text] == "=1+1"


def test_a_click_on_a_row_chooses_and_another_takes_it_out(part, project, chain):
    event = SimpleNamespace(row_value=["Training 1"])
    first = part.on_row(project.id, [], event)[part.chosen]
    assert first == [chain.trained.id]
    assert part.on_row(project.id, first, event)[part.chosen] == []


def test_one_note_for_several_runs(part, project, chain):
    part.on_note(project.id, [chain.rows.id, chain.trained.id], " a  note ", [], [], "")
    assert (chain.rows.note, chain.trained.note) == ("a note", "a note")


def test_deleting_names_the_users_and_can_be_undone(part, project, chain):
    asked = part.on_delete(project.id, [chain.trained.id])
    assert "Propagation 1" in asked[part.sure.question]
    after = part.on_delete_really(project.id, [chain.trained.id, chain.propagated.id], [], [], "")
    assert {run.verb for run in project.runs()} == {"build-tokenizer", "initialize"}
    assert {value for _, value in after[part.bin.chosen]["choices"]} == {chain.trained.id, chain.propagated.id}
    part.on_put_back(project.id, chain.trained.id, [], [], "")
    assert project.runs("train") == [chain.trained]


def test_nothing_chosen_and_running_ones_are_refused(part, project, chain):
    with pytest.raises(InputError):
        part.on_delete(project.id, [])
    waiting = project.create_run("build-tokenizer", {"base": project.base, "input": [chain.text]})
    with pytest.raises(JobError):
        part.on_delete_really(project.id, [waiting.id], [], [], "")
