"""The demo's files are the same for the same seed, and nothing to be measured on occurs in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lep_core.demo.corpora import ITEMS_PER_LANGUAGE, DemoFiles, write_corpora, write_parallel
from lep_core.demo.world import ANSWER_SIGN, KINDS
from tests.demo.test_world import answer_of


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    return write_corpora(tmp_path_factory.mktemp("corpora"), seed=0)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(files: DemoFiles, tmp_path: Path) -> None:
    again, other = (write_corpora(tmp_path / str(seed), seed, russian_bytes=100_000, english_bytes=50_000) for seed in (0, 1))
    for name in ("russian_corpus", "english_corpus", "items"):
        # A smaller corpus is the beginning of a larger one.
        assert getattr(files, name).read_bytes().startswith(getattr(again, name).read_bytes().rstrip(b"\n"))
        assert getattr(files, name).read_bytes()[:1000] != getattr(other, name).read_bytes()[:1000]


def test_sizes_are_as_promised(files: DemoFiles) -> None:
    assert 1_000_000 <= files.russian_corpus.stat().st_size <= 3_000_000
    assert 250_000 <= files.english_corpus.stat().st_size <= 400_000


def test_items_are_right_balanced_and_different(files: DemoFiles) -> None:
    items = [json.loads(line) for line in files.items.read_text(encoding="utf-8").splitlines()]
    assert len({item["prompt"] for item in items}) == len(items) == 2 * ITEMS_PER_LANGUAGE
    for language in ("en", "ru"):
        kinds = [item["kind"] for item in items if item["language"] == language]
        assert len(kinds) == ITEMS_PER_LANGUAGE >= 200
        assert {kinds.count(kind) for kind in KINDS} == {ITEMS_PER_LANGUAGE // len(KINDS)}
    for item in items:
        assert answer_of(item["prompt"], item["language"]) == item["answer"]


def test_no_item_occurs_in_the_training_texts(files: DemoFiles) -> None:
    texts = files.russian_corpus.read_text(encoding="utf-8") + files.english_corpus.read_text(encoding="utf-8")
    lines = {line.split(ANSWER_SIGN)[0] for line in texts.splitlines()}
    items = [json.loads(line) for line in files.items.read_text(encoding="utf-8").splitlines()]
    assert not lines & {item["prompt"] for item in items}


def test_parallel_files_say_the_same_line_by_line(tmp_path: Path) -> None:
    english, russian = write_parallel(tmp_path, count=200)
    assert (english.name, russian.name) == ("en.txt", "ru.txt")
    pairs = list(zip(*(path.read_text(encoding="utf-8").splitlines() for path in (english, russian)), strict=True))
    assert len(pairs) == 200
    # Tasks end in their answers, and lists are equally long in both languages.
    for one, other in pairs:
        assert one.count(ANSWER_SIGN) == other.count(ANSWER_SIGN)
        assert one.count(":") == other.count(":")
