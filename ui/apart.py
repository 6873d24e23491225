"""Foreign files are looked at in a process apart: tokenizers, model folders and texts that a page shows something of.

What reads them may panic, go on for ever or fill the memory, and none of that can be caught inside one process. A child (`ui.apart_child`)
that holds no secrets does it within limits that the kernel enforces; when it dies, one page shows a sentence and the next question
gets a new child. Jobs and chats have processes of their own anyway.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from lep_core import errors
from lep_core.errors import InputError, JobError, LepError, ModelError, TokenizerError
from lep_core.failures import TOKEN_VARIABLES
from lep_core.jobs.command import child_environment
from lep_core.measuring import goes_first_when_memory_runs_out
from lep_core.models.folder import ModelFolder, inspect_model, resolve
from ui.apart_child import LENGTH

SECONDS = 10.0
"""Processor time for one question; `LONG_SECONDS` for tables over whole vocabularies."""
LONG_SECONDS = 60.0
MEMORY_BYTES = 3 * 2**30
ANSWER_BYTES = 2**28
# A machine that gives no processor time is not the file's fault, yet nobody waits for ever.
CLOCK_SECONDS_MORE = 30.0
BUSY_SECONDS = 60.0
FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "adapter_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
)


class Child:
    """Asks one child process after the other; safe to call from any thread, questions wait for each other."""

    def __init__(self, *, memory: int = MEMORY_BYTES) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, what: str, *arguments: Any, about: str, seconds: float = SECONDS, kind: type[LepError] = InputError) -> Any:
        """The answer of a function of `ui.apart_child`.

        Args:
            about: what is looked at, for messages.
            kind: the error to raise when the child dies of it.

        Raises:
            LepError: what the function raised; `kind` when it took too long or too much; JobError while too many others ask.
        """
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise JobError("the app is busy with looking at other files", "Try again in a minute")
        try:
            answer = self._answer({"what": what, "arguments": arguments, "seconds": seconds}, about, seconds, kind)
        finally:
            self._lock.release()
        if "bug" in answer:
            raise RuntimeError(f"looking at {about} failed:\n{answer['bug']}")
        if "error" in answer:
            known = getattr(errors, answer["error"], InputError)
            raise (InputError if known is errors.ConfigError else known)(answer["message"], answer["hint"])
        return answer["value"]

    def close(self) -> None:
        """End the child; the next question starts another."""
        with self._lock:
            self._end()

    def _answer(self, request: dict[str, Any], about: str, seconds: float, kind: type[LepError]) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._process = self._started()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
            process.stdin.flush()
            deadline = time.monotonic() + seconds + CLOCK_SECONDS_MORE
            size = LENGTH.unpack(_read(process.stdout.fileno(), LENGTH.size, deadline))[0]
            if size > ANSWER_BYTES:
                raise EOFError
            return json.loads(_read(process.stdout.fileno(), size, deadline))
        except (EOFError, OSError) as error:
            self._end()
            raise kind(
                f"{about} cannot be looked at: that takes more than {seconds:g} seconds of computing or {self._memory / 2**30:g} GiB",
                "It is damaged or made to do harm; get a sound copy",
            ) from error
        except BaseException:
            # Interrupted half-way: the next answer would be taken for that of another question.
            self._end()
            raise

    def _started(self) -> subprocess.Popen[bytes]:
        self._end()
        environment = child_environment() | {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        environment = {name: value for name, value in environment.items() if name not in TOKEN_VARIABLES}
        process = subprocess.Popen(
            [sys.executable, "-m", "ui.apart_child", str(self._memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        goes_first_when_memory_runs_out(process.pid)
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _read(pipe: int, size: int, deadline: float) -> bytes:
    poll = select.poll()
    poll.register(pipe, select.POLLIN | select.POLLHUP)
    parts: list[bytes] = []
    while size:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise EOFError
        part = _some(pipe, size)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _some(pipe: int, size: int) -> bytes:
    part = os.read(pipe, min(size, 1 << 20))
    if not part:
        raise EOFError
    return part


CHILD = Child()


def inspected(source: str | Path) -> ModelFolder:
    """`inspect_model`, after a child has read the same files within its limits."""
    path = resolve(source)
    _looked_at(str(path), tuple(_stamp(path / name) for name in FILES))
    return inspect_model(path)


@lru_cache(maxsize=64)
def _looked_at(path: str, _stamps: tuple[tuple[int, int], ...]) -> None:
    CHILD.ask("inspect", path, about=path, kind=ModelError)


def token_spans(folder: str, text: str) -> list[tuple[str, tuple[int, ...]]]:
    """A text as the tokenizer of a folder cuts it: pieces and their ids."""
    return [(piece, tuple(ids)) for piece, ids in CHILD.ask("spans", folder, text, about=folder, kind=TokenizerError)]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size
