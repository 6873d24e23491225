"""The parent's side of a model process: start it, ask it, stop it, and survive it.

    client = WorkerClient("models/instruct", log_path=Path("chat.log"))
    client.start()                                      # returns at once; the model loads in the child
    for event in client.generate(messages=[{"role": "user", "content": "Hello"}], settings={"seed": 1}):
        ...                                             # the dicts of worker.py: delta, delta, ..., then done or error

Every way to fail (the model does not load, the child is killed, it hangs) ends the events with one of kind "error" that has a `message`
and a `hint`; nothing is raised. A client whose child died starts a fresh one at the next `start()` or `generate()`.
All methods may be called from any thread.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import lep_core

Event = dict[str, Any]

LOAD_SECONDS = 600.0
EVENT_SECONDS = 300.0
STOP_SECONDS = 15.0
_POLL_SECONDS = 0.2


class WorkerClient:
    """One child process with one model.

    Attributes:
        model: folder or hub id, as given.
        log_path: file that receives everything the child prints; a temporary one, gone with `close`, when none is given.
        loaded: the child's `loaded` event (path, fingerprint, vocab_size ...), None until then.
        failure: the error event that ended the child, None while all is well.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        log_path: Path | None = None,
        load_seconds: float = LOAD_SECONDS,
        event_seconds: float = EVENT_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self.model = str(model)
        self._own_folder = None if log_path else Path(tempfile.mkdtemp(prefix="lep-worker-"))
        self.log_path = log_path or Path(self._own_folder or ".") / "log.txt"
        self.loaded: Event | None = None
        self.failure: Event | None = None
        self._options = {"device": device, "precision": precision, "threads": threads}
        self._load_seconds, self._event_seconds, self._stop_seconds = load_seconds, event_seconds, stop_seconds
        self._lock = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._answers: dict[int, queue.Queue[Event]] = {}
        self._last_id = 0
        self._stop_asked: float | None = None
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
            self.loaded, self.failure, self._stop_asked = None, None, None
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
            self._process = process
            threading.Thread(target=self._read, args=(process,), daemon=True, name=f"worker {process.pid}").start()

    def wait_until_loaded(self, timeout: float | None = None) -> Event:
        """The `loaded` event, or an error event when the model does not load in time."""
        self.start()
        if not self._ready.wait(self._load_seconds if timeout is None else timeout):
            return _error("JobError", "the model is still loading", "Wait, or choose a smaller model")
        return self.failure or self.loaded or _error("JobError", "the model process was closed", "Load the model again")

    def generate(
        self,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        prompt: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        """Events of one answer; the last is "done" or "error". Requests of one client are answered one after the other.

        Leaving the iterator early stops the answer.
        """
        self.start()
        with self._lock:
            self._last_id += 1
            number = self._last_id
            answers: queue.Queue[Event] = queue.Queue()
            self._answers[number] = answers
            request = {"op": "generate", "id": number, "messages": None if messages is None else [dict(one) for one in messages]}
            sent = self._send(request | {"prompt": prompt, "settings": dict(settings or {})})
        finished = False
        try:
            if not sent:
                # The reading thread gives the reason as soon as it has seen the child end.
                self._ready.wait(_POLL_SECONDS)
            for event in self._events(answers):
                finished = event["event"] != "delta"
                yield event
        finally:
            if not finished:
                self.stop()
            with self._lock:
                self._answers.pop(number, None)

    def stop(self) -> None:
        """Stop the present answer and those waiting; the child stops within a token and stays loaded.

        A child that does not react within `stop_seconds` is killed by whoever reads the events.
        """
        with self._lock:
            if self._answers and self._send({"op": "stop"}):
                self._stop_asked = time.monotonic()

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
        command = [sys.executable, "-m", "lep_core.inference.worker", self.model]
        for name, value in self._options.items():
            command += [] if value is None else [f"--{name}", str(value)]
        return command

    def _events(self, answers: queue.Queue[Event]) -> Iterator[Event]:
        last = time.monotonic()
        while True:
            try:
                event = answers.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if (reason := self._overdue(last)) is not None:
                    self._give_up(reason)
                continue
            last = time.monotonic()
            yield event
            if event["event"] != "delta":
                return

    def _overdue(self, last: float) -> str | None:
        """Why the child counts as hanging, None while it does not."""
        now = time.monotonic()
        with self._lock:
            if self._stop_asked is not None and self.loaded is not None and now - self._stop_asked > self._stop_seconds:
                return f"it did not stop within {self._stop_seconds:g} seconds"
            limit = self._load_seconds if self.loaded is None else self._event_seconds
            # A request that waits for another one's answer is not overdue.
            return f"it gave no sign for {limit:g} seconds" if now - last > limit and len(self._answers) <= 1 else None

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
        if event["event"] == "loaded":
            self.loaded = event
            self._ready.set()
        elif event.get("id") is None:
            self._fail(event)
        else:
            if event["event"] != "delta":
                self._stop_asked = None
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


def _ended(code: int, was_loaded: bool, log_path: Path) -> Event:
    when = "while it answered or waited" if was_loaded else "while it loaded the model"
    if code == -signal.SIGKILL:
        message = f"the model process was killed (signal 9) {when}, most often because the memory ran out"
        return _error("ResourceError", message, "Close other models or choose a smaller one, then send again: the model is loaded anew")
    how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
    return _error("JobError", f"the model process ended {how} {when}", f"Send again to load the model anew; its log is {log_path}")


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
