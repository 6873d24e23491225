"""The app without its pages: `python tests/faults/backend.py WORKSPACE` takes the workspace, adopts its jobs and hands out turns until it is killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lep_core.jobs.queue import JobQueue
from lep_core.runs.workspace import Workspace
from tests.jobs.conftest import child_of

if __name__ == "__main__":
    workspace = Workspace(Path(sys.argv[1]))
    with workspace.lock():
        queue = JobQueue(workspace, command_for=child_of)
        queue.start()
        print("serving", flush=True)
        while True:
            time.sleep(60)
