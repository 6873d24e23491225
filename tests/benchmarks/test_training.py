from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = "--vocabulary 500 --hidden 64 --layers 1 --tokens 64 --block 32 --steps 1 --repeats 1 --json"


@pytest.mark.slow
def test_every_contender_runs_at_a_tiny_size():
    command = [sys.executable, "-m", "benchmarks.training", *TINY.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    medians = json.loads(done.stdout.splitlines()[-1])["medians"]
    assert list(medians) == ["transformers Trainer", "LEP Studio"]
    assert all(figures["share of peak"] > 0 and figures["seconds"] > 0 for figures in medians.values())


def test_the_arithmetic_of_a_token_is_that_of_its_products():
    from argparse import Namespace

    from benchmarks.training import _gflop_per_token, _llama

    arguments = Namespace(shape="small", vocabulary=1000, hidden=128, layers=3, block=32)
    config = _llama(arguments)
    keys = 128 * config["num_key_value_heads"] // config["num_attention_heads"]
    body = 3 * (2 * 128 * 128 + 2 * 128 * keys + 3 * 128 * config["intermediate_size"])
    assert _gflop_per_token(arguments) == pytest.approx((2 * body + 2 * body + 3 * 2 * 1000 * 128) / 1e9)
