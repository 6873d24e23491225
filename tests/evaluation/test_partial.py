"""An evaluation that is stopped or killed at any moment goes on and ends with the report of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lep_core.config import EvaluateConfig
from lep_core.errors import ConfigError, LepError, OutputError
from lep_core.evaluation.evaluate import evaluate
from lep_core.evaluation.partial import BATCHES_FILE, FINISHED_FILE, RESULTS_FILE, Partial, partial_folder
from lep_core.execute import RunReporter, execute
from lep_core.inference.generator import Generator
from lep_core.pipeline import VERBS
from lep_core.runs.workspace import Workspace
from tests.evaluation.test_evaluate import Recorder
from tests.factories import SENTENCES, edit_json, tiny_model

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("bits-per-byte", "minimal-pairs", "multiple-choice", "copy-sentence", "instruct", "instructions", "generation")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """Two models, a text and items of every task."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("w")
    first = tiny_model(root, name="first", chat=True, max_position_embeddings=512)
    second = tiny_model(root, name="second", sibling_of=first, chat=True, perturbation=0.3)
    text, items = root / "text.txt", root / "items.jsonl"
    text.write_text("\n".join(SENTENCES), encoding="utf-8")
    records = []
    for number, sentence in enumerate(SENTENCES):
        records += [
            {"prompt": sentence, "answer": "yes"},
            {"prompt": sentence, "references": [SENTENCES[number - 1]]},
            {"prompt": sentence, "constraints": [{"type": "no_comma"}, {"type": "words", "count": 5, "relation": "at least"}]},
            {"good": sentence, "bad": " ".join(reversed(sentence.split()))},
            {"question": sentence, "choices": ["one", "two", "three"], "answer": number % 3},
        ]
    items.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return {"model": (str(first), str(second)), "input": (str(text),), "items": (str(items),)}


def config_for(world, output: Path, **changes) -> EvaluateConfig:
    values = {
        "task": TASKS,
        "batch_size": 2,
        "block_size": 16,
        "max_new_tokens": 60,
        "limit": 4,
        "device": "cpu",
        "threads": 1,
        "output": str(output),
    }
    return EvaluateConfig(**(world | values | changes))


def run(config: EvaluateConfig, reporter: Recorder | None = None):
    return VERBS["evaluate"].run(config, reporter or Recorder())


def outcome(output: Path) -> tuple[str, bytes]:
    """Everything that an evaluation leaves behind, without the seconds it took and what it was told."""
    record = json.loads((output / "report.json").read_text())
    return json.dumps(record["report"] | {"seconds": None}), (output / "answers.jsonl").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory) -> tuple[str, bytes]:
    output = tmp_path_factory.mktemp("o") / "result"
    run(config_for(world, output))
    assert not partial_folder(output).exists()
    return outcome(output)


