"""Executes a run with a small stage in place of training: `steps` steps of 20 ms, and a line in `started.txt` for each start.

The model's name picks what happens: "ok", "bad" (a mendable error), "deaf" (never asks whether to stop), "dies" (no outcome).
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lep_core import pipeline
from lep_core.errors import ModelError
from lep_core.execute import execute


@dataclass(frozen=True)
class ChildReport:
    steps: int
    stopped: bool

    def to_json(self):
        return {"steps": self.steps, "stopped": self.stopped}


def stage(config, reporter):
    with open(Path(config.output).parent / "started.txt", "a") as file:
        file.write(f"{os.getpid()} {time.time()}\n")
    print("on stdout")
    if config.model == "bad":
        raise ModelError("the model is bad", "Take another")
    if config.model == "dies":
        os._exit(3)
    reporter.stage("stepping")
    for step in range(1, config.steps + 1):
        time.sleep(0.02)
        reporter.progress(step, config.steps, "steps")
        if config.model != "deaf" and reporter.should_stop():
            return ChildReport(step, True)
    return ChildReport(config.steps, False)


if __name__ == "__main__":
    for name in ("train", "add-corpus"):
        verb = pipeline.VERBS[name]
        pipeline.VERBS[name] = pipeline.Verb(name, pipeline.VERBS["train"].config if name == "train" else verb.config, stage, verb.light)
    sys.exit(execute(sys.argv[1]))
