"""One running app for all tests of this folder, which may not connect to the outside and holds a token that must not leave it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import App, chromium, start_app  # noqa: F401 - chromium is a fixture

# Whoever finds this anywhere has found a leak.
PLANTED = "hf_" + "PlantedToken" * 3


def guarded_environment(folder: Path) -> dict[str, str]:
    """Environment of an app that writes down every connection to the outside in `folder`/outside.txt."""
    paths = [str(Path(__file__).parent / "offline"), str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "LEP_OUTSIDE": str(folder / "outside.txt"), "HF_TOKEN": PLANTED}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with the demo project."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in guarded_environment(folder).items():
            patch.setenv(name, value)
        app = start_app(folder / "workspace", folder / "app.log")
    yield app
    if app.process.poll() is None:
        app.stop()
    outside = folder / "outside.txt"
    assert not outside.exists(), f"connections to the outside:\n{outside.read_text()}"
