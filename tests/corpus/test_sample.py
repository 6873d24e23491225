"""A sample of a text, and the size of the rest."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lep_core.corpus import sample
from lep_core.corpus.sample import sample_text


def test_small_texts_are_counted_exactly(tmp_path: Path) -> None:
    text = "Старый дом стоит у реки.\n" * 3000
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as stream:
        stream.write(text)
    texts, size = sample_text((str(tmp_path / "a.txt"), str(tmp_path / "b.txt.gz")), sample_bytes=20_000)
    assert size == 2 * len(text.encode())
    assert 20_000 <= sum(len(part.encode()) for part in texts) < 40_000


def test_the_rest_of_a_large_text_is_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_READ_BYTES", 3_000_000)
    text = "Старый дом стоит у реки.\n" * 250_000
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert sample_text((str(tmp_path / "a.txt"),))[1] == pytest.approx(len(text.encode()), rel=0.4)
