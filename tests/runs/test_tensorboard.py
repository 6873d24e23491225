"""The mirror of metrics in TensorBoard's own format, read back with TensorBoard's own reader."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lep_core.cli import main
from lep_core.errors import InputError
from lep_core.runs.workspace import Workspace


@pytest.fixture
def run(tmp_path):
    made = Workspace(tmp_path / "w").create_project("Demo").create_run("train", {"model": "m", "input": ["x"]})
    measure(made, [{"step": step, "seconds": step / 2, "loss": 3.0 / step, "sample": "text"} for step in (1, 2)])
    return made


def measure(run, records):
    with open(run.path / "metrics.jsonl", "a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record) + "\n" for record in records)


def curve(folder, name):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    events = [event for path in sorted(folder.glob("events.*")) for event in EventFileLoader(str(path)).Load()]
    found = []
    for event in events:
        for value in event.summary.value:
            if value.tag == name:
                found.append((event.step, value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value))
    return found


def test_metrics_become_curves_and_later_ones_are_added(run, tmp_path):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    from lep_core.runs.tensorboard import Mirror

    mirror = Mirror(tmp_path / "events")
    assert mirror.update([run]) == 2
    assert mirror.update([run]) == 0
    measure(run, [{"step": 2, "heldout_bits_per_byte": 0.5}, {"loss": 1.0}])
    assert mirror.update([run]) == 1
    mirror.close()
    (folder,) = (tmp_path / "events").glob("demo/*")
    assert curve(folder, "loss") == [(1, 3.0), (2, 1.5)]
    assert curve(folder, "heldout_bits_per_byte") == [(2, 0.5)]
    assert curve(folder, "sample") == curve(folder, "seconds") == []


def test_the_command_can_be_repeated_and_leaves_other_folders_alone(run, tmp_path, capsys):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    output, words = tmp_path / "events", ["tensorboard", "--workspace", str(tmp_path / "w"), "--output", str(tmp_path / "events")]
    assert main(words) == main([*words, "--project", "Demo"]) == main([*words, run.id]) == 0
    assert f"2 values of 1 runs; look at them with: tensorboard --logdir {output}" in capsys.readouterr().out
    (folder,) = output.glob("demo/*")
    assert len(list(folder.glob("events.*"))) == 1
    (folder / ".lep-run").unlink()
    assert main(words) == 2
    assert "was not made by this command" in capsys.readouterr().err


def test_without_the_package_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    from lep_core.runs.tensorboard import Mirror

    with pytest.raises(InputError, match="pip install"):
        Mirror(tmp_path)


def test_a_training_imports_no_tracker():
    code = "import sys, lep_core.execute, lep_core.cli; assert not {'tensorboard', 'trackio', 'wandb'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
