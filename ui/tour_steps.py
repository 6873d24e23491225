"""How far a project is on the path of nine steps: read from its runs and chats, nothing is remembered for it."""

from __future__ import annotations

from lep_core.runs.workspace import Project
from ui.material import finished
from ui.studio import TABS

DONE, NEXT, OPEN = "✔", "→", "○"
OPTIONAL = ("calibrate",)
VERBS = {
    "corpus": "add-corpus",
    "tokenizer": "build-tokenizer",
    "train": "train",
    "propagate": "propagate",
    "benchmark": "evaluate",
    "export": "export",
}
BY_ADAPT = ("corpus", "tokenizer", "train", "propagate", "benchmark")
"""Steps that a run of all stages has done when it has ended."""


def marks(project: Project) -> dict[str, str]:
    """Tab -> done, next or open. The next one is the first that is not done; steps that may be left out are never next."""
    done = {tab for tab, verb in VERBS.items() if finished(project, verb)}
    if project.base and project.instruct:
        done.add("project")
    if finished(project, "adapt"):
        done.update(BY_ADAPT)
    if any((project.path / "chats").glob("*.jsonl")):
        done.add("chat")
    if any(run.output is not None and (run.output / "config.json").is_file() for run in finished(project, "calibrate")):
        done.add("calibrate")
    following = next((tab for tab in TABS if tab not in done and tab not in OPTIONAL), None)
    return {tab: DONE if tab in done else NEXT if tab == following else OPEN for tab in TABS}
