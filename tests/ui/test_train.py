"""The train tab: what one click starts, what the check says and where, who waits for whom, curves of a sweep, presets."""

import gradio as gr
import pytest

from lep_core import pipeline
from lep_core.config import TrainConfig
from lep_core.errors import ConfigError
from lep_core.runs.process import this_process
from ui.i18n import LANGUAGES, Translator
from ui.job_panel import job_selector, waiting_text
from ui.plots import stacked_bar
from ui.tabs import train_check, train_sweep
from ui.tabs.train import PRESETS, _TrainTab
from ui.tabs.train_check import check_line, check_text
from ui.tabs.train_live import headline, samples, shown_training
from ui.tabs.train_sweep import sweep_curves, sweep_headline, sweep_rows

T = Translator("en")
GOOD = {
    "device": "cuda",
    "precision": "bfloat16",
    "memory_gib": 11.5,
    "memory_free_gib": 22.0,
    "disk_gib": 3.2,
    "disk_free_gib": 100.0,
    "tokens_per_second": 4000.4,
    "seconds": 7500.0,
    "steps": 600,
    "micro_batch_size": 4,
    "parts": {"body": 8.0, "optimizer": 2.5, "loss": 1.0},
    "problems": [],
    "fits": True,
}
TOO_LARGE = {
    **GOOD,
    "memory_free_gib": 8.0,
    "problems": [
        {
            "field": "micro_batch_size",
            "message": "11.5 GiB are needed, 8 are free",
            "hint": "Set --micro-batch-size to 1",
            "severity": "error",
        }
    ],
    "fits": False,
}


@pytest.fixture
def tab(studio):
    with gr.Blocks():
        studio.project = gr.Dropdown()
        studio.job = job_selector(studio.t)
        studio.job.render()
        return _TrainTab(studio)


def entered(tab, **changes):
    """What the page would send: the values that the inputs show, some of them changed."""
    names = {id(component): name for form in (tab.beginning, tab.form) for name, component in form.components.items()}
    return [changes.get("tokenizer")] + [
        changes.get(names[id(item)], item.value) if item in tab.form.inputs else item.value for item in tab.entered[1:]
    ]


def checked(project, chain, finish, report):
    run = project.create_run("preflight", {"model": str(chain.rows.output), "input": [chain.text]})
    return finish(run, report=report)


def test_one_click_initialises_checks_and_trains_in_this_order(tab, studio, project, chain):
    changes = tab.on_start(project.id, *entered(tab, tokenizer=str(chain.tokenizer.output), input=[chain.text], steps="7"))
    started = [run for what, run in studio.backend.queue.asked if what == "submit"]
    assert [run.verb for run in started] == ["initialize", "preflight", "train"]
    initialized, check, training = started
    assert training.after == (initialized.id, check.id)
    assert training.config["model"] == check.config["model"] == str(initialized.output)
    assert training.config["steps"] == 7
    assert changes[tab.live.shown]["value"] == ""
    assert changes[studio.job]["value"] == ""


def test_while_other_work_runs_page_and_panel_turn_to_the_new_training(tab, studio, project, chain):
    studio.backend.queue.waiting = lambda lane=None: [chain.trained]
    changes = tab.on_start(project.id, *entered(tab, tokenizer=str(chain.tokenizer.output), input=[chain.text]))
    training = project.runs("train")[0]
    assert changes[tab.live.shown]["value"] == changes[studio.job]["value"] == training.id


def test_an_initialised_model_that_is_there_is_used_again(tab, studio, project, chain):
    (chain.rows.output / "config.json").write_text("{}", encoding="utf-8")
    tab.on_check(project.id, *entered(tab, tokenizer=str(chain.tokenizer.output), input=[chain.text]))
    started = [run for what, run in studio.backend.queue.asked if what == "submit"]
    assert [(run.verb, run.after) for run in started] == [("preflight", (chain.rows.id,))]


@pytest.mark.parametrize(
    ("changes", "field"), [({"tokenizer": None}, "tokenizer"), ({"input": []}, "input"), ({"learning_rate": 9.0}, "learning_rate")]
)
def test_a_wrong_setting_starts_nothing(tab, studio, project, chain, changes, field):
    values = {"tokenizer": str(chain.tokenizer.output), "input": [chain.text], **changes}
    before = len(project.runs())
    with pytest.raises(ConfigError) as caught:
        tab.on_start(project.id, *entered(tab, **values))
    assert caught.value.field == field
    assert len(project.runs()) == before


def test_new_rows_only_takes_the_base_model_as_the_old_vocabulary(tab, project, chain):
    tab.on_start(project.id, *entered(tab, tokenizer=str(chain.tokenizer.output), input=[chain.text], new_rows_only=True))
    assert project.runs("train")[0].config["initial"] == project.base


