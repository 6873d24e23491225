"""Fixtures that all tests share; everything runs offline, on one CPU thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))

import pytest  # noqa: E402


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """`tiny(**options)`: `tests.factories.tiny_model` below this test's own folder."""
    import torch

    from tests.factories import tiny_model

    torch.set_num_threads(1)
    return partial(tiny_model, tmp_path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of shared corpora and tokenizers beside the checkout; tests that want it are skipped without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared data beside the checkout")
    return folder
