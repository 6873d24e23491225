"""The workspace: a folder of projects; each project holds its settings, its corpora and its runs.

    workspace/<project>/project.json         name, base, instruct, language, settings
    workspace/<project>/corpora/<run id>/    results of `add-corpus` runs lie here at once, where later stages find them
    workspace/<project>/runs/<verb>-<time>-<id>/

A project's id is made from its name and is safe as a folder name; the name itself is kept as it was typed. Ids that come from
outside are checked, so that no id leads out of the workspace.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lep_core import pipeline
from lep_core.config import Config, field_type, is_repeatable
from lep_core.errors import ConfigError, InputError, JobError
from lep_core.files import PARTIAL_PREFIX, atomic_folder, make_folder, translated_errors, write_json
from lep_core.runs.lock import FileLock, LockHeld
from lep_core.runs.run import RUN_FILE, Run, read_json_if_whole

PROJECT_FILE = "project.json"
LONGEST_NAME = 200
LONGEST_ID = 48
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_CYRILLIC = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґў",
        "a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh shch - y - e yu ya i yi ye g u".replace("-", "").split(" "),
        strict=True,
    )
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Something a form can offer: `ref` is what a config takes, `label` is for people, `kind` says where it comes from."""

    ref: str
    label: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus folder of a project; `info` is its corpus.json."""

    id: str
    path: Path
    label: str
    info: dict[str, Any]


class Workspace:
    """A folder of projects.

    Args:
        path: the folder; made when `create` is True.
        create: False opens a workspace for reading only.

    Raises:
        OutputError: the folder cannot be written to (found out at once, not with the first job).
        InputError: there is no such folder and `create` is False.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = Path(path).absolute()
        if create:
            with translated_errors(self.path):
                make_folder(self.path)
                with tempfile.NamedTemporaryFile(prefix=PARTIAL_PREFIX, dir=self.path):
                    pass
        elif not self.path.is_dir():
            raise InputError(f"there is no workspace {self.path}", "Give --workspace DIR")

    def lock(self) -> FileLock:
        """Make this process the only one that runs jobs here; JobError names the holder. Lasts until `release()` or exit."""
        try:
            return FileLock(self.path / ".lock")
        except LockHeld as held:
            raise JobError(
                f"the workspace {self.path} is in use by {held.who()}", "Use that one, close it, or choose another workspace"
            ) from None

    def projects(self) -> list[Project]:
        """All projects, by name."""
        found = [Project(path) for path in self.path.iterdir() if _ID.fullmatch(path.name) and (path / PROJECT_FILE).is_file()]
        return sorted(found, key=lambda project: (project.name.casefold(), project.id))

    def project(self, project_id: str) -> Project:
        """The project with this id; InputError when there is none."""
        path = self.path / _safe_id(project_id, "project")
        if not (path / PROJECT_FILE).is_file() or path.resolve().parent != self.path.resolve():
            known = ", ".join(project.id for project in self.projects()) or "none yet"
            raise InputError(f"there is no project {project_id!r} in {self.path}", f"Known projects: {known}")
        return Project(path)

    def find_project(self, name_or_id: str) -> Project | None:
        """The project with this id or name, or None."""
        return next((item for item in self.projects() if name_or_id in (item.id, item.name)), None)

    def create_project(self, name: str, *, base: str | None = None, instruct: str | None = None, language: str | None = None) -> Project:
        """A new project; its id is the name's slug, with a number when that is taken."""
        name = " ".join(name.split())
        if not name or len(name) > LONGEST_NAME:
            raise ConfigError("name", f"the project name has {len(name)} characters", f"Give 1 to {LONGEST_NAME} characters")
        record = {"name": name, "created": time.time(), "base": base, "instruct": instruct, "language": language, "settings": {}}
        stem = slug(name)
        for number in range(1, 10_000):
            path = self.path / (stem if number == 1 else f"{stem}-{number}")
            with translated_errors(path):
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                (path / "corpora").mkdir()
                (path / "runs").mkdir()
                write_json(path / PROJECT_FILE, record)
            return Project(path)
        raise ConfigError("name", f"there are too many projects called {name}", "Choose another name")

    def runs(self) -> list[Run]:
        """The runs of all projects, newest first."""
        return _newest_first(run for project in self.projects() for run in project.runs())

    def run(self, reference: str) -> Run:
        """The run with this id in any project, or at this path."""
        if _ID.fullmatch(reference):
            for project in self.projects():
                if (project.path / "runs" / reference / RUN_FILE).is_file():
                    return Run(project.path / "runs" / reference)
            raise JobError(f"there is no run {reference} in {self.path}", "`lep runs` lists them")
        return Run.open(reference)


