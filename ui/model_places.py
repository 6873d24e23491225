"""The place of each model of a project in the list of colours: the same model has the same colour in every chart of every tab.

Originals come first, then what runs made, in the order in which they were made: a new result never changes the colour of an older one. Models
with a new vocabulary and no training yet are counted from the end of the list, since each training makes one.
"""

from __future__ import annotations

from lep_core.runs.workspace import Project
from ui.material import RESULTS

MAKERS = ("train", "propagate", "calibrate")


def model_places(project: Project) -> dict[str, int]:
    """Model folder -> its place; those at the end have negative ones."""
    found = [path for path in (project.instruct, project.base) if path]
    beginnings: list[str] = []
    for run in reversed(project.runs()):
        if run.output is None:
            continue
        if run.verb in MAKERS:
            found.append(str(run.output))
        elif run.verb == "initialize":
            beginnings.append(str(run.output))
        elif run.verb == "adapt" and run.output.is_dir():
            names = sorted(path.parent.name for path in run.output.glob("*/config.json"))
            found += [str(run.output / name) for name in names if name.startswith(RESULTS) or name == "untrained"]
    return {path: -1 - index for index, path in enumerate(beginnings)} | {path: index for index, path in enumerate(found)}
