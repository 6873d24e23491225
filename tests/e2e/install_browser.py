"""Make sure that the browser test has a Chromium: Playwright's own where it can be downloaded, else the distribution's.

Prints which one is there. Exits 0 even if none could be had: the test then says so, and fails in continuous integration.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

DISTRIBUTION_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Path of a Chromium that can be started: $CHROMIUM, Playwright's own, or the distribution's."""
    chosen = os.environ.get("CHROMIUM")
    if chosen and Path(chosen).is_file():
        return chosen
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if Path(own).is_file():
        return own
    return next((path for name in DISTRIBUTION_NAMES if (path := shutil.which(name))), None)


def main() -> None:
    found = find_chromium()
    if found is None:
        _try([sys.executable, "-m", "playwright", "install", "chromium"], seconds=300)
        found = find_chromium()
    if found is None and shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        _try([*sudo, "apt-get", "update", "-q"], seconds=300)
        _try([*sudo, "apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"], seconds=900)
        found = find_chromium()
    print(f"browser for the end-to-end test: {found or 'none could be installed'}", file=sys.stderr)


def _try(command: list[str], *, seconds: int) -> None:
    try:
        subprocess.run(
            command, check=False, timeout=seconds, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{' '.join(command)}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