class StopAfter(Recorder):
    """Asks to stop at the n-th question whether to stop."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self._left = questions

    def should_stop(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize("questions", [2, 9, 30])
def test_a_stopped_evaluation_resumes_to_the_same_report(world, undisturbed, tmp_path, questions):
    output = tmp_path / "result"
    report = run(config_for(world, output), StopAfter(questions)).to_json()
    assert report["stopped"]
    shown = [json.loads(line) for line in read(partial_folder(output) / RESULTS_FILE)]
    assert shown == report["results"]
    with pytest.raises(OutputError, match="not empty"):
        run(config_for(world, output))
    reporter = Recorder()
    run(config_for(world, output, resume=True), reporter)
    assert outcome(output) == undisturbed
    assert not partial_folder(output).exists()
    # Rows of the first attempt are in the log already.
    assert len(reporter.metrics) + len(shown) == len(json.loads(undisturbed[0])["results"])


def test_what_is_finished_is_not_computed_again(world, undisturbed, tmp_path, monkeypatch):
    output = tmp_path / "result"
    rows = json.loads(undisturbed[0])["results"]
    of_first = sum(row["model"] == "first" for row in rows)
    run(config_for(world, output), Recorder(stop_after=of_first + 1))
    loaded = []
    load = Generator.load
    monkeypatch.setattr(Generator, "load", lambda source, **options: loaded.append(Path(source).name) or load(source, **options))
    run(config_for(world, output, resume=True))
    assert loaded == ["second"]
    assert outcome(output) == undisturbed


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_a_killed_evaluation_resumes_to_the_same_report(world, undisturbed, tmp_path, seed):
    output = tmp_path / "result"
    chance = random.Random(seed)
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(config_for(world, output).to_mapping()))
    command = [sys.executable, "-m", "lep_core", "evaluate", "--config", str(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wanted = chance.randrange(1, 40)
        while process.poll() is None and len(read(partial_folder(output) / BATCHES_FILE)) < wanted:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not output.exists()
    torn = partial_folder(output) / BATCHES_FILE
    torn.write_bytes(torn.read_bytes()[: -chance.randrange(1, 30)])
    with pytest.raises(OutputError, match="holds results of an earlier evaluation"):
        run(config_for(world, output))
    run(config_for(world, output, resume=True))
    assert outcome(output) == undisturbed
    assert not partial_folder(output).exists()


def test_changed_models_items_and_settings_are_measured_anew(world, tmp_path):
    output, fresh = tmp_path / "result", tmp_path / "fresh"
    few = ("minimal-pairs", "instructions")
    changed = tiny_model(tmp_path, name="first", sibling_of=Path(world["model"][0]), chat=True, perturbation=0.5)
    run(config_for(world, output, task=few), Recorder(stop_after=3))
    other = {"task": few, "model": (str(changed), world["model"][1]), "max_new_tokens": 55, "limit": 3}
    run(config_for(world, output, resume=True, **other))
    run(config_for(world, fresh, **other))
    assert outcome(output) == outcome(fresh)


def test_overwrite_drops_what_was_kept(world, undisturbed, tmp_path):
    output = tmp_path / "result"
    run(config_for(world, output), Recorder(stop_after=3))
    (partial_folder(output) / BATCHES_FILE).write_text("no JSON\n[1]\n")
    run(config_for(world, output, overwrite=True))
    assert outcome(output) == undisturbed


def test_own_files_of_the_user_beside_what_was_kept_stay(world, tmp_path):
    output = tmp_path / "result"
    partial_folder(output).mkdir()
    (partial_folder(output) / "notes.txt").write_text("mine")
    run(config_for(world, output, task=("minimal-pairs",)))
    assert [path.name for path in partial_folder(output).iterdir()] == ["notes.txt"]


def test_places_that_cannot_hold_a_result_and_a_resume_of_nothing_are_refused(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="no possible folder"):
        run(config_for(world, Path("/")))
    with pytest.raises(OutputError, match="lie inside each other"):
        run(config_for(world, Path(".."), overwrite=True))
    assert partial_folder(".") == tmp_path.with_name(tmp_path.name + ".partial")
    with pytest.raises(LepError, match="missing"):
        run(config_for(world, tmp_path / "x", items=("missing.jsonl",)))
    assert not partial_folder(tmp_path / "x").exists()
    with pytest.raises(ConfigError, match="--resume is given without"):
        run(config_for(world, tmp_path / "x", resume=True).replace(output=None))
    examples = tmp_path / "examples"
    examples.mkdir()
    (examples / "a.jsonl").write_text(Path(world["items"][0]).read_text())
    with pytest.raises(OutputError, match="lie inside each other"):
        run(config_for(world, examples, shots=1, shot_items=(str(examples / "a.jsonl"),), overwrite=True))


def test_damaged_lines_are_computed_again(world, undisturbed, tmp_path):
    output = tmp_path / "result"
    run(config_for(world, output), Recorder(stop_after=12))
    for name in (BATCHES_FILE, FINISHED_FILE):
        path = partial_folder(output) / name
        lines = read(path)
        lines[len(lines) // 2] = lines[len(lines) // 2][:-9]
        lines += ['{"key": [1], "value": 2}', "[" * 100_000]
        path.write_text("\n".join(lines))
    run(config_for(world, output, resume=True))
    assert outcome(output) == undisturbed


def test_a_stopped_run_shows_its_rows_and_resumes(world, undisturbed, tmp_path, monkeypatch):
    project = Workspace(tmp_path / "workspace").create_project("p")
    values = config_for(world, tmp_path / "x").to_mapping()
    created = project.create_run("evaluate", {key: value for key, value in values.items() if key != "output"})
    asked = []
    monkeypatch.setattr(RunReporter, "should_stop", lambda reporter: asked.append(1) or len(asked) > 30)
    assert execute(created.path) == 130
    shown = [json.loads(line) for line in read(created.kept / RESULTS_FILE)]
    assert shown == created.report()["results"]
    assert shown
    assert created.can_resume
    created.new_attempt()
    monkeypatch.undo()
    assert execute(created.path) == 0
    assert outcome(created.output) == undisturbed
    assert not created.kept.exists()


def test_without_output_nothing_is_kept(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(config_for(world, tmp_path / "x").replace(output=None), Recorder(stop_after=3))
    assert list(tmp_path.iterdir()) == []


def test_two_evaluations_do_not_share_a_folder(tmp_path):
    with Partial(tmp_path / "r.partial"), pytest.raises(OutputError, match="another evaluation"):
        Partial(tmp_path / "r.partial")


def test_a_model_folder_that_vanishes_while_it_is_measured_is_still_measured(world, undisturbed, tmp_path):
    import shutil

    copies = [Path(shutil.copytree(path, tmp_path / Path(path).name)) for path in world["model"]]

    class Vanish(Recorder):
        def metric(self, record) -> None:
            super().metric(record)
            shutil.rmtree(copies[0], ignore_errors=True)

    report = evaluate(config_for(world, tmp_path / "x", model=tuple(map(str, copies)), task=("bits-per-byte", "instruct")), texts=SENTENCES, reporter=Vanish())  # fmt: skip
    assert {row["model"] for row in report.results} == {"first", "second"}


def test_a_model_folder_that_vanishes_before_its_turn_leaves_the_others_results(world, tmp_path):
    import shutil

    copies = [Path(shutil.copytree(path, tmp_path / Path(path).name)) for path in world["model"]]
    output = tmp_path / "result"

    class Vanish(Recorder):
        def metric(self, record) -> None:
            super().metric(record)
            shutil.rmtree(copies[1], ignore_errors=True)

    config = config_for(world, output, model=tuple(map(str, copies)), task=("bits-per-byte",))
    with pytest.raises(LepError, match="second"):
        run(config, Vanish())
    assert [json.loads(line)["model"] for line in read(partial_folder(output) / RESULTS_FILE)] == ["first"]
    edit_json(Path(shutil.copytree(world["model"][1], copies[1])) / "config.json")
    assert len(run(config.replace(resume=True)).to_json()["results"]) == 2


def read(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line]
    except FileNotFoundError:
        return []
