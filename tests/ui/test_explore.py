"""The embedding explorer: words in, neighbours and maps out, under the names that people know."""

import gradio as gr
import pytest

from ui.i18n import Translator
from ui.tabs import explore
from ui.tabs.explore import map_groups, neighbour_table, newest, split_words, words_of

EN = Translator("en")


@pytest.fixture
def run(project, finish):
    def near(model, word, side):
        return {
            "model": model,
            "word": word,
            "token": f" {word}",
            "side": side,
            "neighbours": [{"token": " <i>", "similarity": 0.5}, {"token": "a\n", "similarity": 0.25}][: 1 if model == "base" else 2],
        }

    report = {
        "neighbours": [near(model, word, "input") for model in ("base", "instruct") for word in ("bear", "fish")],
        "map": {
            "tokens": ["a", "b", "<s>"],
            "kinds": ["shared", "new", "special"],
            "models": [
                {"name": "base", "x": [1.0, None, 3.0], "y": [1.5, None, 3.5]},
                {"name": "instruct", "x": [1, 2, 3], "y": [1, 2, 3]},
            ],
        },
    }
    made = project.create_run("explore-embeddings", {"model": [project.base, project.instruct], "words": ["bear", "fish"]})
    return finish(made, report=report)


def test_words_are_split_at_commas_only():
    assert split_words(" волк, bear cub;рыба,\nволк, ") == ["волк", "bear cub", "рыба"]
    assert split_words(None) == []


def test_neighbours_stand_side_by_side(run, project):
    assert newest(project).id == run.id
    assert words_of(run) == ["bear", "fish"]
    shown = neighbour_table(run, project, "bear", "input", EN)
    assert shown["headers"] == ["Base · base", "Original instruct · instruct"]
    assert shown["data"] == [["spelled ␣bear"] * 2, ["␣<i>  0.50"] * 2, ["", "a⏎  0.25"]]
    assert neighbour_table(run, project, "bear", "output", EN) is None


def test_a_map_shows_the_tokens_that_the_model_has_in_the_same_colours(run):
    first, second = (map_groups(run, index, EN) for index in (0, 1))
    assert list(first) == list(second), "a colour means the same kind on both maps"
    assert first["new"] == ([], [], [])
    assert second["new"] == ([2], [2], ["b"])


def test_looking_starts_a_job_with_the_words(studio, project):
    with gr.Blocks() as page:
        studio.project = gr.Textbox()
        explore.build(studio)
    start = next(item for item in page.fns.values() if len(item.inputs) > 4)
    entered = {component.elem_id: component.value for component in start.inputs} | {"explore-models": [project.base]}
    start.fn(project.id, *list(entered.values())[1:])
    ((_, made),) = studio.backend.queue.asked
    assert made.verb == "explore-embeddings"
    assert made.config["words"] == ["медведь", "волк", "рыба", "bear", "fish"]
