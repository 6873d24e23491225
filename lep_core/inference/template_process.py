"""Chat templates are programs that come with a model: they run in a process that can be killed.

The process is a fork of this one (milliseconds, whatever has been loaded), made at the first chat and kept for the next; it computes
nothing but templates. Its limits hold also inside one long operation of the interpreter, such as a power of powers, which no signal
handler could interrupt: the kernel ends it after `seconds` of processor time, and memory beyond `extra_bytes` is not given. Where processes
cannot fork, the template runs in this one, without limits.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

# Processor time is the limit; this much more of the clock bounds a machine that gives none.
CLOCK_SECONDS_MORE = 60.0
_LENGTH = struct.Struct("<Q")
_STOPPED_BY_TIMER = getattr(signal, "SIGPROF", None)


class TemplateFailure(Exception):
    """The template raised, took too long or wanted too much; the text says which."""


@dataclass(frozen=True)
class Limits:
    """What one rendering may use."""

    seconds: float
    extra_bytes: int
    characters: int


class TemplateProcess:
    """Runs one rendering function in a process of its own. Safe to call from any thread; renderings wait for each other.

    Args:
        render: gets the request and returns the text; whatever it raises becomes a `TemplateFailure`.
    """

    def __init__(self, render: Callable[[Any], str]) -> None:
        self._render = render
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def render(self, request: Any, limits: Limits) -> str:
        """The text for a request (anything that JSON can carry).

        Raises:
            TemplateFailure: see there; the next call starts a fresh process.
        """
        if _STOPPED_BY_TIMER is None or not hasattr(os, "fork"):
            return _checked(_attempt(self._render, request, limits))
        with self._lock:
            if self._child is None or not self._child.alive():
                self._child = _Child(self._render)
            try:
                return _checked(self._child.ask({"request": request, "limits": vars(limits)}, limits.seconds))
            except _Died as death:
                self._child = None
                raise TemplateFailure(_cause_of(death.status, limits)) from death


class _Died(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


class _Child:
    """A forked process that answers requests until its pipe closes."""

    def __init__(self, render: Callable[[Any], str]) -> None:
        request_end, self._requests = os.pipe()
        self._answers, answer_end = os.pipe()
        with warnings.catch_warnings():
            # Threads of ours or of libraries may exist; the child uses none of what they hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            _serve(render, request_end, answer_end)
        os.close(request_end)
        os.close(answer_end)
        self._end = weakref.finalize(self, _end, self._pid, self._requests, self._answers)

    def alive(self) -> bool:
        return self._end.alive

    def ask(self, message: Any, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds + CLOCK_SECONDS_MORE
        data = json.dumps(message).encode("ascii")
        try:
            _write(self._requests, _LENGTH.pack(len(data)) + data)
            size = _LENGTH.unpack(self._read(_LENGTH.size, deadline))[0]
            return json.loads(self._read(size, deadline))
        except (EOFError, BrokenPipeError) as error:
            raise _Died(self._end() or 0) from error
        except BaseException:
            # Interrupted half-way: what comes next on the pipe would belong to this request.
            self._end()
            raise

    def _read(self, size: int, deadline: float) -> bytes:
        poll = select.poll()
        poll.register(self._answers, select.POLLIN | select.POLLHUP)
        data = b""
        while len(data) < size:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise EOFError
            part = os.read(self._answers, min(size - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return data


def _end(pid: int, *pipes: int) -> int:
    """End the process and give its wait status."""
    for pipe in pipes:
        os.close(pipe)
    # A process that ended by itself keeps its own status.
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        for _ in range(50):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1]
    return 0


def _cause_of(status: int, limits: Limits) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == _STOPPED_BY_TIMER:
        return f"it did not finish within {limits.seconds:g} seconds of computing"
    return f"its process ended ({f'signal {os.WTERMSIG(status)}' if os.WIFSIGNALED(status) else 'no answer'}), most often because memory ran out"


def _checked(answer: dict[str, Any]) -> str:
    if "failure" in answer:
        raise TemplateFailure(answer["failure"])
    return answer["text"]


def _attempt(render: Callable[[Any], str], request: Any, limits: Limits) -> dict[str, Any]:
    try:
        text = render(request)
    except Exception as error:  # noqa: BLE001 - a foreign program may raise anything; it becomes a sentence
        # The words of Jinja; others need their kind to be understood.
        reason = str(error) or type(error).__name__
        return {"failure": "it wants more memory than it may have" if isinstance(error, MemoryError) else reason[:300]}
    if len(text) > limits.characters:
        return {"failure": f"it makes a text of {len(text)} characters, at most {limits.characters} are allowed"}
    return {"text": text}


def _serve(render: Callable[[Any], str], requests: int, answers: int) -> NoReturn:
    """Body of the child; it leaves without any of the parent's clean-up."""
    try:
        _cut_loose(requests, answers)
        while True:
            message = json.loads(_read_exactly(requests, _LENGTH.unpack(_read_exactly(requests, _LENGTH.size))[0]))
            limits = Limits(**message["limits"])
            release = _limit_memory(limits.extra_bytes)
            signal.setitimer(signal.ITIMER_PROF, limits.seconds)
            answer = _attempt(render, message["request"], limits)
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            release()
            data = json.dumps(answer).encode("ascii")
            _write(answers, _LENGTH.pack(len(data)) + data)
    finally:
        os._exit(0)


def _cut_loose(*kept: int) -> None:
    """Hold nothing of the parent's: no files (who reads them would wait for this process too), no signal handlers.

    When the parent dies, its pipe closes and the loop ends; a template that runs just then is ended by its time limit.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    devnull = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(devnull, standard)
    start = 3
    for pipe in sorted(kept):
        os.closerange(start, pipe)
        start = pipe + 1
    os.closerange(start, 65_536)


def _limit_memory(extra_bytes: int) -> Callable[[], None]:
    """Allow this process `extra_bytes` more address space than it has now; the result lifts the limit again."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as stream:
            present = int(stream.read().split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = present + extra_bytes
        if soft != resource.RLIM_INFINITY and soft <= wanted:
            return lambda: None
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    except (ImportError, OSError, ValueError):
        return lambda: None
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _read_exactly(pipe: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(pipe, min(size - len(data), 1 << 20))
        if not part:
            os._exit(0)
        data += part
    return data


def _write(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]
