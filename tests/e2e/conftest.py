"""The app as a child process and a real browser in front of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.install_browser import find_chromium

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@dataclass
class App:
    """A running app."""

    port: int
    workspace: Path
    process: subprocess.Popen[bytes]
    log: Path
    external: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def stop(self) -> float:
        """Ask the app to end; seconds that it took."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        return time.monotonic() - start


def start_app(workspace: Path, log: Path) -> App:
    """Start `app.py` on a free port and wait until its page answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with open(log, "ab") as stream:
        command = [sys.executable, "app.py", "--port", str(port), "--workspace", str(workspace)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    app = App(port=port, workspace=workspace, process=process, log=log)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, f"the app ended at once:\n{log.read_text()}"
        try:
            with urllib.request.urlopen(app.address, timeout=5):
                return app
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    process.kill()
    raise AssertionError(f"the app did not answer within {START_SECONDS} s:\n{log.read_text()}")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("app")
    running = start_app(folder / "workspace", folder / "app.log")
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium; without one the tests are skipped with the reason, but never in continuous integration."""
    found = find_chromium()
    if found is None:
        reason = "no Chromium was found: set CHROMIUM=/path/to/chromium or run `make browser`"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield opened
        opened.close()


def new_page(chromium, app: App, *, locale: str = "en-US", scheme: str = "light"):
    """A page of its own browser session that notes outside requests and console errors in `app`."""
    # The page's content policy forbids eval, so waiting goes through locators and never through scripts.
    from playwright.sync_api import expect

    page = chromium.new_context(locale=locale, viewport={"width": 1280, "height": 800}, color_scheme=scheme).new_page()
    page.set_default_timeout(60_000)

    def on_request(request) -> None:
        if not request.url.startswith((app.address, "data:", "blob:")):
            app.external.append(request.url)

    page.on("request", on_request)
    page.on("console", lambda message: app.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: app.complaints.append(str(error)))
    page.goto(app.address)
    expect(page.locator("#project-select input")).to_have_value("Demo", timeout=60_000)
    return page
