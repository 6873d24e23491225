"""Tokenizer: how well vocabularies fit the user's text, building a better one, and seeing what it does."""

from __future__ import annotations

from typing import Any

from lep_core.runs.workspace import Project
from ui.studio import Studio, TabParts
from ui.tabs import fertility, token_view, vocabulary


def build(studio: Studio) -> TabParts:
    """The tokenizer tab."""
    parts = [section.build(studio) for section in (fertility, vocabulary, token_view)]

    def refresh(project: Project) -> dict[Any, Any]:
        return {key: change for part in parts for key, change in part.refresh(project).items()}

    return TabParts([item for part in parts for item in part.outputs], refresh)
