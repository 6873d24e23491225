"""Every hostile case ends in one clear sentence, or works; nothing is lost, executed, leaked or left behind.

A third of the cases belongs to `make test`, all of them to `make test-faults`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from lep_core.cli import main
from lep_core.config import base_type, field_type, flag
from lep_core.pipeline import VERBS
from tests.factories import tiny_model
from tests.forks import start
from tests.hostile import corpora, invented, models, others, tokenizers  # noqa: F401 - they fill the collection
from tests.hostile.case import CASES, Place

SECONDS = 60
# Whoever finds this in an output has found a leak.
TOKEN = "hf_" + "Secret" * 6


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(folder, name="base")
    return base, tiny_model(folder, name="instruct", sibling_of=base, chat=True)


def selected():
    return [
        pytest.param(one, id=f"{one.area}-{one.name}", marks=() if number % 3 == 0 else pytest.mark.faults)
        for number, one in enumerate(CASES)
    ]


def test_the_collection_is_large_and_its_names_are_unique():
    assert len(CASES) >= 120
    assert len({one.name for one in CASES}) == len(CASES)


@pytest.mark.parametrize("one", selected())
def test_a_hostile_case_ends_well(one, sources, tmp_path):
    place = Place(tmp_path, *sources)
    place.inputs.mkdir()
    words = [str(word) for word in one.build(place)]
    before = digests(place.inputs)
    untouched = digests(place.folder / "results")
    code, out, err = run(words, tmp_path)
    assert code in ((0, 2) if one.harmless else (2,)), f"exit code {code}\n{err[-2000:]}"
    assert "Traceback" not in err + out
    assert "panicked" not in out
    complaints = [line for line in err.splitlines() if line.startswith("error: ")]
    if code == 2:
        assert len(complaints) == 1, err[-2000:]
        assert len(complaints[0]) < 1000, "one clear sentence"
        assert not one.says or any(word.lower() in complaints[0].lower() for word in one.says), complaints[0]
        assert digests(place.folder / "results") == untouched, "what failed leaves nothing behind"
    assert digests(place.inputs) == before, "what the user gave stays as it was"
    assert not place.canary.exists(), "something of the input was executed or written where it wished"
    assert TOKEN not in out + err
    assert not leaks(tmp_path)


ABSURD = ("nan", "inf", "-inf", "1e999", "-1e308", "99999999999999999999999", "five", "", "0x10", "1_000_000_000_000_000_000_000")


@pytest.mark.parametrize("verb", VERBS)
def test_absurd_numbers_are_refused_with_their_flag(verb, capsys):
    for number, name in enumerate(numeric_settings(verb)):
        refuse(verb, name, ABSURD[number % len(ABSURD)], capsys)


@pytest.mark.faults
@pytest.mark.parametrize("verb", VERBS)
def test_every_absurd_number_is_refused_with_its_flag(verb, capsys):
    for name in numeric_settings(verb):
        for value in ABSURD:
            refuse(verb, name, value, capsys)


def numeric_settings(verb):
    config = VERBS[verb].config
    return [item.name for item in fields(config) if base_type(field_type(config, item.name)) in (int, float)]


def refuse(verb, name, value, capsys):
    required = [item.name for item in fields(VERBS[verb].config) if item.name != name and item.default is MISSING]
    given = [f"{flag(name)}={value}", *(word for other in required for word in (flag(other), "nothing-is-here"))]
    code = main([verb, *given])
    complaint = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2, given
    assert complaint.startswith("error: "), complaint
    assert flag(name) in complaint or name in complaint, complaint


def run(words: list[str], folder: Path) -> tuple[int | None, str, str]:
    """Exit code, standard output and standard error of a command in a process of its own."""
    process = start(call, words, str(folder), HF_TOKEN=TOKEN, HF_HUB_OFFLINE="1")
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode, *((folder / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr"))


def call(words: list[str], folder: str) -> int:
    for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
        stream.flush()
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT, 0o600), stream.fileno())
    code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def digests(folder: Path) -> dict[str, str]:
    """Digest of every regular file below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_symlink() or not path.is_file():
            found[str(path)] = "no file"
            continue
        with open(path, "rb") as stream:
            found[str(path)] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def leaks(folder: Path) -> list[Path]:
    """Files of results that hold the planted token."""
    return [path for path in (folder / "results").rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
