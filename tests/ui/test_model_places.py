"""The same model has the same colour everywhere, and a new one changes no other."""

from ui.model_places import model_places
from ui.plots import MODEL_COLOURS, model_colour, model_symbol


def test_originals_come_first_then_results_as_they_were_made(project, chain):
    places = model_places(project)
    assert places[project.instruct] == 0
    assert places[project.base] == 1
    assert places[str(chain.trained.output)] == 2
    assert places[str(chain.propagated.output)] == 3
    assert places[str(chain.rows.output)] == -1


def test_a_new_result_moves_no_other(project, chain, finish):
    before = model_places(project)
    finish(project.create_run("train", chain.trained.config))
    after = model_places(project)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 1


def test_sixteen_models_look_different():
    looks = {(model_colour(place), model_symbol(place)) for place in range(len(MODEL_COLOURS))}
    assert len(looks) == len(MODEL_COLOURS) == 16
    assert model_colour(-1) == MODEL_COLOURS[-1]
