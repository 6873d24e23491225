"""The propagate tab: every method explained and given its own settings, all combinations started, doubts said."""

import gradio as gr
import pytest

from lep_core.config import METHODS, PropagateConfig
from ui.i18n import TEXTS, Translator
from ui.propagations import (
    METHOD_FIELDS,
    cross_validations,
    fit_rows,
    method_lines,
    place_lines,
    proof_text,
    propagations,
    residual_series,
    settings_for,
    spectra,
    values_for,
    warnings,
    worst_rows,
)
from ui.tabs import propagate

EN = Translator("en")
FIT = {
    "tokens": 120,
    "rank": 64,
    "hidden_size": 64,
    "condition_number": 12.5,
    "relative_residual": 0.1,
    "heldout_residual": 0.2,
    "identity_residual": 0.3,
    "heldout_identity_residual": 0.4,
    "distance_from_identity": 0.05,
    "singular_values": [3.0, 2.0, 1.0],
    "worst_tokens": [{"token_id": 7, "token": "<b>x\n", "relative_residual": 0.9}],
}


@pytest.fixture
def propagated(chain, project, finish):
    """Make a finished propagation of a method with the fits given."""

    def make(method, **fits):
        values = {"base": project.base, "adapted": str(chain.trained.output), "instruct": project.instruct, "method": method}
        report = {
            "method": method,
            "output": None,
            "logits_equal": True,
            "bytes_written": 2**20,
            "shards_linked": 1,
            "seconds": 2.0,
            **fits,
        }
        return finish(project.create_run("propagate", values), report=report)

    return make


def test_every_method_is_explained_with_its_formula():
    assert set(METHOD_FIELDS) == set(METHODS)
    assert {f"{kind}.{method}" for kind in ("method", "method_formula") for method in METHODS} <= set(TEXTS)
    assert method_lines(METHODS, EN).count("argmin") >= 4


def test_settings_belong_to_methods():
    names = set(PropagateConfig.__dataclass_fields__)
    assert all(set(fields) <= names for fields in METHOD_FIELDS.values())
    assert "alpha" in settings_for(["swap", "ridge"])
    assert "alpha" not in settings_for(["swap", "low-rank"])
    values = {"alpha": 0.1, "rank": 4, "rcond": 1e-6, "adapter_scale": 1.0}
    assert values_for("swap", values) == {"method": "swap", "adapter_scale": 1.0}
    assert values_for("ridge", values) == {"method": "ridge", "alpha": 0.1, "rcond": 1e-6, "adapter_scale": 1.0}


def test_fits_become_rows_with_the_identity_beside_them(project, propagated):
    propagated("ridge", input={**FIT, "alpha": 0.01}, output=FIT)
    shown = propagations(project, EN)
    ours = [line for line in fit_rows(shown, EN) if "ridge" in line[0]]
    assert ours[0][1:] == ["embedding", "120", "64 / 64", "12.5", "0.1 / 0.3", "0.2 / 0.4", "0.05", "α = 0.01"]
    assert ours[1][1] == "head"


def test_older_reports_without_the_new_fields_are_shown_too(project, propagated):
    propagated("swap", input={"tokens": 5, "relative_residual": 0.1})
    shown = [item for item in propagations(project, EN) if item.report]
    assert fit_rows(shown, EN)[0][2:] == ["5", "–", "–", "0.1", "–", "–", "–"]
    assert not warnings(shown, EN)
    assert not spectra(shown, EN)
    assert not cross_validations(shown, EN)
    assert not worst_rows(shown, EN)


def test_doubts_are_said(project, propagated):
    propagated("conversion", input={**FIT, "rank": 40, "heldout_residual": 0.5})
    propagated(
        "ridge",
        input={**FIT, "rank": 40, "alpha": 100.0, "cross_validation": [{"alpha": 1.0, "residual": 0.3}, {"alpha": 100.0, "residual": 0.2}]},
    )
    propagated("overlap", input={**FIT, "condition_number": 1e8})
    said = warnings(propagations(project, EN), EN)
    text = "\n".join(said)
    assert "40 / 64" in text
    assert "the map loses the others" in text
    assert "the others stay as they are" in text
    assert "worse than no map" in text
    assert "0.5 / 0.4" in text
    assert "swap should do as well" in text
    assert "1e+08" in text
    assert not warnings([item for item in propagations(project, EN) if item.method == "swap"], EN)


def test_charts_get_one_figure_per_result(project, propagated):
    propagated("ridge", input={**FIT, "alpha": 1.0, "cross_validation": [{"alpha": 1.0, "residual": 0.2}, {"alpha": 0.1, "residual": 0.3}]})
    propagated("conversion", input=FIT)
    shown = [item for item in propagations(project, EN) if item.report]
    names, series = residual_series(shown, "input", EN)
    assert len(names) == 2
    assert list(series.values()) == [[0.1, 0.1], [0.2, 0.2], [0.4, 0.4]]
    assert residual_series(shown, "output", EN)[0] == []
    assert list(cross_validations(shown, EN).values()) == [([0.1, 1.0], [0.3, 0.2])]
    assert len(spectra(shown, EN)) == 1, "both fitted the same rows"
    assert worst_rows(shown, EN)[0][2:] == ["<b>x\\n", "0.9"]


def test_the_proof_is_said_plainly(project, propagated):
    propagated("swap", input=FIT)
    propagated("ridge", input=FIT, logits_equal=False)
    propagated("overlap", input=FIT, logits_equal=None)
    said = proof_text([item for item in propagations(project, EN) if item.report], EN)
    assert "equal ours bit by bit: **2 · swap**" in said
    assert "differ from ours" in said
    assert "Too large" in said
    assert "1.0 MiB" in place_lines(propagations(project, EN), EN)
    assert proof_text([], EN) == "No propagated model yet."


def test_all_combinations_are_started_with_their_own_settings(studio, project, chain, tmp_path):
    other = tmp_path / "other-instruct"
    other.mkdir()
    start = _start_button(studio)
    entered = {component.elem_id: component.value for component in start.inputs}
    entered |= {"propagate-adapted": str(chain.trained.output), "propagate-instruct": [project.instruct, str(other)]}
    entered |= {"propagate-methods": ["ridge", "swap"], "propagate-alpha": "0,5"}
    start.fn(project.id, *list(entered.values())[1:])
    made = [(run.config["instruct"], run.config["method"], run.config["alpha"]) for _, run in studio.backend.queue.asked]
    assert made == [
        (target, method, alpha) for target in (project.instruct, str(other)) for method, alpha in (("swap", None), ("ridge", 0.5))
    ]


def test_a_wrong_setting_leaves_no_run_behind(studio, project, chain):
    start = _start_button(studio)
    entered = {component.elem_id: component.value for component in start.inputs}
    entered |= {"propagate-adapted": str(chain.trained.output), "propagate-instruct": [project.instruct]}
    entered |= {"propagate-methods": ["swap", "ridge"], "propagate-alpha": "-1"}
    changes = start.fn(project.id, *list(entered.values())[1:])
    assert "-1" in str(changes)
    assert studio.backend.queue.asked == []


def _start_button(studio):
    with gr.Blocks() as page:
        studio.project = gr.Textbox()
        propagate._starting(studio)
    return next(item for item in page.fns.values() if len(item.inputs) > 4)