class Project:
    """One project: what is adapted, from which text, and every run made for it. Properties read the files anew."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Project({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Project) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def record(self) -> dict[str, Any]:
        """project.json; what is of another type than we write is left out, so that one damaged file does not hide all projects."""
        record = read_json_if_whole(self.path / PROJECT_FILE) or {}
        types = {"name": str, "base": str, "instruct": str, "language": str, "settings": dict}
        return {key: value for key, value in record.items() if isinstance(value, types.get(key, object))}

    @property
    def name(self) -> str:
        return self.record.get("name") or self.id

    @property
    def base(self) -> str | None:
        return self.record.get("base")

    @property
    def instruct(self) -> str | None:
        return self.record.get("instruct")

    @property
    def language(self) -> str | None:
        return self.record.get("language")

    @property
    def settings(self) -> dict[str, Any]:
        """Free settings: what forms remember."""
        return self.record.get("settings") or {}

    def update_settings(self, **changes: Any) -> None:
        """Change name, base, instruct or language; every other name goes into `settings` (None removes it there)."""
        own = {key: changes.pop(key) for key in ("name", "base", "instruct", "language") if key in changes}
        with FileLock(self.path / ".lock", wait_seconds=5):
            record = self.record
            settings = {**(record.get("settings") or {}), **changes}
            record |= own | {"settings": {key: value for key, value in settings.items() if value is not None}}
            write_json(self.path / PROJECT_FILE, record)

    def runs(self, verb: str | None = None) -> list[Run]:
        """The runs of the project, newest first."""
        found = (Run(path) for path in self.run_folders())
        return _newest_first(run for run in found if run.whole and (verb is None or run.verb == verb))

    def run_folders(self) -> list[Path]:
        """Where the runs lie, in no order and unread."""
        folder = self.path / "runs"
        return [folder / name for name in os.listdir(folder) if _ID.fullmatch(name)] if folder.is_dir() else []

    def run(self, run_id: str) -> Run:
        """The run with this id; JobError when there is none."""
        path = self.path / "runs" / _safe_id(run_id, "run")
        if not (path / RUN_FILE).is_file():
            raise JobError(f"there is no run {run_id} in the project {self.name}", "Choose one of the list")
        return Run(path)

    def create_run(
        self,
        verb: str,
        values: Mapping[str, Any],
        inputs: Mapping[str, str] | None = None,
        after: Iterable[str] = (),
        *,
        prepared: bool = False,
    ) -> Run:
        """Write a new run directory; it appears in one step and is queued from then on (unless `prepared`).

        `output` and `checkpoints` of the config are filled in: inside the run directory, but the output of `add-corpus` is
        `corpora/<run id>` of the project. Paths that exist are made absolute, since the run starts in another folder.

        Raises:
            ConfigError: a setting cannot work.
            JobError: a run named in `after` is not in this project.
        """
        if verb not in pipeline.VERBS:
            raise ConfigError("verb", f"there is no verb {verb}", f"Choose one of: {', '.join(pipeline.VERBS)}")
        after = [self.run(item).id for item in after]
        created = time.time()
        # Milliseconds first, so that the names of runs made by one click sort in the order in which they were made.
        tail = f"{int(created * 1000) % 1000:03d}{secrets.token_hex(2)}"
        run_id = f"{verb}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(created))}-{tail}"
        path = self.path / "runs" / run_id
        config = self._complete(pipeline.VERBS[verb].config, verb, values, path)
        record = {
            "id": run_id,
            "verb": verb,
            "config": config.to_mapping(),
            "inputs": dict(inputs or {}),
            "after": after,
            "seed": getattr(config, "seed", None),
            "prepared": prepared,
            "created": created,
            "code_version": _code_version(),
        }
        with atomic_folder(path) as folder:
            write_json(folder / RUN_FILE, record)
        return Run(path)

    def corpora(self) -> list[Corpus]:
        """Finished corpora: those of `add-corpus`, and those made inside `adapt` and `demo` runs."""
        folders = [(path.name, path) for path in sorted((self.path / "corpora").glob("*")) if not path.name.startswith(".")]
        for run in self.runs():
            if run.verb in ("adapt", "demo") and run.output is not None:
                folders += [(f"{run.id}/{path.name}", path) for path in sorted(run.output.glob("*")) if not path.name.startswith(".")]
        found = []
        for corpus_id, path in folders:
            info = read_json_if_whole(path / "corpus.json")
            if info is not None:
                found.append(Corpus(id=corpus_id, path=path, label=self._corpus_label(corpus_id, path), info=info))
        return found

    def models(self) -> list[Choice]:
        """What a model picker offers: base, instruct, and the model folders that ended runs made, newest first."""
        chosen = [
            Choice(ref=ref, label=f"{kind}: {Path(ref).name}", kind=kind)
            for kind, ref in (("base", self.base), ("instruct", self.instruct))
            if ref
        ]
        return chosen + self._results("config.json")

    def tokenizers(self) -> list[Choice]:
        """What a tokenizer picker offers: the tokenizers of base and instruct, and all that ended runs made, newest first."""
        chosen = [
            Choice(ref=ref, label=f"{kind}: {Path(ref).name}", kind=kind)
            for kind, ref in (("base", self.base), ("instruct", self.instruct))
            if ref
        ]
        return chosen + self._results("tokenizer.json")

    def _results(self, file: str) -> list[Choice]:
        found = []
        for run in self.runs():
            # Results appear in one step when they are whole, whatever became of the run afterwards.
            if run.output is None or not run.output.is_dir() or run.discard_requested:
                continue
            for path in (run.output, *sorted(run.output.iterdir())):
                if (path / file).is_file() and not path.name.startswith("."):
                    part = "" if path == run.output else f" / {path.name}"
                    found.append(Choice(ref=str(path), label=f"{_described(run)}{part}", kind=run.verb))
        return found

    def _corpus_label(self, corpus_id: str, path: Path) -> str:
        run_path = self.path / "runs" / corpus_id.partition("/")[0]
        if not (run_path / RUN_FILE).is_file():
            return corpus_id
        run = Run(run_path)
        names = ", ".join(Path(item).name for item in run.config.get("input", ())[:3])
        return f"{names} ({_described(run)})" if run.verb == "add-corpus" else f"{_described(run)} / {path.name}"

    def _complete(self, config_class: type[Config], verb: str, values: Mapping[str, Any], path: Path) -> Config:
        names = {item.name for item in fields(config_class)}
        filled = dict(values)
        if "output" in names:
            filled["output"] = str(self.path / "corpora" / path.name if verb == "add-corpus" else path / "output")
        if "checkpoints" in names:
            filled["checkpoints"] = str(path / "checkpoints")
        config = config_class.from_mapping(filled)
        changes: dict[str, Any] = {}
        for item in fields(config_class):
            value = getattr(config, item.name)
            if item.metadata["kind"] in ("model", "tokenizer", "text", "items") and value:
                many = is_repeatable(field_type(config_class, item.name))
                changes[item.name] = tuple(map(_absolute, value)) if many else _absolute(value)
        return config.replace(**changes)


def slug(name: str) -> str:
    """A folder name for a project name: small Latin letters, digits and hyphens; Cyrillic is transliterated."""
    latin = "".join(_CYRILLIC.get(letter, letter) for letter in unicodedata.normalize("NFC", name).casefold())
    ascii_only = unicodedata.normalize("NFKD", latin).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:LONGEST_ID].strip("-") or "project"


def _safe_id(value: str, what: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InputError(f"{value!r} is no {what} id", "An id holds small Latin letters, digits and hyphens only")
    return value


def _newest_first(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: (run.created, run.id), reverse=True)


def _described(run: Run) -> str:
    variant = run.config.get("variant") or run.config.get("method")
    variant = ", ".join(variant) if isinstance(variant, list) else variant
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))
    return f"{run.verb}{f' {variant}' if variant else ''} {when} {run.id.rpartition('-')[2]}"


def _absolute(value: str) -> str:
    return str(Path(value).expanduser().absolute()) if Path(value).expanduser().exists() else value


def _code_version() -> str:
    from lep_core import __version__

    return __version__
