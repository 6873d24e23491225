"""Ask the public advisory data base about every pinned package: `make audit`.

Exit 1 names known vulnerabilities. A machine that cannot reach the data base (offline, or behind a mirror that has packages only) is told
how many packages nobody looked at, with exit 0: the check is then undone, and says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PIP_AUDIT = "pip-audit==2.10.1"
ROOT = Path(__file__).resolve().parent.parent
MINUTES = 5


def main() -> int:
    """Install pip-audit aside (it is not among the project's own packages) and run it over the pins."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--target", folder, PIP_AUDIT]
        try:
            installed = subprocess.run(pip, capture_output=True, text=True, timeout=MINUTES * 60)
            if installed.returncode != 0:
                print("audit: not done, pip-audit could not be installed")
                return 0
            audit = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "requirements.txt"), "--no-deps", "--disable-pip"]
            done = subprocess.run(
                [*audit, "--format", "json", "--progress-spinner", "off"],
                capture_output=True,
                text=True,
                timeout=MINUTES * 60,
                env=os.environ | {"PYTHONPATH": folder},
            )
        except subprocess.TimeoutExpired:
            print(f"audit: not done, no answer within {MINUTES} minutes")
            return 0
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"audit: not done, {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
        return 0
    return report(packages)


def report(packages: list[dict]) -> int:
    """Print what was found; 1 when there is a known vulnerability."""
    found = [(package, one) for package in packages for one in package.get("vulns", [])]
    for package, one in found:
        fixed = ", ".join(one.get("fix_versions", [])) or "no fixed version yet"
        print(f"audit: {package['name']} {package['version']}: {one['id']} ({fixed})")
    skipped = sum("skip_reason" in package for package in packages)
    print(
        f"audit: {len(packages) - skipped} packages looked up, {len(found)} known vulnerabilities, {skipped} packages not in the data base"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