def test_a_prepared_training_waits_for_a_cluster_and_shows_its_script(tab, studio, project, chain):
    tab.on_prepare(project.id, *entered(tab, tokenizer=str(chain.tokenizer.output), input=[chain.text]))
    run = project.runs("train")[0]
    assert run.prepared
    assert ("submit", run) not in studio.backend.queue.asked
    drawn = tab.live.draw(project.id, run.id, "")
    assert "#SBATCH" in drawn[tab.live.slurm]
    assert str(run.path) in drawn[tab.live.slurm]
    assert "prepared" in drawn[tab.live.numbers]
    assert "#SBATCH" not in tab.live.draw(project.id, chain.trained.id, "")[tab.live.slurm]
    assert "lep train" in tab.live.draw(project.id, chain.trained.id, "")[tab.live.command]


def test_a_sweep_takes_the_settings_of_the_training_and_its_own_rates(tab, studio, project, chain):
    values = tab.sweep.form.values([["1e-4", "0,002"], 0.5])
    tab._start_with(project, train_sweep.VERB, values, entered(tab, tokenizer=str(chain.tokenizer.output), input=[chain.text], steps="40"))
    run = project.runs(train_sweep.VERB)[0]
    assert run.config["rates"] == [1e-4, 2e-3]
    assert (run.config["share"], run.config["steps"]) == (0.5, 40)


@pytest.mark.parametrize("name", ["project", *PRESETS])
def test_a_preset_sets_what_it_knows_and_resets_the_rest(tab, project, name):
    project.update_settings(defaults={"steps": 60, "learning_rate": 4e-3, "variant": "extension"})
    filled = {
        field: change["value"] for field, component in tab.form.components.items() if (change := tab._preset(project, name).get(component))
    }
    expected = {"steps": 60, "learning_rate": 4e-3} if name == "project" else PRESETS[name]
    assert {field: filled[field] for field in expected} == expected
    assert filled["warmup_steps"] == TrainConfig.__dataclass_fields__["warmup_steps"].default
    TrainConfig.from_mapping({**tab.form.values([filled.get(n, c.value) for n, c in tab.form.components.items()]), "model": "m", "input": ["t"], "output": "o"})  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_check_says_what_is_needed_and_what_is_there(language):
    t = Translator(language)
    text = check_text(GOOD, t)
    assert t("check.fits") in text
    assert t.number(11.5, 1) in text
    assert t.number(22.0, 1) in text
    assert t.duration(7500) in text
    assert t.duration(7500) in check_line(GOOD, t)


def test_a_check_that_fails_names_field_reason_and_remedy_without_flags():
    text = check_text(TOO_LARGE, T)
    assert T("check.does_not_fit") in text
    assert "Micro-batch size" in text
    assert "8 are free" in text
    assert "--micro" not in text
    assert "✖" in text


def test_a_report_without_figures_is_still_shown():
    assert T("check.fits") in check_text({"fits": True}, T)
    assert T("check.does_not_fit") in check_text({"problems": [{"field": "model", "message": "none", "hint": "give one"}]}, T)


def test_problems_stand_beside_their_field_and_open_its_fold(tab, project, chain, finish):
    checked(project, chain, finish, TOO_LARGE)
    drawn = tab.check.draw(project)
    component = tab.form.components["micro_batch_size"]
    assert "8 are free" in drawn[component]["info"]
    assert drawn[tab.form.folds["micro_batch_size"]]["open"] is True
    assert "⚠" not in drawn[tab.form.components["steps"]]["info"]
    assert "⚠" not in tab.check.draw(project, marked=False)[component]["info"]
    checked(project, chain, finish, GOOD)
    assert "⚠" not in tab.check.draw(project)[component]["info"]


def test_what_an_earlier_visit_checked_marks_no_field(tab, project, chain, finish):
    checked(project, chain, finish, TOO_LARGE)
    component = tab.form.components["micro_batch_size"]
    first = tab.on_tick(project.id, "", "", {})
    assert "⚠" not in first[component]["info"]
    assert tab.check.card in first
    assert component not in tab.on_tick(project.id, "", first[tab.live.seen], first[tab.seen])
    checked(project, chain, finish, TOO_LARGE)
    assert "⚠" in tab.on_tick(project.id, "", first[tab.live.seen], first[tab.seen])[component]["info"]


def test_memory_beyond_the_limit_is_seen_in_the_bar():
    figure = stacked_bar({"body": 8.0, "loss": 1.0}, title="t", x="GiB", limit=4.0, limit_name="free")
    assert [trace.x[0] for trace in figure.data] == [8.0, 1.0]
    assert figure.layout.shapes[0].x0 == 4.0
    assert figure.layout.barmode == "stack"


