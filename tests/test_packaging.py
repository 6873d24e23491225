"""What `pip install .` installs is complete: both commands, the page's styles, the demo pair."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("lep_core", "ui", "assets", "app.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")


@pytest.mark.slow
def test_the_wheel_holds_the_program_its_styles_and_the_demo_pair(tmp_path):
    # Of a copy: building leaves its own folders behind.
    source = tmp_path / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        commands = next(archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert "lep = lep_core.cli:main" in commands
    assert "lep-studio = ui.server:main" in commands
    kept = [path.relative_to(ROOT) for folder in ("css", "demo") for path in (ROOT / "assets" / folder).rglob("*") if path.is_file()]
    modules = [path.relative_to(ROOT) for folder in ("lep_core", "ui") for path in (ROOT / folder).rglob("*.py")]
    assert {str(path) for path in [*kept, *modules]} <= names
    assert not [name for name in names if name.startswith(("tests/", "assets/screenshots/", "studies/", "benchmarks/"))]
