"""Tasks of lm-evaluation-harness: found by name among its own and in the user's folder, checked before any of them is made.

A task file of the harness can be a program: a `!function` tag or a `class` imports Python from beside it, a metric that the harness
does not know is fetched from the Hugging Face hub and run, templates can reach Python objects. The harness's own tasks are part of an installed library.
Files of a folder that the user names are data to us: such keys are refused before the harness reads them, and all templates are
rendered in jinja's sandbox. Data sets are never allowed to run code.

lm-eval is an extra. Importing it takes seconds, so it happens inside functions; finding a task by name does not make the harness
parse its 14,000 files, only the folders that mention the name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lep_core.errors import ConfigError, CorpusError, ResourceError

INSTALL = 'pip install "lep-studio[lm-eval]"'
# The seed that the harness itself gives to the choice of few-shot examples.
SHOTS_SEED = 1234
_CODE_KEYS = {
    "class": "is a Python class",
    "use_prompt": "takes its prompts from elsewhere (use_prompt)",
    "unsafe_code": "runs what the model writes (unsafe_code)",
    "trust_remote_code": "lets its data set run code (trust_remote_code)",
    "custom_dataset": "makes its data set with Python (custom_dataset)",
}
_PLAIN_TAG = re.compile(r"^tag:yaml\.org,2002:(?!python)")
_NAMED = re.compile(rb"^(?:task|group|tag):[ \t]*[\"']?([\w.-]+)", re.MULTILINE)
_CLOSE_NAMES = 3
# Far above any real task; aliases make a small file say billions.
_MOST_VALUES = 100_000


@dataclass(frozen=True)
class HarnessTasks:
    """The harness's index of the wanted tasks, checked; `load` makes them."""

    manager: Any
    shots: int = 0
    limit: int | None = None

    def identity(self, name: str) -> list[Any]:
        """What the numbers of a task depend on besides the model, as JSON values: settings, task files, state of local data files."""
        from importlib.metadata import version

        entries = _leaves(self.manager.task_index, [name])
        files = [path for entry in entries for path in _paths_in((entry.cfg or {}).get("dataset_kwargs"))]
        states = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
        return [version("lm-eval"), self.shots, self.limit, {entry.name: repr(entry.cfg) for entry in entries}, states]

    def load(self, name: str) -> Any:
        """The harness's tasks and groups of one name, with their data sets.

        Raises:
            ResourceError: a data set is not on this machine, or a library is missing.
            ConfigError: the task cannot be made.
        """
        from jinja2 import TemplateError

        described = _data_sets(self.manager.task_index, name)
        try:
            loaded = self.manager.load([name])
        except (OSError, ConnectionError) as error:
            raise _missing_data(name, described) from error
        except ImportError as error:
            raise ResourceError(f"the task {name} needs the library {error.name or error}", "Install it with pip") from error
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, TemplateError) as error:
            if "find cache for" in str(error) or "find the dataset" in str(error):
                raise _missing_data(name, described) from error
            raise ConfigError("harness", f"the task {name} cannot be made: {_reason(error)}", "Mend its YAML file") from error
        for task_name, task in loaded["tasks"].items():
            if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
                what = "runs what the model writes" if getattr(task, "UNSAFE_CODE", False) else "needs images or sound"
                raise ConfigError("harness", f"the task {task_name} {what}, which LEP Studio does not do", "Leave it out")
            if self.shots and task.get_config("num_fewshot") != 0:
                task.set_config(key="num_fewshot", value=self.shots)
            elif task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=0)
            task.set_fewshot_seed(seed=SHOTS_SEED)
        return loaded


def find_tasks(names: Sequence[str], folder: str | Path | None = None, *, shots: int = 0, limit: int | None = None) -> HarnessTasks:
    """Find tasks, groups and tags by name; names in `folder` go before the harness's own.

    Args:
        shots: solved examples before each question; 0 = as many as the task itself says.
        limit: largest number of samples per task.

    Raises:
        ResourceError: lm-eval is not installed.
        ConfigError: a name is unknown, or a task asks for code.
        CorpusError: a file of the folder cannot be read.
    """
    _use_library()
    own = None if folder is None else _checked_folder(Path(folder))
    manager = _manager(names, own)
    index = manager.task_index
    for name in names:
        if name not in index:
            close = difflib.get_close_matches(name, {*index, *_all_names()}, n=_CLOSE_NAMES)
            hint = f"Did you mean {' or '.join(close)}?" if close else "`lm_eval ls tasks` lists the names"
            where = f", nor has {own}" if own is not None else ""
            raise ConfigError("harness", f"lm-evaluation-harness has no task {name}{where}", hint.removesuffix("?"))
        for member in _members(index, name):
            if member not in index:
                raise ConfigError("harness", f"{name} names the task {member}, which there is not", "Mend its YAML file")
    library = _library_folder()
    for entry in _leaves(index, names):
        _check_metrics(f"the task {entry.name}", entry.cfg or {}, library)
        if own is not None and entry.yaml_path is not None and entry.yaml_path.is_relative_to(own):
            # What was checked is what is used; a data file beside the YAML is found from any directory.
            entry.cfg, entry.yaml_path = _with_paths(entry.cfg, entry.yaml_path.parent), None
    return HarnessTasks(manager, shots, limit)


