"""A project's settings as a file, a project made from such a file, and a copy of a project with or without its runs.

The settings file is JSON: what `project.json` holds, without runs and without texts. A copy has ids of its own for its runs, and its
records name the copied folders; results are immutable, so that they are linked and take no room twice.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lep_core.errors import InputError
from lep_core.files import PARTIAL_PREFIX, translated_errors, write_text
from lep_core.runs.run import LOCK_FILE, Run
from lep_core.runs.workspace import PROJECT_FILE, Project, Workspace

FORMAT, VERSION = "lep-studio-project", 1
MOST_BYTES = 1_000_000
REWRITTEN = (".json", ".jsonl")
APPENDED = (*REWRITTEN, ".txt", ".log")
"""Files that are changed in place or grow; all others of a run are replaced as a whole, so that a copy may share them."""
OWN_FOLDERS = ("files", "uploads", "chats")
_OWN_NAMES = ("base", "instruct", "language")


def settings_of(project: Project) -> dict[str, Any]:
    """What the settings file of a project holds."""
    own = {name: project.record.get(name) for name in ("name", *_OWN_NAMES)}
    return {"format": FORMAT, "version": VERSION, **own, "settings": project.settings}


def write_settings(project: Project, path: Path) -> Path:
    """Write the settings file of a project."""
    write_text(path, json.dumps(settings_of(project), ensure_ascii=False, indent=2) + "\n")
    return path


def read_settings(path: Path) -> dict[str, Any]:
    """The content of a settings file.

    Raises:
        InputError: it is no such file, or one of a newer version.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path.name} is too large for a settings file", "Give a file that was saved on the project tab")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name} cannot be read as JSON ({error})", "Give a file that was saved on the project tab") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"{path.name} holds no settings of a project", "Give a file that was saved on the project tab")
    if value.get("version") != VERSION:
        raise InputError(f"{path.name} has the version {value.get('version')!r}, this program knows {VERSION}", "Save the file anew")
    texts = [value.get(name) for name in ("name", *_OWN_NAMES)]
    if not all(item is None or isinstance(item, str) for item in texts) or not isinstance(value.get("settings", {}), dict):
        raise InputError(
            f"{path.name} holds something else than text where a name belongs", "Give a file that was saved on the project tab"
        )
    return value


def project_from(workspace: Workspace, settings: Mapping[str, Any], name: str = "") -> Project:
    """A new project with these settings; its name is `name`, else the one that the settings hold, with a number when that is taken."""
    called = _free_name(workspace, name or settings.get("name") or "Project")
    own = {key: settings.get(key) for key in _OWN_NAMES}
    project = workspace.create_project(called, **own)
    project.update_settings(**{str(key): value for key, value in settings.get("settings", {}).items() if key not in ("name", *_OWN_NAMES)})
    return project


def clone_project(workspace: Workspace, project: Project, name: str = "", *, with_runs: bool) -> Project:
    """A copy of a project: its settings and texts, and with `with_runs` also its ended runs, their results and the chats.

    Raises:
        ResourceError: the disk is full. What was copied until then is deleted.
    """
    made = project_from(workspace, settings_of(project), name or project.name)
    ended = [run for run in project.runs() if run.status().ended] if with_runs else []
    renamed = {run.id: _new_id(run.id) for run in ended}
    changes = _Changes(project.path, made.path, renamed)
    try:
        with translated_errors(made.path):
            for folder in OWN_FOLDERS if with_runs else OWN_FOLDERS[:2]:
                _copy(project.path / folder, made.path / folder, changes)
            for run in ended:
                _copy_run(run, project, made, changes)
            _rewrite(made.path / PROJECT_FILE, changes)
    except BaseException:
        shutil.rmtree(made.path, ignore_errors=True)
        raise
    return made


class _Changes:
    """Old folder -> new folder and old run ids -> new ones, in any text."""

    def __init__(self, old: Path, new: Path, renamed: Mapping[str, str]) -> None:
        self.renamed = renamed
        self._paths = {_in_json(old): _in_json(new), str(old): str(new)}
        found = [f'{re.escape(path)}(?=[/"])' for path in self._paths]
        found += [rf"\b{re.escape(run_id)}\b" for run_id in renamed]
        self._pattern = re.compile("|".join(found))

    def made_in(self, text: str) -> str:
        return self._pattern.sub(lambda match: self._paths.get(match[0]) or self.renamed[match[0]], text)


def _copy_run(run: Run, project: Project, made: Project, changes: _Changes) -> None:
    target = made.path / "runs" / changes.renamed[run.id]
    if run.output is not None and run.output.is_relative_to(project.path / "corpora") and run.output.is_dir():
        _copy(run.output, made.path / "corpora" / changes.renamed[run.id], changes)
    # Under a name that no reader looks at until it is whole.
    partial = target.with_name(f"{PARTIAL_PREFIX}{target.name}")
    _copy(run.path, partial, changes)
    os.replace(partial, target)


def _copy(source: Path, target: Path, changes: _Changes) -> None:
    if not source.is_dir():
        return
    shutil.copytree(source, target, copy_function=_share_or_copy, ignore=_left_out, symlinks=True, dirs_exist_ok=True)
    for path in target.rglob("*"):
        if path.suffix in REWRITTEN and path.is_file() and not path.is_symlink():
            _rewrite(path, changes)


def _left_out(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name in (LOCK_FILE, ".lock") or name.startswith(PARTIAL_PREFIX)]


def _share_or_copy(source: str, target: str) -> None:
    """Link a file that is never changed in place; copy all others, and where the file system has no links."""
    if Path(source).suffix not in APPENDED and not os.path.islink(source):
        try:
            os.link(source, target)
        except OSError:  # Another disk or a protected file: copying says what is really wrong.
            pass
        else:
            return
    shutil.copy2(source, target, follow_symlinks=False)


def _rewrite(path: Path, changes: _Changes) -> None:
    # Damaged bytes stay as they are.
    before = path.read_bytes()
    after = changes.made_in(before.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    if after != before:
        path.write_bytes(after)


def _in_json(path: Path) -> str:
    return json.dumps(str(path))[1:-1]


def _new_id(run_id: str) -> str:
    """Another id of the same verb and time: its order among its siblings, and so its number, stays."""
    return run_id[:-4] + secrets.token_hex(2) if re.fullmatch(r".*-[0-9]{3}[0-9a-f]{4}", run_id) else f"{run_id}-{secrets.token_hex(2)}"


def _free_name(workspace: Workspace, wished: str) -> str:
    """The name, or the first of "NAME 2", "NAME 3" ... that no project has."""
    taken = {project.name for project in workspace.projects()}
    numbered = (wished if number == 1 else f"{wished} {number}" for number in range(1, len(taken) + 2))
    return next(name for name in numbered if name not in taken)
