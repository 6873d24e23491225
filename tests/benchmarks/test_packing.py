from __future__ import annotations

import argparse

import pytest

from benchmarks.packing import grouped_map, lep_studio
from tests.factories import SENTENCES, tiny_tokenizer


@pytest.fixture
def arguments(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(SENTENCES * 40))
    return argparse.Namespace(text=[text], tokenizer=tiny_tokenizer(tmp_path / "tokenizer"), megabytes=1.0, block=64)


def test_ours_drops_nothing_and_takes_two_bytes_a_token(arguments):
    figures = lep_studio(arguments)
    assert (figures["dropped"], figures["bytes/token"]) == (0, 2)
    assert figures["repeated"] <= 0.05


@pytest.mark.slow
def test_the_anchor_runs(arguments):
    figures = grouped_map(arguments)
    assert 0 < figures["dropped"] < 0.2
    assert figures["bytes/token"] > 4