def _use_library() -> None:
    """Import lm-eval, quiet and with sandboxed templates."""
    try:
        import lm_eval.utils
    except ImportError as error:
        raise ResourceError("lm-evaluation-harness is not installed", f"Install it: {INSTALL}") from error
    import logging

    from jinja2 import TemplateRuntimeError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        def handle_exception(self, source: str | None = None) -> NoReturn:
            try:
                super().handle_exception(source)
            except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
                raise TemplateRuntimeError(f"{type(error).__name__}: {error}") from error

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    present: Any = lm_eval.utils.env
    if not isinstance(present, ImmutableSandboxedEnvironment):
        sandbox = Sandbox(loader=present.loader, undefined=present.undefined, keep_trailing_newline=True)
        sandbox.filters.update(present.filters)
        lm_eval.utils.env = sandbox


def _library_folder() -> Path:
    import lm_eval.tasks

    return Path(lm_eval.tasks.__file__).resolve().parent


def _manager(names: Sequence[str], own: Path | None) -> Any:
    """The harness's manager over the user's folder and those folders of the library that mention a name."""
    from lm_eval.tasks import TaskManager

    places = [own] if own is not None else []
    manager: Any = TaskManager(include_defaults=False, include_path=list(places))
    missing = [name for name in names if name not in manager.task_index]
    if missing:
        manager = TaskManager(include_defaults=False, include_path=[*_folders_with(missing), *places])
    if any(member not in manager.task_index for name in names for member in _members(manager.task_index, name)):
        # A group of tasks from other folders: only the whole index knows them.
        manager = TaskManager(include_defaults=True, include_path=list(places))
    return manager


def _folders_with(names: Iterable[str]) -> list[Path]:
    root = _library_folder()
    wanted = [name.encode() for name in names]
    found: dict[Path, None] = {}
    for path in sorted(root.glob("*/**/*.yaml")):
        folder = root / path.relative_to(root).parts[0]
        if folder not in found and any(name in path.read_bytes() for name in wanted):
            found[folder] = None
    return list(found)


def _all_names() -> set[str]:
    return {name.decode() for path in _library_folder().glob("*/**/*.yaml") for name in _NAMED.findall(path.read_bytes())}


def _members(index: Mapping[str, Any], name: str) -> Iterator[str]:
    """Names that a group refers to, through groups; a group's inline tasks are its own.

    Raises:
        ConfigError: a group holds itself.
    """
    yield from _members_below(index, name, (name,))


def _members_below(index: Mapping[str, Any], name: str, above: tuple[str, ...]) -> Iterator[str]:
    entry = index.get(name)
    listed = (entry.cfg or {}).get("task") if entry is not None else None
    for one in listed if isinstance(listed, list) else []:
        member = one if isinstance(one, str) else (one.get("task") or one.get("group")) if isinstance(one, Mapping) else None
        if isinstance(member, str) and (isinstance(one, str) or "output_type" not in one):
            if member in above:
                raise ConfigError("harness", f"the group {member} holds itself", "Mend its YAML file")
            yield member
            yield from _members_below(index, member, (*above, member))


def _leaves(index: Mapping[str, Any], names: Iterable[str]) -> list[Any]:
    """Entries of all tasks behind names, groups and tags."""
    found: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        entry = index.get(name)
        if entry is None or name in found:
            continue
        found[name] = entry
        waiting += [*_members(index, name), *(entry.tags if entry.cfg is None else ())]
    return [entry for entry in found.values() if entry.cfg is not None]


def _check_metrics(where: str, config: Mapping[str, Any], library: Path | None) -> None:
    """Refuse metrics that the harness would fetch from the hub, or load from a path, and run; `library` may hold functions of its own."""
    from lm_eval.api import metrics  # noqa: F401 - fills the registry
    from lm_eval.api.registry import aggregation_registry, metric_registry

    if library is not None and config.get("process_results") is not None:
        return
    for one in config.get("metric_list") or []:
        metric = one.get("metric") if isinstance(one, Mapping) else None
        if isinstance(metric, str) and (one.get("hf_evaluate") is True or metric not in metric_registry):
            if library is not None and Path(metric).is_relative_to(library):
                continue
            raise ConfigError(
                "harness",
                f"{where} counts with {metric}, which is not a metric of the harness itself",
                "Choose another; no code is fetched",
            )
        aggregation = one.get("aggregation") if library is None and isinstance(one, Mapping) else None
        if aggregation is not None and aggregation not in tuple(aggregation_registry):
            raise ConfigError("harness", f"{where} has no aggregation {aggregation!r:.80}", f"Known are {', '.join(aggregation_registry)}")


