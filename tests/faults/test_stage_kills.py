"""Every stage that writes a folder is killed at random moments: nothing half-written under the final name, and the next start gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import time
from pathlib import Path

import pytest

from lep_core.cli import main
from tests.factories import SENTENCES
from tests.forks import start

STAGES = ("add-corpus", "build-tokenizer", "initialize", "propagate", "export")
# What a report says of the run itself, not of the result.
PASSING = (
    "seconds",
    "peak_memory_gib",
    "created",
    "output",
    "overwrite",
    "bytes_linked",
    "bytes_copied",
    "started",
    "tokens_per_second",
    "proof_seconds",
)


@pytest.fixture
def chain(tiny, tmp_path):
    """Settings of every stage, with inputs that are there."""
    text = tmp_path / "text.jsonl"
    documents = ["\n".join(SENTENCES[start % 12 :] + SENTENCES[: start % 5]) for start in range(400)]
    text.write_text("\n".join(json.dumps({"text": document}) for document in documents), encoding="utf-8")
    base, instruct = tiny(name="base"), tiny(name="instruct", seed=1)
    tokenizer, rows = tmp_path / "tokenizer", tmp_path / "rows"
    assert call("build-tokenizer", "--base", base, "--input", text, "--new-tokens", 40, "--output", tokenizer) == 0
    assert call("initialize", "--base", base, "--tokenizer", tokenizer, "--output", rows) == 0
    return {
        "add-corpus": ("--input", text),
        "build-tokenizer": ("--base", base, "--input", text, "--new-tokens", 40),
        "initialize": ("--base", base, "--tokenizer", tokenizer),
        "propagate": ("--base", base, "--adapted", rows, "--instruct", instruct, "--method", "conversion"),
        "export": ("--model", rows),
    }


@pytest.mark.parametrize("verb", STAGES)
def test_two_kills_of_a_stage(verb, chain, tmp_path):
    kill_and_repeat(verb, chain[verb], tmp_path, kills=2, seed=1)


@pytest.mark.faults
@pytest.mark.parametrize("verb", STAGES)
def test_ten_kills_of_a_stage(verb, chain, tmp_path):
    assert kill_and_repeat(verb, chain[verb], tmp_path, kills=10, seed=2) >= 5


def kill_and_repeat(verb, options, folder, *, kills, seed):
    """How many of the kills hit the stage before its end."""
    randoms, hits = random.Random(seed), 0
    began = time.monotonic()
    undisturbed = start(call, verb, *options, "--output", folder / "whole" / "out")
    undisturbed.join(60)
    assert undisturbed.exitcode == 0
    seconds = time.monotonic() - began
    expected = contents(folder / "whole" / "out")
    place = folder / "killed"
    place.mkdir()
    for _ in range(kills):
        process = start(call, verb, *options, "--output", place / "out", "--overwrite")
        process.join(randoms.random() * seconds)
        process.kill()
        process.join()
        hits += process.exitcode == -signal.SIGKILL
        visible = [path.name for path in place.iterdir() if not path.name.startswith(".partial-")]
        assert visible in ([], ["out"])
        if visible:
            assert contents(place / "out") == expected, "what is visible is whole"
    last = start(call, verb, *options, "--output", place / "out", "--overwrite")
    last.join(60)
    assert last.exitcode == 0
    assert contents(place / "out") == expected
    assert [path.name for path in place.iterdir()] == ["out"], "what the killed left is gone"
    return hits


def contents(folder: Path) -> dict[str, str]:
    """Digest of each file; of reports without times and places."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if path.suffix == ".json" and any(word in data.decode("utf-8", "replace") for word in PASSING):
            data = json.dumps(lasting(json.loads(data)), sort_keys=True).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def lasting(value):
    if isinstance(value, dict):
        return {key: lasting(one) for key, one in value.items() if key not in PASSING and key != "created_at"}
    return [lasting(one) for one in value] if isinstance(value, list) else value


def call(*words):
    return main([str(word) for word in words])
