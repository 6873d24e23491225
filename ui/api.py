"""The public interface of the running app: named and typed endpoints for programs (`gradio_client`, plain HTTP, MCP clients).

    from gradio_client import Client

    client = Client("http://127.0.0.1:7860", analytics_enabled=False)
    run = client.predict("demo", "measure-fertility", {"tokenizer": [...], "input": [...]}, api_name="/start_run")

Everything else on the page is private. The endpoints do what the page does, through the same run directories, queue and model
processes and behind the same protection; ids are checked, results always lie in the run's own folder, and no endpoint reads a file by
its path. What the user can mend comes back as one sentence. docs/api.md is tested against this module.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import inspect
import re
import typing
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, cast

import gradio as gr

from lep_core.config import base_type, field_type, is_repeatable
from lep_core.errors import ConfigError, InputError, JobError, LepError
from lep_core.inference.client import Event
from lep_core.inference.pool import WorkerPool
from lep_core.pipeline import VERBS
from lep_core.runs.metrics import json_safe
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.chats import shared_chats
from ui.form import HIDDEN
from ui.i18n import Translator
from ui.material import models, tokenizers
from ui.messages import logger
from ui.quick_import import mcp_asked_for
from ui.studio import Backend

# The same names as the page's English texts: what programs read must not depend on a browser's language.
ENGLISH = Translator("en")
MOST_LOG_LINES = 2000
CHECKED_VERB, CHECK = "train", "preflight"


def mcp_wanted() -> bool:
    """Whether the endpoints are to be served as tools for MCP clients, too: LEP_MCP=1.

    Raises:
        InputError: they are, but the package for it is not installed.
    """
    if not mcp_asked_for():
        return False
    if importlib.util.find_spec("mcp") is None:
        raise InputError(
            "LEP_MCP is set, but the package mcp is not installed", 'Install it with: pip install "mcp>=1.21,<2", or unset LEP_MCP'
        )
    return True


def add_endpoints(backend: Backend) -> None:
    """Add all endpoints to the page that is being built."""
    api = Api(backend)
    for endpoint in ENDPOINTS:
        # Outside the queue: answers come with the request itself, and tools of MCP clients need no second connection with a login.
        gr.api(_answering(getattr(api, endpoint)), api_name=endpoint, queue=False)


class Api:
    """One method an endpoint; what they return is plain JSON."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def list_projects(self) -> list[dict]:
        """All projects: id, name, base and instruct model, language."""
        return [
            {"id": one.id, "name": one.name, "base": one.base, "instruct": one.instruct, "language": one.language}
            for one in self.backend.workspace.projects()
        ]

    def list_models(self, project: str) -> list[dict]:
        """The models of a project that `chat` and settings can name, results first: label and folder.

        Args:
            project: id of the project.
        """
        return _choices(models(self._project(project), ENGLISH))

    def list_tokenizers(self, project: str) -> list[dict]:
        """The tokenizers of a project: label and folder.

        Args:
            project: id of the project.
        """
        return _choices(tokenizers(self._project(project), ENGLISH))

    def list_corpora(self, project: str) -> list[dict]:
        """The corpora of a project: label, folder and statistics.

        Args:
            project: id of the project.
        """
        return [{"label": one.label, "folder": str(one.path), "info": json_safe(one.info)} for one in self._project(project).corpora()]

    def list_verbs(self) -> list[dict]:
        """What runs can do: name and summary of each verb."""
        return [{"name": verb.name, "summary": " ".join(verb.summary.split())} for verb in VERBS.values()]

    def describe_verb(self, verb: str) -> dict:
        """The settings of a verb: name, type, default, choices, limits, unit and meaning of each.

        Args:
            verb: name of the verb, as `list_verbs` gives it.
        """
        if verb not in VERBS:
            raise ConfigError("verb", f"there is no verb {verb}", f"Choose one of: {', '.join(VERBS)}")
        return {"name": verb, "summary": " ".join(VERBS[verb].summary.split()), "settings": _settings(VERBS[verb].config)}

    def start_run(self, project: str, verb: str, settings: dict, after: list[str] = [], confirm_upload: bool = False) -> dict:  # noqa: B006 - Gradio reads the default from the signature; it is never changed
        """Hand a run to the queue and return its status at once. Its result lies in its own folder (`output` of the answer), so that
        later runs can name it in their settings and wait for it with `after`. A training is checked before it starts.

        Args:
            project: id of the project.
            verb: what to do, as `list_verbs` gives it.
            settings: settings of the verb by name, as `describe_verb` gives them; those left out keep their default.
            after: ids of runs of the project that must succeed first.
            confirm_upload: an export that uploads (`push_to`) needs true here.
        """
        opened = self._project(project)
        given = {str(name).replace("-", "_"): value for name, value in settings.items()}
        if refused := sorted(set(given) & set(HIDDEN)):
            raise ConfigError(refused[0], f"{refused[0]} cannot be chosen here", "Leave it out: the result lies in the run's own folder")
        if given.get("push_to") and not confirm_upload:
            raise ConfigError("push_to", f"the export would be uploaded to {given['push_to']}", "Say so with confirm_upload = true")
        for before in after:
            opened.run(before)
        if verb == CHECKED_VERB:
            after = [*after, self._start(opened, CHECK, given, after).id]
        return _described(self._start(opened, verb, given, after))

    def list_runs(self, project: str, verb: str = "") -> list[dict]:
        """The runs of a project, newest first, with their status.

        Args:
            project: id of the project.
            verb: only runs of this verb.
        """
        return [_described(run) for run in self._project(project).runs(verb or None)]

    def run_status(self, project: str, run: str) -> dict:
        """State (queued, running, succeeded, stopped, failed), stage, progress and error of a run.

        Args:
            project: id of the project.
            run: id of the run.
        """
        return _described(self._project(project).run(run))

    def run_report(self, project: str, run: str) -> dict:
        """Settings and report of a run that has ended.

        Args:
            project: id of the project.
            run: id of the run.
        """
        found = self._project(project).run(run)
        report = found.report()
        if report is None:
            raise JobError(f"{found.id} has no report: it is {found.status().state}", "Ask for its status, and again when it has succeeded")
        return {**_described(found), "settings": json_safe(found.config), "report": json_safe(report)}

    def run_metrics(self, project: str, run: str) -> list[dict]:
        """The measurements of a run so far: loss, bits per byte, tokens per second and others by step.

        Args:
            project: id of the project.
            run: id of the run.
        """
        return json_safe(self._project(project).run(run).metrics())

    def run_log(self, project: str, run: str, lines: int = 50) -> str:
        """The last lines of a run's log.

        Args:
            project: id of the project.
            run: id of the run.
            lines: how many, 1 to 2000.
        """
        if not 1 <= lines <= MOST_LOG_LINES:
            raise ConfigError("lines", f"lines is {lines}", f"Give 1 to {MOST_LOG_LINES}")
        return self._project(project).run(run).log_tail(lines)

    def stop_run(self, project: str, run: str, discard: bool = False) -> dict:
        """Ask a run to stop after its present step, and return its status.

        Args:
            project: id of the project.
            run: id of the run.
            discard: false keeps what there is, so that the run can be resumed; true deletes its results.
        """
        found = self._project(project).run(run)
        if found.status().ended:
            raise JobError(f"{found.id} has ended already ({found.status().state})", "There is nothing to stop")
        (self.backend.queue.discard if discard else self.backend.queue.stop)(found)
        return _described(found)

    def resume_run(self, project: str, run: str) -> dict:
        """Queue a stopped or failed run again: it goes on from its newest checkpoint, or starts again where it has none.

        Args:
            project: id of the project.
            run: id of the run.
        """
        found = self._project(project).run(run)
        self.backend.queue.resume(found)
        return _described(found)

    def chat(
        self,
        project: str,
        model: str,
        message: str,
        system: str = "",
        plain: bool = False,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> dict:
        """Let a model of the project answer one message; waits for the whole answer and measures it.

        Args:
            project: id of the project.
            model: folder or label, as `list_models` gives it.
            message: what to answer or to continue.
            system: system prompt, for chat templates that have one.
            plain: continue the message as plain text even if the model has a chat template.
            max_new_tokens: longest answer.
            temperature: 0 = always the likeliest token.
            seed: seed of the random numbers.
        """
        opened = self._project(project)
        path = _model_of(opened, model)
        # GenerateConfig knows the limits, and its messages name the field.
        VERBS["generate"].config.from_mapping(
            {"model": [path], "prompt": message, "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
        )
        if not message.strip():
            raise ConfigError("message", "there is no message", "Give one")
        settings = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
        return _answer(shared_chats(self.backend).pool, path, message, system=system, plain=plain, settings=settings)

    def _project(self, project_id: str) -> Project:
        return self.backend.workspace.project(project_id)

    def _start(self, project: Project, verb: str, settings: dict[str, Any], after: list[str]) -> Run:
        run = project.create_run(verb, settings, after=after)
        self.backend.queue.submit(run)
        return run


ENDPOINTS = tuple(name for name, value in vars(Api).items() if not name.startswith("_") and callable(value))
"""Names of all endpoints, in the order of the class."""


def _answering(work: Callable[..., Any]) -> Callable[..., Any]:
    """The method with its signature, its errors as what Gradio hands to clients; arguments of another type are refused."""
    signature, hints = inspect.signature(work), typing.get_type_hints(work)

    @functools.wraps(work)
    def endpoint(*values: Any, **named: Any) -> Any:
        try:
            given = signature.bind(*values, **named).arguments
            return _without_paths(work(**{name: _checked(name, value, hints[name]) for name, value in given.items()}))
        except LepError as error:
            raise gr.Error(_with_names(f"{error.message}. {error.hint}."), print_exception=False) from None
        except BaseException as error:  # noqa: BLE001 - the boundary of the interface, as in `ui.messages`: a SystemExit would end the server
            logger.error("an endpoint failed", exc_info=error)
            raise gr.Error(f"an unexpected fault ({type(error).__name__}); the app's log tells more.", print_exception=False) from None

    # Gradio reads the types from here, and takes them as they are written: resolved.
    parameters = [item.replace(annotation=hints[item.name]) for item in signature.parameters.values()]
    described: Any = endpoint
    described.__signature__ = signature.replace(parameters=parameters, return_annotation=hints["return"])
    return endpoint


def _checked(name: str, value: Any, hint: Any) -> Any:
    wanted = typing.get_origin(hint) or hint
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))
    if not fits or (wanted is list and not all(isinstance(one, str) for one in value)):
        kinds = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object", list: "a list of texts"}
        raise ConfigError(name, f"{name} is {value!r:.100}, not {kinds[wanted]}", f"Give {kinds[wanted]}")
    return value