def test_a_check_that_let_a_training_through_takes_one_line(tab, project, chain, finish):
    check = checked(project, chain, finish, GOOD)
    assert "|" in tab.check.draw(project)[tab.check.card]["value"]
    project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]}, after=[check.id])
    drawn = tab.check.draw(project)
    assert "|" not in drawn[tab.check.card]["value"]
    assert drawn[tab.check.parts]["visible"] is False
    project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]})
    assert tab.check.draw(project)[tab.check.card]["visible"] is False


def test_the_page_follows_the_training_that_the_panel_shows(tab, project, chain, finish):
    values = {"model": str(chain.rows.output), "input": [chain.text]}
    running = finish(project.create_run("train", values), state="running", **this_process())
    project.create_run("train", values)
    assert shown_training(project, "") == running
    assert shown_training(project, chain.trained.id) == chain.trained
    assert shown_training(project, "of another project") == running
    assert tab.live._follow(project.id, chain.trained.id)[tab.live.shown]["value"] == chain.trained.id
    assert tab.live._follow(project.id, chain.tokenizer.id)[tab.live.shown]["value"] == ""


def test_a_waiting_training_names_what_it_waits_for(studio, project, chain):
    before = project.create_run("initialize", {"base": project.base, "tokenizer": str(chain.tokenizer.output)})
    run = project.create_run("train", {"model": str(before.output), "input": [chain.text]}, after=[before.id])
    assert waiting_text(run, project, studio) == "waits for: Initialisation 2"


def test_a_stopped_training_says_how_far_it_came(studio, project, chain, finish):
    values = {"model": str(chain.rows.output), "input": [chain.text], "steps": 300}
    run = finish(project.create_run("train", values), state="stopped", report={"steps": 3, "stopped": True})
    text = headline(run, [{"step": 3, "heldout_bits_per_byte": 0.9, "tokens_per_second": 10.0, "memory_gib": 0.5}], project, studio)
    assert "step 3 of 300" in text
    assert "0.900" in text


def test_a_training_says_how_far_rows_moved_and_warns_of_too_far(studio, project, chain, finish):
    run = finish(
        project.create_run("train", {"model": str(chain.rows.output), "input": [chain.text]}),
        report={"suggested_anchor": 20.0, "passes": 3.7},
    )
    near = {"step": 3, "moved_input_shared": 0.1234, "moved_input_new": 0.5, "moved_output_shared": 0.4}
    text = headline(run, [near], project, studio)
    assert "embedding, shared tokens **12.3 %**, embedding, new tokens **50.0 %**" in text
    assert "⚠" not in text
    text = headline(run, [near, {"step": 9, "moved_output_shared": 2.21}], project, studio)
    assert "head **221 %** (> 150 %)" in text
    assert "An anchor of 20 would hold" in text


def test_samples_come_from_the_report_or_from_what_was_said_so_far():
    assert samples({"samples_before": ["a"], "samples_after": ["b"]}, []) == ("a", "b")
    assert samples({}, [{"step": 0, "sample": "a"}]) == ("a", "")
    assert samples({}, []) == ("", "")


def test_a_sweep_draws_a_curve_for_each_rate_and_marks_the_best():
    records = [{"learning_rate": rate, "step": step, "heldout_bits_per_byte": rate + step} for rate in (0.01, 0.001) for step in (0, 5)]
    assert list(sweep_curves(records)) == [0.001, 0.01]
    assert sweep_curves([*records, {"step": 9}])[0.01] == ([0, 5], [0.01, 5.01])
    rates = [
        {"learning_rate": 0.001, "bits_per_byte_before": 2.0, "bits_per_byte_after": 1.23456, "diverged": False, "seconds": 3.21},
        {"learning_rate": 0.01, "bits_per_byte_before": 2.0, "bits_per_byte_after": None, "diverged": True, "seconds": 1.0},
    ]
    rows = sweep_rows({"rates": rates, "best_learning_rate": 0.001}, T)
    assert rows == [[0.001, 2.0, 1.2346, "best", 3.2], [0.01, 2.0, None, "diverged", 1.0]]


def test_rates_that_diverged_cannot_be_taken_over(tab, studio, project, chain, finish):
    run = project.create_run(train_sweep.VERB, {"model": str(chain.rows.output), "input": [chain.text]})
    rates = [{"learning_rate": 0.001, "diverged": False, "moved_far": True}, {"learning_rate": 0.01, "diverged": True}]
    finish(run, report={"rates": rates, "best_learning_rate": 0.001})
    changes = tab.sweep.refresh(project)[tab.sweep.rate]
    assert [value for _, value in changes["choices"]] == [0.001]
    assert changes["value"] == 0.001
    assert "best: **0.001**" in sweep_headline(run, project, studio)
    assert "take a smaller rate or an anchor" in sweep_headline(run, project, studio)


def test_the_tab_works_with_every_verb_it_needs():
    assert train_check.available()
    assert train_sweep.available()
    assert pipeline.VERBS[train_check.VERB].light
