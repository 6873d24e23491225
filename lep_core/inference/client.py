"""The parent's side of a model process: start it, ask it, stop it, and survive it.

    client = WorkerClient(["models/original", "models/adapted"], log_path=Path("chat.log"))     # one body, two models
    client.start()                                      # returns at once; the models load in the child
    for event in client.generate(model="models/adapted", messages=[{"role": "user", "content": "Hello"}], settings={"seed": 1}):
        ...                                             # the dicts of worker.py: delta, delta, ..., then done or error

Requests may come from many threads at once: the child answers them together. Every way to fail (the model does not load, the child is
killed, it hangs) ends the events with one of kind "error" that has a `message` and a `hint`; nothing is raised. A client whose child
died starts a fresh one at the next `start()` or `generate()`. All methods may be called from any thread.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import lep_core
from lep_core.inference.bodies import known_digests, remember_digests
from lep_core.measuring import goes_first_when_memory_runs_out

Event = dict[str, Any]

LOAD_SECONDS = 600.0
EVENT_SECONDS = 300.0
STOP_SECONDS = 15.0
_POLL_SECONDS = 0.2
_LAST = frozenset({"done", "error", "added", "dropped"})


class WorkerClient:
    """One child process with one body and its models.

    Attributes:
        models: folders or hub ids as given; more of the same body may join (`add`).
        log_path: file that receives everything the child prints; a temporary one, gone with `close`, when none is given.
        loaded: the child's `loaded` event (`models` with path, fingerprint, vocab_size ...), None until then.
        failure: the error event that ended the child, None while all is well.
    """

    def __init__(
        self,
        models: str | Path | Sequence[str | Path],
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        log_path: Path | None = None,
        load_seconds: float = LOAD_SECONDS,
        event_seconds: float = EVENT_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self.models = [str(one) for one in ([models] if isinstance(models, str | Path) else models)]
        self._own_folder = None if log_path else Path(tempfile.mkdtemp(prefix="lep-worker-"))
        self.log_path = log_path or Path(self._own_folder or ".") / "log.txt"
        self.loaded: Event | None = None
        self.failure: Event | None = None
        self._options = {"device": device, "precision": precision, "threads": threads}
        self._load_seconds, self._event_seconds, self._stop_seconds = load_seconds, event_seconds, stop_seconds
        self._lock = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._answers: dict[int, queue.Queue[Event]] = {}
        self._asked_model: dict[int, str] = {}
        self._stop_asked: dict[int, float] = {}
        self._last_id = 0
        self._last_sign = 0.0
        self._closed = False
        self._ready = threading.Event()

    @property
    def state(self) -> str:
        """ "new", "loading", "ready", "busy", "failed" or "closed"."""
        with self._lock:
            if self._closed:
                return "closed"
            if self.failure is not None:
                return "failed"
            if self._process is None:
                return "new"
            if self.loaded is None:
                return "loading"
            return "busy" if self._answers else "ready"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the child if it does not run; returns at once."""
        with self._lock:
            if self._closed:
                self._closed = False
                self._process = None
            if self._process is not None and self.failure is None:
                return
            if self._process is not None and self._process.stdin is not None:
                _close_quietly(self._process.stdin)
            self.loaded, self.failure = None, None
            self._stop_asked.clear()
            self._ready.clear()
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(self.log_path, "ab") as log:
                    process = subprocess.Popen(
                        self._command(),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        env=_environment(),
                        encoding="utf-8",
                        start_new_session=True,
                    )
            except OSError as error:
                self.failure = _error("ResourceError", f"the model process cannot be started: {error}", "Free memory and try again")
                self._ready.set()
                return
            goes_first_when_memory_runs_out(process.pid)
            self._process = process
            self._last_sign = time.monotonic()
            threading.Thread(target=self._read, args=(process,), daemon=True, name=f"worker {process.pid}").start()
            self._send({"op": "open", "models": self.models, "digests": _digests(self.models)})

    def wait_until_loaded(self, timeout: float | None = None) -> Event:
        """The `loaded` event, or an error event when nothing could be loaded in time."""
        self.start()
        if not self._ready.wait(self._load_seconds if timeout is None else timeout):
            return _error("JobError", "the model is still loading", "Wait, or choose a smaller model")
        return self.failure or self.loaded or _error("JobError", "the model process was closed", "Load the model again")

    def facts(self, model: str, timeout: float | None = None) -> Event:
        """The facts of one model as a `loaded` event of its own, or an error event."""
        loaded = self.wait_until_loaded(timeout)
        if loaded["event"] == "error":
            return loaded | {"model": model}
        for refused in loaded.get("refused") or ():
            if refused["model"] == model:
                return {"event": "error", "id": None, **refused}
        for one in loaded["models"]:
            if one["model"] == model:
                return {**{key: loaded[key] for key in ("device", "precision", "pid")}, **one, "event": "loaded"}
        return _not_held(model, [one["model"] for one in loaded["models"]])

    def generate(
        self,
        *,
        model: str | None = None,
        messages: Sequence[Mapping[str, str]] | None = None,
        prompt: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        """Events of one answer; the last is "done" or "error". `model` may be left out when there is only one.

        Leaving the iterator early stops this answer.
        """
        model = self.models[0] if model is None and len(self.models) == 1 else model
        if model is None or model not in self.models:
            yield _not_held(model, self.models)
            return
        values = {"messages": None if messages is None else [dict(one) for one in messages], "prompt": prompt}
        yield from self._ask("generate", model, values | {"settings": dict(settings or {})})

    def add(self, model: str) -> Event:
        """Load one more model of the same body: its facts, or an error event."""
        self.start()
        with self._lock:
            comes_anyway = model in self.models and self.loaded is None
        if comes_anyway:
            return self.facts(model)
        *_, event = self._ask("add", model, {"digests": _digests([*self.models, model])})
        return self.facts(model) if event["event"] == "added" else event

    def drop(self, model: str) -> Event:
        """Free the embedding pair of a model; answers of it that are being written are stopped."""
        with self._lock:
            if self.loaded is None:
                self.models = [one for one in self.models if one != model]
                return {"event": "dropped", "id": None, "model": model}
        *_, event = self._ask("drop", model, {})
        return event

    def stop(self, ids: Collection[int] | None = None) -> None:
        """Stop these answers, or all; the child stops within a token and stays loaded.

        A child that does not react within `stop_seconds` is killed by whoever reads the events.
        """
        with self._lock:
            numbers = [number for number in (self._answers if ids is None else ids) if number in self._answers]
            if numbers and self._send({"op": "stop", "ids": numbers}):
                now = time.monotonic()
                self._stop_asked |= {number: now for number in numbers if number not in self._stop_asked}

    def ids_of(self, model: str) -> list[int]:
        """The ids of the answers of one model that are being written."""
        with self._lock:
            return [number for number, asked in self._asked_model.items() if asked == model and number in self._answers]

    def close(self) -> None:
        """End the child at once and free its memory."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
            answers = list(self._answers.values())
            self.loaded = None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdin:
                _close_quietly(process.stdin)
        for one in answers:
            one.put(_error("JobError", "the model process was closed", "Load the model again"))
        self._ready.set()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    def __enter__(self) -> WorkerClient:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "lep_core.inference.worker"]
        for name, value in self._options.items():
            command += [] if value is None else [f"--{name}", str(value)]
        return command

    def _ask(self, operation: str, model: str, values: Mapping[str, Any]) -> Iterator[Event]:
        """Send a request and give its events."""
        self.start()
        with self._lock:
            self._last_id += 1
            number = self._last_id
            answers: queue.Queue[Event] = queue.Queue()
            self._answers[number], self._asked_model[number] = answers, model
            sent = self._send({"op": operation, "id": number, "model": model, **values})
        finished = False
        try:
            if not sent:
                # The reading thread gives the reason as soon as it has seen the child end.
                self._ready.wait(_POLL_SECONDS)
            for event in self._events(number, answers):
                finished = event["event"] in _LAST
                yield event if event.get("id") == number else event | {"id": number, "model": model}
        finally:
            if not finished:
                self.stop([number])
            with self._lock:
                for kept in (self._answers, self._asked_model, self._stop_asked):
                    kept.pop(number, None)

    def _events(self, number: int, answers: queue.Queue[Event]) -> Iterator[Event]:
        asked = time.monotonic()
        while True:
            try:
                event = answers.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if (reason := self._overdue(number, asked)) is not None:
                    self._give_up(reason)
                continue
            yield event
            if event["event"] in _LAST:
                return

    def _overdue(self, number: int, asked: float) -> str | None:
        """Why the child counts as hanging, None while it does not."""
        now = time.monotonic()
        with self._lock:
            stop_asked = self._stop_asked.get(number)
            if stop_asked is not None and self.loaded is not None and now - stop_asked > self._stop_seconds:
                return f"it did not stop within {self._stop_seconds:g} seconds"
            limit = self._load_seconds if self.loaded is None else self._event_seconds
            return f"it gave no sign for {limit:g} seconds" if now - max(asked, self._last_sign) > limit else None

    def _give_up(self, reason: str) -> None:
        self._fail(
            _error("JobError", f"the model process was ended because {reason}", "Try again, with a shorter prompt or a smaller model")
        )
        process = self._process
        if process is not None:
            process.kill()

    def _send(self, request: Mapping[str, Any]) -> bool:
        process = self._process
        if process is None or process.stdin is None or self.failure is not None:
            self._fail(self.failure or _error("JobError", "the model process does not run", "Load the model again"))
            return False
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except (BrokenPipeError, ValueError, OSError):
            return False
        return True

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Body of the reading thread: hand events to whoever waits for them, and notice the child's end."""
        assert process.stdout is not None
        for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # A line torn by a kill; the end of the stream follows.
            with self._lock:
                if process is not self._process:
                    break
                self._dispatch(event)
        code = process.wait()
        process.stdout.close()
        with self._lock:
            if process is self._process:
                self._fail(self.failure or _ended(code, self.loaded is not None, self.log_path))

    def _dispatch(self, event: Event) -> None:
        self._last_sign = time.monotonic()
        kind = event["event"]
        if kind in ("loaded", "added", "dropped"):
            remember_digests(event.pop("digests", {}))
            held = [one["model"] for one in event["models"]]
            refused = event["refused"] if kind == "loaded" else (self.loaded or {}).get("refused", [])
            refused = [one for one in refused if one["model"] not in [*held, event.get("model")]]
            top = event["models"][0] if len(held) == 1 else {}
            self.loaded = {**event, **top, "event": "loaded", "refused": refused}
            self.models = [*held, *(one["model"] for one in refused)]
            self._ready.set()
        elif kind == "error" and event.get("id") is None:
            self._fail(event)
        if event.get("id") is not None:
            if kind in _LAST:
                self._stop_asked.pop(event["id"], None)
            if (answers := self._answers.get(event["id"])) is not None:
                answers.put(event)

    def _fail(self, event: Event) -> None:
        with self._lock:
            self.failure = event
            for answers in self._answers.values():
                answers.put(event)
            self._ready.set()


def _error(kind: str, message: str, hint: str) -> Event:
    return {"event": "error", "id": None, "kind": kind, "message": message, "hint": hint}


def _not_held(model: str | None, held: Sequence[str]) -> Event:
    what = "no model is named" if model is None else f"this process does not hold the model {model}"
    return _error("ConfigError", what, f"It holds {', '.join(held) or 'none'}") | {"model": model}


def _ended(code: int, was_loaded: bool, log_path: Path) -> Event:
    when = "while it answered or waited" if was_loaded else "while it loaded the model"
    if code == -signal.SIGKILL:
        message = f"the model process was killed (signal 9) {when}, most often because the memory ran out"
        return _error("ResourceError", message, "Close other models or choose a smaller one, then send again: the model is loaded anew")
    how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
    return _error("JobError", f"the model process ended {how} {when}", f"Send again to load the model anew; its log is {log_path}")


def _digests(models: Sequence[str]) -> dict[str, dict[str, str]]:
    """What this process knows of the models' files, so that the child need not hash them again; hub ids are left to the child."""
    return known_digests(model for model in models if os.path.isdir(os.path.expanduser(model)))


def _environment() -> dict[str, str]:
    """The parent's environment; the child finds this very package and starts no thread pools of its own."""
    package_parent = str(Path(lep_core.__file__).resolve().parent.parent)
    paths = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}


def _close_quietly(stream: IO[str]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        return