def _with_names(text: str) -> str:
    """A text of the core for programs: `--block-size` becomes `block_size`, the name of the setting here."""
    return re.sub(r"--([a-z][a-z-]*[a-z])", lambda found: found.group(1).replace("-", "_"), text)


def _without_paths(value: Any) -> Any:
    """The value with every key `path` called `folder`: Gradio's clients take an object that has a `path` for a file to download."""
    if isinstance(value, dict):
        return {"folder" if key == "path" else key: _without_paths(item) for key, item in value.items()}
    return [_without_paths(item) for item in value] if isinstance(value, list) else value


def _described(run: Run) -> dict[str, Any]:
    """What programs see of a run."""
    status = run.status()
    error = status.error
    return json_safe(
        {
            "id": run.id,
            "verb": run.verb,
            "state": status.state,
            "stage": status.stage,
            "done": status.done,
            "total": status.total,
            "unit": status.unit,
            "seconds": status.seconds,
            "eta_seconds": status.eta_seconds,
            "message": status.message,
            "error": None if error is None else {"message": error.message, "hint": error.hint, "field": error.field},
            "created": run.created,
            "after": list(run.after),
            "output": None if run.output is None else str(run.output),
        }
    )


def _settings(config: type[Any]) -> list[dict[str, Any]]:
    found = []
    for item in dataclasses.fields(config):
        if item.name in HIDDEN:
            continue
        hint, about = field_type(config, item.name), item.metadata
        required = item.default is dataclasses.MISSING
        found.append(
            {
                "name": item.name,
                "type": f"list of {base_type(hint).__name__}" if is_repeatable(hint) else base_type(hint).__name__,
                "required": required,
                "default": None if required else json_safe(item.default),
                "choices": None if about["choices"] is None else list(about["choices"]),
                "minimum": about["minimum"],
                "maximum": about["maximum"],
                "unit": about["unit"],
                "help": about["help"],
            }
        )
    return found


