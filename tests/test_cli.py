"""The command line: flags from configs, one JSON object, exit codes 0, 2, 1 and 130."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from lep_core import __version__, cli, pipeline
from lep_core.config import GenerateConfig, TrainConfig, flag
from lep_core.console import ConsoleReporter, summary, table
from lep_core.errors import ModelError
from lep_core.pipeline import Verb
from lep_core.runs.workspace import Workspace

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "lep_core"]
TRAIN = ["train", "--model", "m", "--input", "a", "b", "--output", "out"]


@dataclass(frozen=True)
class FakeReport:
    steps: int = 3
    stopped: bool = False

    def to_json(self):
        return {"steps": self.steps, "bits_per_byte_after": 1.25, "path": Path("x"), "bad": float("nan")}


@pytest.fixture
def seen(monkeypatch):
    """Configs that `train` was called with; `train` says something on stdout, which must not reach the JSON line."""
    configs = []

    def stage(config, reporter):
        configs.append(config)
        print("chatter of a library")
        reporter.message("a message")
        return FakeReport()

    monkeypatch.setitem(pipeline.VERBS, "train", Verb("train", TrainConfig, stage))
    return configs


def failing(monkeypatch, error):
    def stage(config, reporter):
        raise error

    monkeypatch.setitem(pipeline.VERBS, "train", Verb("train", TrainConfig, stage))


def test_json_is_the_only_line_on_stdout(seen, capsys):
    assert cli.main([*TRAIN, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"steps": 3, "bits_per_byte_after": 1.25, "path": "x", "bad": None}
    assert out.count("\n") == 1
    assert "chatter of a library" in err
    assert "a message" in err


def test_without_json_people_get_names_and_values(seen, capsys):
    assert cli.main(TRAIN) == 0
    assert capsys.readouterr().out.splitlines() == ["steps: 3", "bits_per_byte_after: 1.25", "path: x", "bad: -"]


def test_flags_have_the_types_of_the_config(seen):
    options = [
        "--steps",
        "1e3",
        "--learning-rate",
        "1e-3",
        "--resume",
        "--no-overwrite",
        "--replay",
        "r",
        "--replay",
        "s",
        "t",
        "--seed",
        "0x",
    ]
    assert cli.main([*TRAIN, *options]) == 2
    assert cli.main([*TRAIN, *options[:-2]]) == 0
    config = seen[0]
    assert config == TrainConfig(
        model="m", input=("a", "b"), output="out", steps=1000, learning_rate=1e-3, resume=True, replay=("r", "s", "t")
    )


def test_repeated_and_listed_values_are_the_same():
    parser = cli.verb_parser("measure-fertility")
    repeated = parser.parse_args(["--tokenizer", "a", "--tokenizer", "b", "--input", "x"])
    listed = parser.parse_args(["--tokenizer", "a", "b", "--input", "x"])
    assert repeated.tokenizer == listed.tokenizer == ["a", "b"]


def test_flags_count_more_than_the_config_file(seen, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"model": "m", "input": ["f"], "output": "o", "steps": 5, "block-size": 64}))
    assert cli.main(["train", "--config", str(file), "--steps", "7"]) == 0
    assert (seen[0].steps, seen[0].block_size, seen[0].input) == (7, 64, ("f",))


def test_a_config_file_may_begin_with_a_byte_order_mark(seen, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"model": "m", "input": ["f"], "output": "o"}), encoding="utf-8-sig")
    assert cli.main(["train", "--config", str(file)]) == 0


@pytest.mark.parametrize("text", ["[1]", "{", "", "[" * 100_000])
def test_a_config_file_that_holds_no_settings_is_refused(seen, tmp_path, capsys, text):
    file = tmp_path / "settings.json"
    file.write_text(text)
    assert cli.main(["train", "--config", str(file)]) == 2
    assert cli.main(["train", "--config", str(tmp_path / "absent")]) == 2
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "Did you mean train?"),
        (["xyzzy"], "lep --help"),
        (["train"], "--model is missing"),
        ([*TRAIN, "--stepz", "1"], "unrecognized arguments: --stepz"),
        ([*TRAIN, "--steps", "many"], "--steps is 'many', not a whole number"),
        ([*TRAIN, "--steps"], "--steps: expected one argument"),
        ([*TRAIN, "--schedule", "odd"], "Choose one of: cosine"),
        (["execute", "/no/such/run"], "not a run directory"),
        (["stop", "train-1", "--workspace", "/no/such/place"], "no workspace"),
    ],
)
def test_mistakes_are_one_line_with_a_hint_and_exit_2(seen, capsys, arguments, words):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1


def test_a_mendable_error_exits_2_and_a_bug_1_with_its_traceback(monkeypatch, capsys):
    failing(monkeypatch, ModelError("m is no model", "Give a model folder"))
    assert cli.main(TRAIN) == 2
    assert capsys.readouterr().err == "error: m is no model. Give a model folder\n"
    failing(monkeypatch, KeyError("surprise"))
    assert cli.main(TRAIN) == 1
    assert "Traceback" in capsys.readouterr().err
    failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(TRAIN) == 130


def test_tokens_are_not_printed(monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "secret-value")
    failing(monkeypatch, ModelError("401 for secret-value", "Log in"))
    cli.main(TRAIN)
    failing(monkeypatch, RuntimeError("401 for secret-value"))
    cli.main(TRAIN)
    assert "secret-value" not in "".join(capsys.readouterr())


def test_the_first_interrupt_asks_a_listening_stage_to_stop(monkeypatch, capsys):
    def stage(config, reporter):
        assert not reporter.should_stop()
        os.kill(os.getpid(), signal.SIGINT)
        give_up = time.monotonic() + 10
        while not reporter.should_stop():
            assert time.monotonic() < give_up
        return FakeReport(stopped=True)

    monkeypatch.setitem(pipeline.VERBS, "train", Verb("train", TrainConfig, stage))
    assert cli.main([*TRAIN, "--json"]) == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["steps"] == 3
    assert "Ctrl-C again" in err


def test_an_interrupt_ends_a_stage_that_does_not_listen_at_once(monkeypatch):
    def stage(config, reporter):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    monkeypatch.setitem(pipeline.VERBS, "train", Verb("train", TrainConfig, stage))
    assert cli.main(TRAIN) == 130


@pytest.mark.parametrize("name", list(pipeline.VERBS))
def test_every_setting_of_every_verb_is_a_flag_with_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for item in dataclasses.fields(pipeline.VERBS[name].config):
        assert flag(item.name) in text
        assert " ".join(item.metadata["help"].split())[:20] in text


def test_the_help_lists_every_verb_and_the_version_is_printed(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in [*pipeline.VERBS, *cli.COMMANDS])
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lep {__version__}\n"
    assert cli.main([]) == 2


def test_help_is_fast_and_light():
    code = "import sys; from lep_core.cli import main; main(['--help']); sys.exit(bool({'torch', 'transformers', 'numpy', 'psutil'} & set(sys.modules)))"
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False, stdout=subprocess.DEVNULL)
    assert done.returncode == 0
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2


def test_a_run_is_prepared_listed_executed_and_not_executed_again(tmp_path, capsys, monkeypatch):
    text = tmp_path / "novel.txt"
    text.write_text("Жили-были старик со старухой.\n\nИ была у них курочка ряба.\n" * 20, encoding="utf-8")
    place = ["--workspace", str(tmp_path / "ws"), "--project", "Проба"]
    assert cli.main(["add-corpus", "--input", str(text), "--prepare-only", *place]) == 0
    path = Path(capsys.readouterr().out.strip())
    done = subprocess.run([*COMMAND, "execute", str(path)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert cli.main(["runs", *place, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert (row["state"], row["verb"], row["path"]) == ("succeeded", "add-corpus", str(path))
    assert cli.main(["runs", *place]) == 0
    assert "succeeded" in capsys.readouterr().out
    (corpus,) = Workspace(tmp_path / "ws").projects()[0].corpora()
    assert corpus.info["documents"] >= 1
    assert cli.main(["execute", path.name, *place[:2]]) == 2
    assert cli.main(["resume", str(path)]) == 2
    assert cli.main(["stop", str(path)]) == 0
    assert "ended already" in capsys.readouterr().out


def test_prepare_only_refuses_an_output_and_slurm_prints_a_script(seen, tmp_path, capsys):
    place = ["--workspace", str(tmp_path / "ws")]
    assert cli.main([*TRAIN, "--prepare-only", *place]) == 2
    assert "--output" in capsys.readouterr().err
    assert cli.main([*TRAIN[:-2], "--slurm", *place]) == 0
    out, err = capsys.readouterr()
    (run,) = Workspace(tmp_path / "ws").runs()
    assert out.startswith("#!/bin/bash")
    assert f"execute {run.path}" in out
    assert str(run.path) in err
    assert run.prepared
    assert cli.main([*TRAIN[:-2], "--prepare-only", "--json", *place]) == 0
    assert Path(json.loads(capsys.readouterr().out)["run"]).is_dir()


@pytest.mark.parametrize("command", [["execute"], ["resume"], ["stop"], ["runs", "--workspace"]])
def test_a_path_too_long_for_the_file_system_is_a_sentence(capsys, command):
    assert cli.main([*command, "x" * 5000]) == 2
    assert capsys.readouterr().err == "error: a path is longer than the file system allows. Give a shorter path\n"


def test_a_stopped_run_is_resumed_here(seen, tmp_path, capsys):
    place = ["--workspace", str(tmp_path / "ws")]
    cli.main([*TRAIN[:-2], "--prepare-only", *place])
    path = capsys.readouterr().out.strip()
    assert cli.main(["stop", path]) == 0
    assert cli.main(["execute", path]) == 130
    assert seen == []
    assert cli.main(["resume", path]) == 0
    assert seen[0].resume
    assert seen[0].overwrite


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_plain_lines_at_most_every_five_seconds():
    stream = io.StringIO()
    reporter = ConsoleReporter(stream)
    reporter.stage("training")
    for done in range(1000):
        reporter.progress(done, 1000, "steps")
    reporter.message("нота")
    reporter.close()
    assert stream.getvalue() == "training\nнота\n"


def test_progress_on_a_terminal_is_one_line_drawn_again(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    reporter = ConsoleReporter(stream)
    reporter.stage("training")
    monkeypatch.setattr("lep_core.console.TERMINAL_SECONDS", 0.0)
    reporter.metric({"step": 500, "loss": 0.12345})
    reporter.progress(500, 1000, "steps")
    reporter.close()
    text = stream.getvalue()
    assert "\n" not in text
    assert "50%" in text
    assert "500/1000 steps" in text
    assert "loss 0.1235" in text
    assert text.endswith("\r\x1b[K")


def test_tables_are_aligned_also_with_wide_letters():
    rows = [{"model": "база", "value": 0.5, "n": 20000, "curve": [1]}, {"model": "日本", "value": None, "n": 7}]
    assert table(rows) == ["model  value       n", "база     0.5  20,000", "日本       -       7"]
    assert summary({"results": rows[:1], "input": {"rank": 3}, "output": None, "ok": True, "values": [1.0, 2.5]}).splitlines() == [
        "results:",
        "  model  value       n",
        "  база     0.5  20,000",
        "input:",
        "  rank: 3",
        "output: -",
        "ok: yes",
        "values: 1, 2.5",
    ]


def test_a_reader_that_leaves_early_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m lep_core --help | true", shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr


def test_generate_takes_an_empty_prompt():
    parsed = cli.verb_parser("generate").parse_args(["--model", "m", "--prompt", ""])
    assert GenerateConfig.from_mapping({"model": parsed.model, "prompt": parsed.prompt}).prompt == ""


def test_texts_do_not_steer_the_terminal():
    assert "\x1b" not in summary({"answers": [{"text": "a\x1b[2Jb"}], "note": "\x1b]0;x\x07"})
