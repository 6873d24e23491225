"""The demo project of an empty workspace: a tiny model pair and generated texts, so that every button works at once."""

from __future__ import annotations

import logging

from lep_core.demo.corpora import write_corpora, write_parallel
from lep_core.demo.path import demo_pair
from lep_core.demo.settings import DEMO_CALIBRATION, DEMO_SETTINGS
from lep_core.errors import ModelError
from lep_core.runs.workspace import Workspace

logger = logging.getLogger("lep.ui")

# A shorter speed test than usual: the demo is a first look, not a measurement for a paper.
SPEED_SETTINGS = {"prompts": 4, "characters": 200}


def make_demo_project(workspace: Workspace) -> None:
    """Make the demo project unless the workspace has projects already."""
    if workspace.projects():
        return
    try:
        base, instruct = demo_pair()
    except ModelError as error:
        logger.warning("no demo project: %s", error)
        return
    project = workspace.create_project("Demo", base=str(base), instruct=str(instruct), language="ru")
    files = write_corpora(project.path / "files", 0)
    parallel = write_parallel(project.path / "files" / "parallel", 0)
    project.update_settings(
        demo=True,
        text_files=[str(files.russian_corpus), str(files.english_corpus)],
        corpus_files=[str(files.russian_corpus)],
        replay_files=[str(files.english_corpus)],
        parallel_files=[str(path) for path in parallel],
        item_files=[str(files.items)],
        prompt_files=[str(files.prompts)],
        defaults=dict(DEMO_SETTINGS),
        calibrate=dict(DEMO_CALIBRATION),
        speed=dict(SPEED_SETTINGS),
    )