def _choices(found: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"label": label, "folder": path} for label, path in found]


def _model_of(project: Project, named: str) -> str:
    known = models(project, ENGLISH)
    for label, path in known:
        if named in (label, path):
            return path
    raise InputError(
        f"{named!r} is no model of the project {project.name}", f"Choose one of: {', '.join(path for _, path in known) or 'none yet'}"
    )


def _answer(pool: WorkerPool, model: str, message: str, *, system: str, plain: bool, settings: dict[str, Any]) -> dict[str, Any]:
    loaded = pool.loaded(model)
    asked: dict[str, Any] = {"prompt": message}
    if not plain and loaded.get("is_chat"):
        turns = [{"role": "system", "content": system}] if system else []
        asked = {"messages": [*turns, {"role": "user", "content": message}]}
    texts: list[str] = []
    with closing(cast("Generator[Event, None, None]", pool.generate(model, settings=settings, **asked))) as events:
        for event in events:
            if event["event"] == "error":
                raise InputError(event["message"], event["hint"])
            if event["event"] == "delta":
                texts.append(event.get("text") or "")
            elif event["event"] == "done":
                names = ("new_tokens", "seconds", "characters_per_second", "time_to_first_token_seconds", "stop_reason")
                facts = {name: event.get(name) for name in names}
                return json_safe({"text": "".join(texts), "model": model, "fingerprint": event.get("fingerprint"), **facts})
    raise JobError("the model's process ended its answer without a word", "Ask again")
