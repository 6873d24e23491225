"""The app's command line: help, refusals with one clear sentence, and light imports."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_help_lists_host_port_workspace_and_language():
    done = run("--help")
    assert done.returncode == 0
    for name in ("--host", "--port", "--workspace", "--language"):
        assert name in done.stdout


def test_an_address_that_others_can_reach_needs_a_login(tmp_path):
    done = run("--host", "0.0.0.0", "--port", "0", "--workspace", str(tmp_path / "w"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "LEP_USER" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--port", str(port), "--workspace", str(tmp_path / "w"))
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_workspace_that_cannot_be_a_folder_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    done = run("--port", "0", "--workspace", str(file / "w"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_the_page_is_built_without_heavy_imports():
    code = "import sys, ui.layout, ui.server; heavy = {'torch', 'transformers', 'datasets', 'plotly'} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("LEP_USER", "LEP_PASSWORD", "PORT", "HOST", "WORKSPACE")}
    return subprocess.run([sys.executable, "app.py", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
