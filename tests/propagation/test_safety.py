"""Whoever kills propagation sees the old state or the whole new one, and what cannot work is refused before a byte is written."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lep_core import files, pipeline
from lep_core.config import METHODS, PropagateConfig
from lep_core.errors import LepError, ModelError, OutputError, ResourceError, SiblingError
from lep_core.files import manifest_of
from lep_core.models import frozen_sha256, inspect_model, load_tokenizer, streams, writing
from lep_core.propagation import propagate as stage
from tests.factories import edit_json, load_weights, save_weights, tiny_tokenizer
from tests.propagation.test_propagate import OUTPUT, adapt, change_weights

Tiny = Callable[..., Path]


def config_for(base: Path, adapted: Path, instruct: Path, output: Path, **options: object) -> PropagateConfig:
    return PropagateConfig(base=str(base), adapted=str(adapted), instruct=str(instruct), output=str(output), **options)


def trio(tiny: Tiny, tmp_path: Path, **options: Any) -> tuple[Path, Path, Path]:
    base = tiny(**options)
    return base, adapt(base, tmp_path / "adapted"), tiny(sibling_of=base, chat=True, shards=options.get("shards", 1))


def kill_before(module: Any, name: str, *, call: int = 1) -> None:
    """Let this process be killed when it enters a function for the n-th time."""
    inner, calls = getattr(module, name), []

    def dying(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*arguments, **options)

    setattr(module, name, dying)


def run_in_a_fork(config: PropagateConfig, prepare: Callable[[], None]) -> int:
    """Exit status of a child process that propagates."""
    child = os.fork()
    if child == 0:
        prepare()
        try:
            pipeline.propagate(config)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


MOMENTS: dict[str, tuple[Callable[[], None], bool]] = {
    "while the first tokenizer file is written": (lambda: kill_before(writing, "_write_json"), False),
    "while a shard is copied": (lambda: kill_before(streams.FileWriter, "copy", call=3), False),
    "between two links": (lambda: kill_before(os, "link", call=2), False),
    "inside the embeddings": (lambda: kill_before(writing.ModelWriter, "_write_rows", call=2), False),
    "while the head is fitted": (lambda: kill_before(stage, "propagate_matrix", call=2), False),
    "before the index": (lambda: kill_before(writing.ModelWriter, "finish"), False),
    "while the result is proven": (lambda: kill_before(stage, "prove_written"), False),
    "before the flush": (lambda: kill_before(files, "_fsync_tree"), False),
    "before the rename": (lambda: kill_before(files, "_replace_folder"), False),
    "after the rename": (lambda: kill_before(files, "fsync_folder", call=2), True),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_propagation_leaves_nothing_half_written(tiny: Tiny, tmp_path: Path, moment: str) -> None:
    base, adapted, instruct = trio(tiny, tmp_path, shards=4)
    before = manifest_of(instruct)
    config = config_for(base, adapted, instruct, tmp_path / "out")
    prepare, done = MOMENTS[moment]
    status = run_in_a_fork(config, prepare)
    assert os.WIFSIGNALED(status)
    assert (tmp_path / "out").exists() == done
    assert manifest_of(instruct) == before
    if not done:
        # Restartable, whatever lies beside it.
        pipeline.propagate(config)
    assert inspect_model(tmp_path / "out").tokenizer_size
    assert (tmp_path / "out" / pipeline.REPORT_FILE).is_file()


def test_an_earlier_result_stays_until_the_new_one_is_whole(tiny: Tiny, tmp_path: Path) -> None:
    base, adapted, instruct = trio(tiny, tmp_path)
    pipeline.propagate(config_for(base, adapted, instruct, tmp_path / "out", method="swap"))
    before = manifest_of(tmp_path / "out")
    config = config_for(base, adapted, instruct, tmp_path / "out", overwrite=True)
    assert os.WIFSIGNALED(run_in_a_fork(config, lambda: kill_before(files, "_fsync_tree")))
    assert manifest_of(tmp_path / "out") == before


@pytest.mark.parametrize("method", METHODS)
def test_two_runs_write_the_same_bytes(tiny: Tiny, tmp_path: Path, method: str) -> None:
    base, adapted, instruct = trio(tiny, tmp_path, shards=3)
    manifests = []
    for name in ("one", "two"):
        pipeline.propagate(config_for(base, adapted, instruct, tmp_path / name, method=method))
        manifests.append({file: facts for file, facts in manifest_of(tmp_path / name).items() if file != pipeline.REPORT_FILE})
    assert manifests[0] == manifests[1]


def without_head(folder: Path) -> None:
    weights = load_weights(folder)
    (folder / "model.safetensors").unlink()
    save_weights(folder, {name: value for name, value in weights.items() if name != OUTPUT})


def with_swapped_tokens(folder: Path) -> None:
    ids = load_tokenizer(folder).get_vocab()
    first, second = (token for token, number in ids.items() if number in (300, 301))
    text = (folder / "tokenizer.json").read_text()
    vocabulary = ids | {first: ids[second], second: ids[first]}
    definition = json.loads(text)
    definition["model"]["vocab"] = {token: vocabulary[token] for token in definition["model"]["vocab"]}
    (folder / "tokenizer.json").write_text(json.dumps(definition))


REFUSED: dict[str, tuple[str, Callable[[Path], object], type[LepError], str]] = {
    "another old vocabulary": ("instruct", with_swapped_tokens, SiblingError, "has id 30[01] in the base and 30[01] in the instruct"),
    "another vocabulary altogether": ("base", lambda p: tiny_tokenizer(p, vocab_size=390), SiblingError, "ordinary tokens more"),
    "a missing head": ("instruct", without_head, ModelError, "lack lm_head.weight"),
    "a missing head of the base": ("base", without_head, ModelError, "lack lm_head.weight"),
    "pickle weights": ("base", lambda p: (p / "model.safetensors").rename(p / "pytorch_model.bin"), ModelError, "only pickle weights"),
    "NaN": (
        "instruct",
        lambda p: change_weights(p, lambda name, value: value.index_fill(0, torch.tensor([5]), torch.nan) if name == OUTPUT else value),
        ModelError,
        "lm_head.weight of .* holds NaN or infinity, first in row 5",
    ),
    "no tokenizer": ("adapted", lambda p: (p / "tokenizer.json").unlink(), SiblingError, "has no tokenizer.json"),
    "a truncated file": ("base", lambda p: os.truncate(p / "model.safetensors", 100_000), ModelError, "truncated or damaged"),
    "another depth": ("base", lambda p: edit_json(p / "config.json", num_hidden_layers=1), ModelError, "hold layer 1"),
    "a quantized model": ("instruct", lambda p: edit_json(p / "config.json", quantization_config={"bits": 4}), ModelError, "quantized"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_bad_input_is_refused_before_a_byte_is_written(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    base, adapted, instruct = trio(tiny, tmp_path)
    role, spoil, error, message = REFUSED[fault]
    spoil({"base": base, "adapted": adapted, "instruct": instruct}[role])
    monkeypatch.setattr(stage, "propagate_matrix", lambda *_, **__: pytest.fail("a fit was begun"))
    with pytest.raises(error, match=message) as caught:
        pipeline.propagate(config_for(base, adapted, instruct, tmp_path / "out"))
    assert caught.value.hint
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(f"{files.PARTIAL_PREFIX}*"))


@pytest.mark.parametrize("place", ["inside the instruct model", "above the models", "the base model", "below a file", "in /proc", "used"])
def test_an_output_that_cannot_be_is_refused_before_a_fit(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    base, adapted, instruct = trio(tiny, tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "letter.txt").write_text("mine")
    outputs = {
        "inside the instruct model": instruct / "out",
        "above the models": tmp_path,
        "the base model": base,
        "below a file": tmp_path / "file" / "out",
        "in /proc": Path("/proc/out"),
        "used": tmp_path / "used",
    }
    monkeypatch.setattr(stage, "propagate_matrix", lambda *_, **__: pytest.fail("a fit was begun"))
    with pytest.raises(OutputError):
        pipeline.propagate(config_for(base, adapted, instruct, outputs[place], overwrite=place == "used"))
    assert (tmp_path / "used" / "letter.txt").read_text() == "mine"


def test_a_disk_that_is_too_small_is_refused_before_a_fit(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, adapted, instruct = trio(tiny, tmp_path)
    usage = files.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    monkeypatch.setattr(stage, "propagate_matrix", lambda *_, **__: pytest.fail("a fit was begun"))
    with pytest.raises(ResourceError, match=r"0\.00 GiB free, this needs 0\.0"):
        pipeline.propagate(config_for(base, adapted, instruct, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_leaves_nothing(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, adapted, instruct = trio(tiny, tmp_path, shards=3)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(streams.os, "write", full)
    with pytest.raises(ResourceError, match="disk is full"):
        pipeline.propagate(config_for(base, adapted, instruct, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(f"{files.PARTIAL_PREFIX}*"))


def test_where_links_are_impossible_files_are_copied(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, adapted, instruct = trio(tiny, tmp_path, shards=4)

    def refused(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refused)
    report = pipeline.propagate(config_for(base, adapted, instruct, tmp_path / "out")).to_json()
    assert (report["shards_linked"], report["shards_copied"]) == (0, 2)
    assert frozen_sha256(tmp_path / "out") == frozen_sha256(instruct)
    assert report["bytes_written"] == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors"))
