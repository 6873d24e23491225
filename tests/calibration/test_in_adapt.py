"""Calibration as a stage of `adapt`: the answers are made once, every result learns them, and all are measured together."""

import pytest

from lep_core.adapt import adapt
from lep_core.config import AdaptConfig
from lep_core.demo.corpora import write_corpora
from lep_core.demo.path import demo_pair
from lep_core.errors import ConfigError
from lep_core.models import inspect_model


@pytest.fixture
def settings(tmp_path):
    base, instruct = demo_pair()
    files = write_corpora(tmp_path / "text", 0)
    lines = files.russian_corpus.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "ru.txt").write_text("".join(lines[:60]), encoding="utf-8")
    (tmp_path / "prompts.txt").write_text(
        "Назови первое слово: дом, река.\nRepeat: red apple.\nName the first word: house, river.\n", encoding="utf-8"
    )
    values = {
        "base": str(base),
        "instruct": str(instruct),
        "input": (str(tmp_path / "ru.txt"),),
        "output": str(tmp_path / "out"),
        "method": ("swap",),
        "calibrate": True,
        "calibration_preset": "laptop",
        "prompt_file": (str(tmp_path / "prompts.txt"),),
        "steps": 2,
        "batch_size": 2,
        "block_size": 32,
        "new_tokens": 20,
        "limit": 2,
        "device": "cpu",
        "threads": 1,
    }
    return lambda **changes: AdaptConfig(**(values | changes))


def test_every_result_gets_a_calibrated_copy_and_a_resumed_adapt_keeps_them(settings, tmp_path):
    report = adapt(settings()).to_json()
    assert set(report["calibrate"]) == {"swap"}
    wanted = {"instruct-swap", "calibrated-swap", "untrained"}
    assert wanted < {row["model"] for row in report["results"]}
    assert wanted < {row["model"] for row in report["speed"]}
    assert inspect_model(tmp_path / "out" / "calibrated-swap").has_chat_template
    before = (tmp_path / "out" / "pairs" / "pairs.jsonl").read_bytes()
    stamp = (tmp_path / "out" / "calibrated-swap" / "config.json").stat().st_mtime_ns
    again = adapt(settings(resume=True)).to_json()
    assert again["calibrate"] == report["calibrate"]
    assert (tmp_path / "out" / "pairs" / "pairs.jsonl").read_bytes() == before
    assert (tmp_path / "out" / "calibrated-swap" / "config.json").stat().st_mtime_ns == stamp


def test_what_cannot_be_calibrated_is_refused_before_the_first_stage(settings, tiny, tmp_path):
    with pytest.raises(ConfigError, match="nothing is calibrated"):
        adapt(settings(calibrate=False))
    base = tiny()
    with pytest.raises(ConfigError, match="has no chat template"):
        adapt(settings(base=str(base), instruct=str(tiny(sibling_of=base))))
    assert not (tmp_path / "out").exists()
