"""Deleting runs and projects so that it can be undone: they are moved into a hidden folder beside the others, in one step.

    <workspace>/.trash/<project>           a deleted project
    <project>/.trash/<run>/run, corpus     a deleted run, and the corpus that it made

Nothing in the trash is listed, executed or offered. `empty` deletes it for good.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lep_core.errors import InputError, JobError
from lep_core.files import translated_errors
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project, Workspace

FOLDER = ".trash"
AGAIN = "--"
"""Between the id and a number when a project of the same id is in the trash already; no id holds it."""
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """Something in the trash: its id, its folder, when it was put there, its size."""

    id: str
    path: Path
    deleted: float
    size_bytes: int


def users_of(run: Run, project: Project) -> list[Run]:
    """Later runs of the project that name the result of this one, or wait for it."""
    folder = str(run.output or run.path / "output")
    return [other for other in project.runs() if other != run and (run.id in other.after or _names(other.config, folder))]


def delete_run(run: Run, project: Project) -> None:
    """Put an ended run and its result into the trash.

    Raises:
        JobError: the run has not ended, or a run that has not ended needs it.
    """
    status = run.status()
    if not (status.ended or (run.prepared and not run.started)):
        raise JobError(f"{run.id} is {status.state}", "Stop it first, or wait until it has ended")
    waiting = [other for other in users_of(run, project) if not other.status().ended]
    if waiting:
        raise JobError(f"{waiting[0].id} needs the result of {run.id}", "Stop it first, or wait until it has ended")
    place = project.path / FOLDER / run.id
    with translated_errors(place):
        place.mkdir(parents=True)
        if run.output is not None and run.output.parent == project.path / "corpora" and run.output.is_dir():
            os.replace(run.output, place / "corpus")
        os.replace(run.path, place / "run")
        os.utime(place)


def restore_run(run_id: str, project: Project) -> Run:
    """Put a deleted run back where it was."""
    place, target = _place(project.path, run_id), project.path / "runs" / run_id
    if target.exists():
        raise JobError(f"there is a run {run_id} already", "Delete that one first")
    with translated_errors(target):
        if (place / "corpus").is_dir():
            os.replace(place / "corpus", project.path / "corpora" / run_id)
        os.replace(place / "run", target)
        place.rmdir()
    return Run(target)


def delete_project(workspace: Workspace, project: Project) -> None:
    """Put a project with all its runs into the trash.

    Raises:
        JobError: one of its runs has not ended.
    """
    active = [run for run in project.runs() if not run.status().ended and not run.prepared]
    if active:
        raise JobError(f"{active[0].id} is {active[0].status().state}", "Stop it first, or wait until it has ended")
    place = workspace.path / FOLDER / project.id
    with translated_errors(place):
        place.parent.mkdir(exist_ok=True)
        number = 1
        while place.exists():
            number, place = number + 1, place.with_name(f"{project.id}{AGAIN}{number + 1}")
        os.replace(project.path, place)
        os.utime(place)


def restore_project(workspace: Workspace, project_id: str) -> Project:
    """Put a deleted project back; its folder must be free, because its records name it.

    Raises:
        JobError: a new project has taken the folder.
    """
    place, target = _place(workspace.path, project_id), workspace.path / project_id.partition(AGAIN)[0]
    if target.exists():
        raise JobError(f"there is a project {target.name} already", "Delete that one first")
    with translated_errors(target):
        os.replace(place, target)
    return Project(target)


def listing(folder: Path) -> list[Deleted]:
    """What is in the trash of a workspace or of a project, the newest first."""
    found = [item for item in (folder / FOLDER).glob("*") if item.is_dir() and _ID.fullmatch(item.name)]
    rows = [Deleted(id=item.name, path=item, deleted=item.stat().st_mtime, size_bytes=_size(item)) for item in found]
    return sorted(rows, key=lambda row: row.deleted, reverse=True)


def empty(folder: Path) -> None:
    """Delete everything in the trash of a workspace or of a project for good."""
    with translated_errors(folder / FOLDER):
        if (folder / FOLDER).is_dir():
            shutil.rmtree(folder / FOLDER)


def _place(folder: Path, name: str) -> Path:
    place = folder / FOLDER / name
    if not _ID.fullmatch(name) or not place.is_dir():
        raise InputError(f"{name} is not in the trash", "Choose one of the list")
    return place


def _names(value: object, folder: str) -> bool:
    if isinstance(value, str):
        return value == folder or value.startswith(f"{folder}/")
    if isinstance(value, dict):
        return any(_names(item, folder) for item in value.values())
    return isinstance(value, (list, tuple)) and any(_names(item, folder) for item in value)


def _size(folder: Path) -> int:
    """Bytes that are freed; files that something else links to stay on the disk and do not count."""
    entries = [item.stat() for item in folder.rglob("*") if item.is_file() and not item.is_symlink()]
    return sum(entry.st_size for entry in entries if entry.st_nlink == 1)
