"""How fast the page is: start, first page, tab switches and an idle page, in a real browser, beside a bare Gradio page of nine tabs.

    python -m benchmarks.page [--workspace FOLDER] [--port 7999]

The bare page has the same nine tabs with a line of text, a text field and a button in each: what Gradio itself takes in the browser.
Give a workspace with finished runs to measure what people see after their work. The browser is headless Chromium; its seconds are those
of its renderer process.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import main

ROOT = Path(__file__).resolve().parent.parent
BROWSER = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
SETTLED_SECONDS = 2.5
TAB_BUTTONS = "#steps > .tab-wrapper [role=tab]"

BARE_PAGE = """
import os, sys
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr
with gr.Blocks(analytics_enabled=False) as page:
    with gr.Tabs(elem_id="steps"):
        for number in range(9):
            with gr.Tab(f"Tab {number + 1}", id=number, elem_id=f"tab-{number}"):
                gr.Markdown(f"Tab {number + 1}")
                box, button = gr.Textbox(label="Text"), gr.Button("Button", elem_classes=["last"])
                button.click(lambda text: text, box, box, api_visibility="private")
page.launch(server_port=int(sys.argv[1]), quiet=True, ssr_mode=False)
"""

# Runs in the page before everything else: notes for every click on a tab when its content was painted, and when it came to rest.
WATCH = """
window.switches = [];
addEventListener("click", event => {
    const button = event.target.closest && event.target.closest("#steps > .tab-wrapper [role=tab]");
    if (!button) return;
    const seen = {tab: button.getAttribute("aria-controls"), began: event.timeStamp, painted: null, settled: event.timeStamp};
    window.switches.push(seen);
    const panel = () => document.getElementById(seen.tab);
    const whole = () => {
        const last = panel() && panel().querySelector(":scope > .column > .last, :scope > .column > .next-step");
        return last && last.getClientRects().length > 0;
    };
    const look = () => {
        if (!whole()) return requestAnimationFrame(look);
        // The frame after the one in which everything is there has been painted.
        requestAnimationFrame(() => { const channel = new MessageChannel();
            channel.port1.onmessage = () => { seen.painted = seen.settled = performance.now(); };
            channel.port2.postMessage(0); });
    };
    requestAnimationFrame(look);
    new MutationObserver(changes => {
        if (seen.painted !== null && seen === window.switches[window.switches.length - 1] && panel() && changes.some(change => panel().contains(change.target))) seen.settled = performance.now();
    }).observe(document.body, {childList: true, subtree: true, characterData: true});
}, true);
"""


def bare(arguments: argparse.Namespace) -> dict[str, float]:
    """Nine tabs with next to nothing in them."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "bare.py"
        script.write_text(textwrap.dedent(BARE_PAGE), encoding="utf-8")
        return measure([sys.executable, str(script)], arguments, ready="#steps")


def studio(arguments: argparse.Namespace) -> dict[str, float]:
    """LEP Studio, with the demo project or the given workspace."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = arguments.workspace or str(Path(folder) / "workspace")
        command = [sys.executable, "app.py", "--workspace", workspace, "--port"]
        return measure(command, arguments, ready="#project-diagnosis table")


def measure(command: list[str], arguments: argparse.Namespace, *, ready: str) -> dict[str, float]:
    """Start a server and let a browser look at it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.browser, args=list(BROWSER))
        page = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 800}).new_page()
        page.add_init_script(WATCH)
        page.goto("about:blank")
        began = time.perf_counter()
        with server(command) as (process, address):
            answered = time.perf_counter() - began
            server_cpu = _cpu(process.pid)
            page.goto(address)
            page.locator(ready).first.wait_for(timeout=60_000)
            figures = {"seconds": time.perf_counter() - began, "cpu_seconds": server_cpu}
            figures |= {"memory_gib": 0.0, "memory_growth_gib": 0.0, "answers after s": answered}
            page.wait_for_timeout(SETTLED_SECONDS * 1000)
            renderer = _renderer(browser)
            figures["page, browser CPU-s"] = _cpu(renderer)
            for name in ("first", "second"):
                figures |= _switches(page, renderer, name, verbose=arguments.verbose)
            figures |= _idle(page, renderer, process.pid, arguments.idle)
        browser.close()
    return figures


@contextmanager
def server(command: list[str]) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    """The running server and its address, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([*command, str(port)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}/"
        while True:
            if process.poll() is not None:
                raise SystemExit(f"{command[1]} ended at once with exit code {process.returncode}")
            try:
                with urllib.request.urlopen(address, timeout=30):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        yield process, address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _switches(page: Any, renderer: int, name: str, *, verbose: bool) -> dict[str, float]:
    """Click on every tab but the one that is open, and end there again."""
    before = _cpu(renderer)
    buttons = page.locator(TAB_BUTTONS)
    page.evaluate("window.switches = []")
    for number in [*range(1, buttons.count()), 0]:
        buttons.nth(number).click()
        page.wait_for_timeout(SETTLED_SECONDS * 1000)
    seen = [item for item in page.evaluate("window.switches") if item["painted"]]
    painted = [item["painted"] - item["began"] for item in seen]
    settled = [item["settled"] - item["began"] for item in seen]
    if verbose:
        for item, one, other in zip(seen, painted, settled, strict=True):
            print(f"{name} {item['tab']}: {one:.0f} ms, at rest after {other:.0f} ms", file=sys.stderr)
    return {
        f"{name} switch, median ms": statistics.median(painted),
        f"{name} switch, max ms": max(painted),
        f"{name} switch at rest, max ms": max(settled),
        f"{name} switches, browser CPU-s": _cpu(renderer) - before,
    }


def _idle(page: Any, renderer: int, pid: int, seconds: float) -> dict[str, float]:
    """Shares of a core that a page costs that nobody touches."""
    browser, server_cpu, began = _cpu(renderer), _cpu(pid), time.perf_counter()
    page.wait_for_timeout(seconds * 1000)
    passed = time.perf_counter() - began
    return {"idle, browser core": (_cpu(renderer) - browser) / passed, "idle, server core": (_cpu(pid) - server_cpu) / passed}


def _renderer(browser: Any) -> int:
    """The process of the page: the renderer that has worked most."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    return max((item for item in processes if item["type"] == "renderer"), key=lambda item: item["cpuTime"])["id"]


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the work."""
    parser.add_argument("--workspace", help="a workspace with finished runs (default: a new one with the demo project)")
    parser.add_argument("--browser", default=os.environ.get("CHROMIUM", "/usr/bin/chromium"), help="path of Chromium")
    parser.add_argument("--idle", type=float, default=20, help="seconds to watch the idle page")
    parser.add_argument("--verbose", action="store_true", help="print every switch")


CONTENDERS: Mapping[str, Any] = {"bare Gradio page of nine tabs": bare, "LEP Studio": studio}

if __name__ == "__main__":
    main("The page", CONTENDERS, add_arguments)
