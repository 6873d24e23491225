"""All stages as one job: what is asked for becomes one run, and its results are among the project's models."""

from types import SimpleNamespace

import gradio as gr

from lep_core.config import AdaptConfig
from ui.i18n import Translator
from ui.material import adapted, models
from ui.studio import Studio
from ui.tabs import whole_path


def build(backend, project):
    with gr.Blocks():
        studio = Studio(backend=backend, t=Translator("en"), project=gr.Dropdown([project.id], value=project.id), tabs=None)
        parts = whole_path.build(studio)
    return parts


def start_of(parts):
    blocks = parts.outputs[0].parent
    while blocks.parent is not None:
        blocks = blocks.parent
    return next(event.fn for event in blocks.fns.values())


def test_one_click_makes_one_adapt_run_with_the_projects_recipe(backend, project, tmp_path):
    (tmp_path / "prompts.txt").write_text("Hello?", encoding="utf-8")
    project.update_settings(
        defaults={"learning_rate": 4e-3, "limit": 7, "unknown": 1},
        calibrate={"preset": "laptop", "learning_rate": 3e-5},
        prompt_files=[str(tmp_path / "prompts.txt")],
    )
    start_of(build(backend, project))(project.id, ["ru.txt"], [], ["conversion", "swap"], [], 500, 20, True)
    ((_, run),) = backend.queue.asked
    config = AdaptConfig.from_mapping(run.config)
    assert (run.verb, config.method, config.new_tokens, config.steps, config.limit) == ("adapt", ("swap", "conversion"), 500, 20, 7)
    assert (config.calibrate, config.calibration_preset, config.calibration_learning_rate) == (True, "laptop", 3e-5)
    assert config.prompt_file == (str(tmp_path / "prompts.txt"),)


def test_the_results_of_a_whole_path_are_models_of_the_project(project, finish):
    run = finish(project.create_run("adapt", {"base": project.base, "instruct": project.instruct, "input": ["x"]}))
    for name in ("trained", "instruct-swap", "calibrated-swap", "untrained"):
        (run.output / name).mkdir()
        (run.output / name / "config.json").write_text("{}", encoding="utf-8")
    t = Translator("en")
    assert [label.rpartition(" ")[2] for label, _ in adapted(project, t)] == ["calibrated-swap", "instruct-swap"]
    paths = [path for _, path in models(project, t)]
    assert str(run.output / "untrained") in paths
    assert str(run.output / "trained") not in paths


def test_the_form_offers_what_the_project_suggests(backend, project, tmp_path):
    for name in ("ru.txt", "en.txt"):
        (tmp_path / name).write_text("text", encoding="utf-8")
    files = SimpleNamespace(new=str(tmp_path / "ru.txt"), old=str(tmp_path / "en.txt"))
    project.update_settings(text_files=[files.new, files.old], corpus_files=[files.new], replay_files=[files.old], defaults={"steps": 600})
    parts = build(backend, project)
    shown = {component.elem_id: change for component, change in parts.refresh(project).items()}
    assert shown["path-input"]["value"] == [files.new]
    assert shown["path-replay"]["value"] == [files.old]
    assert shown["path-steps"]["value"] == 600
