"""The commands of README and documentation run as they are written, in their order, on the demo pair and with few steps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lep_core.cli import COMMANDS, main
from lep_core.demo.corpora import write_corpora, write_parallel
from lep_core.demo.path import ASSETS
from lep_core.pipeline import VERBS
from tests.docs_commands import commands_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
# README first: the pages after it begin with what it has made.
PAGES = ("README.md", "docs/tuning.md", "docs/calibration.md", "docs/evaluation.md", "docs/export.md", "docs/your-language.md")
# Less of everything: flags that are added behind those of the page, where the last one counts.
SMALL = {
    "build-tokenizer": ["--new-tokens", "100"],
    "sweep-learning-rate": ["--steps", "8", "--batch-size", "2", "--block-size", "64"],
    "train": ["--steps", "3", "--batch-size", "2", "--block-size", "64"],
    "preflight": ["--steps", "3", "--batch-size", "2", "--block-size", "64"],
    "calibrate": ["--steps", "2", "--batch-size", "2", "--limit", "4"],
    "evaluate": ["--limit", "4"],
    "benchmark-speed": ["--prompts", "1", "--characters", "40", "--repeats", "1"],
    "generate": ["--max-new-tokens", "8"],
}
PROMPTS = {"calibrate": ["--max-prompts", "12"]}
# Names that pages use for what README has made.
ALSO_CALLED = {"original": "instruct", "adapted": "result", "propagated": "result", "instruct-conversion": "result", "MODEL": "result"}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with everything that the pages take for granted."""
    folder = tmp_path_factory.mktemp("workshop")
    files = write_corpora(folder / "made", russian_bytes=60_000, english_bytes=30_000)
    for name in ("base", "instruct"):
        for place in (folder / name, folder / "models" / name):
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(ASSETS / name)
    (folder / "other-tokenizer").symlink_to(ASSETS / "base")
    for name, target in ALSO_CALLED.items():
        (folder / name).symlink_to(folder / target)
    for name in ("novels", "texts"):
        (folder / name).mkdir()
        shutil.copy(files.russian_corpus, folder / name)
    shutil.copy(files.english_corpus, folder / "english.txt")
    (folder / "heldout.txt").write_text("".join(files.russian_corpus.read_text(encoding="utf-8").splitlines(True)[:40]), encoding="utf-8")
    for name, path in zip(("eng.txt", "kat.txt"), write_parallel(folder / "made", count=20), strict=True):
        shutil.copy(path, folder / name)
    shutil.copy(files.prompts, folder / "prompts.jsonl")
    _items(folder / "items.jsonl", files.items)
    (folder / "my-items").mkdir()
    shutil.copy(folder / "items.jsonl", folder / "my-items")
    talks = [{"messages": [{"role": "user", "content": f"Повтори: {n}"}, {"role": "assistant", "content": f" {n}"}]} for n in range(30)]
    (folder / "conversations.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks), encoding="utf-8")
    return folder


def _items(path: Path, tasks: Path) -> None:
    """Items of every kind that a page asks for."""
    pairs = [{"good": "волк и лиса", "bad": "и волк лиса"} for _ in range(4)]
    answers = [{"prompt": "Повтори: волк.", "references": ["волк"]} for _ in range(4)]
    lines = tasks.read_text(encoding="utf-8").splitlines()[:8]
    path.write_text("\n".join([*lines, *map(json.dumps, [*pairs, *answers])]) + "\n", encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, workshop, monkeypatch, capsys):
    monkeypatch.chdir(workshop)
    ran = 0
    for _, words in commands_of(ROOT / page):
        verb = words[0]
        # What needs a large model or the network is only parsed, in tests/test_docs.py.
        if verb in COMMANDS or "--push-to" in words or any("Mistral" in word for word in words):
            continue
        given = [*words, *SMALL.get(verb, ()), *([] if "--data" in words else PROMPTS.get(verb, []))]
        if "output" in VERBS[verb].config.__dataclass_fields__ and "--output" in words:
            given.append("--overwrite")
        assert main(given) == 0, f"{' '.join(given)}\n{capsys.readouterr().err[-2000:]}"
        ran += 1
    assert ran