def _checked_folder(folder: Path) -> Path:
    """The resolved folder; every YAML file in it is plain data."""
    import yaml

    if not folder.is_dir():
        raise ConfigError("harness_path", f"{folder} is not a folder", "Give a folder with the YAML files of tasks")
    files = sorted(folder.rglob("*.yaml"))
    if not files:
        raise ConfigError("harness_path", f"{folder} holds no .yaml file", "Give a folder with the YAML files of tasks")
    seen: set[Path] = set()
    waiting = [file.resolve() for file in files]
    while waiting:
        file = waiting.pop(0)
        if file in seen:
            continue
        seen.add(file)
        try:
            text = file.read_text(encoding="utf-8")
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                tag = getattr(event, "tag", None)
                if tag not in (None, "!") and not _PLAIN_TAG.match(tag):
                    raise _code(f"{file}, line {event.start_mark.line + 1}", f"runs Python code ({tag})")
            values = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
            raise CorpusError(f"{file} cannot be read as YAML: {_reason(error)}", "Mend the file") from error
        _check_values(file, values)
        waiting += [(file.parent / one).resolve() for one in _checked_names(file, values)]
    return folder.resolve()


def _checked_names(file: Path, values: Any) -> list[str]:
    """The files that a task file includes; its names, and theirs, are texts."""
    if not isinstance(values, Mapping):
        return []
    included = values.get("include") or []
    listed = [included] if isinstance(included, str) else included
    wrong = next((key for key in ("task", "group", "tag") if not isinstance(values.get(key), str | list | None)), None)
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        wrong = "include"
    if wrong is not None:
        raise CorpusError(f'{file} has no text, or list of texts, under the key "{wrong}"', "Mend the file")
    return listed


def _check_values(file: Path, values: Any) -> None:
    """Refuse whatever would run code anywhere in a task file, and values without an end."""
    waiting, left = [(values, True)], _MOST_VALUES
    while waiting:
        value, is_setting = waiting.pop()
        if (left := left - 1) < 0:
            raise CorpusError(f"{file} holds more than {_MOST_VALUES:,} values, or one that holds itself", "Write them without aliases")
        if isinstance(value, list):
            waiting += [(inner, is_setting) for inner in value]
        elif isinstance(value, Mapping):
            if is_setting:
                _check_settings(file, value)
            waiting += [(inner, is_setting and key not in ("metadata", "samples")) for key, inner in value.items()]


def _check_settings(file: Path, settings: Mapping[Any, Any]) -> None:
    _check_metrics(str(file), settings, None)
    for key, what in _CODE_KEYS.items():
        if settings.get(key) not in (None, False):
            raise _code(str(file), what)


def _with_paths(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The task with local data files named in full where they lie beside its YAML file."""

    def full(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: full(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [full(inner) for inner in value]
        return str(folder / value) if isinstance(value, str) and (folder / value).exists() else value

    changed = dict(config)
    options = changed.get("dataset_kwargs")
    if isinstance(options, Mapping):
        changed["dataset_kwargs"] = {key: full(value) if key in ("data_files", "data_dir") else value for key, value in options.items()}
    if isinstance(path := changed.get("dataset_path"), str) and (folder / path).is_dir():
        changed["dataset_path"] = str(folder / path)
    return changed


def _paths_in(value: Any) -> list[Path]:
    """Files of this machine that are named anywhere in a setting."""
    if isinstance(value, Mapping):
        return [path for inner in value.values() for path in _paths_in(inner)]
    if isinstance(value, list):
        return [path for inner in value for path in _paths_in(inner)]
    return [Path(value)] if isinstance(value, str) and Path(value).is_file() else []


def _data_sets(index: Mapping[str, Any], name: str) -> str:
    """The data sets behind a name, in words."""
    found: dict[str, None] = {}
    for entry in _leaves(index, [name]):
        path, part = entry.cfg.get("dataset_path"), entry.cfg.get("dataset_name")
        files = (entry.cfg.get("dataset_kwargs") or {}).get("data_files")
        if isinstance(path, str):
            found[str(files) if files else f"{path} ({part})" if part else path] = None
    return f"the data set {', '.join(list(found)[:_CLOSE_NAMES])}" if found else ""


def _missing_data(name: str, described: str) -> ResourceError:
    return ResourceError(
        f"the task {name} needs {described or 'a data set'}, which is not on this machine",
        "Run it once while online, or copy the Hugging Face cache here, or leave the task out",
    )


def _code(where: str, what: str) -> ConfigError:
    return ConfigError("harness_path", f"{where} {what}, and code of a task folder is never run", "Write the task without it")


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
