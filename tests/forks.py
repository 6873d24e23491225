"""Processes for tests that start in milliseconds: a server imports everything once, and each process is a fork of it.

process = start(function, argument, RANK="0")     # function at the top level of a module; output goes to the test's own
codes = ranks(2, function, argument)              # as torchrun would start them, over gloo
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from tests.conftest import REPOSITORY

os.environ["PYTHONPATH"] = os.pathsep.join(
    dict.fromkeys([str(REPOSITORY), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.forks_preloaded"])


def start(function: Callable[..., Any], *arguments: Any, **environment: str) -> BaseProcess:
    """Run `sys.exit(function(*arguments))` in a new process with these environment variables more."""
    process = CONTEXT.Process(target=_call, args=(function, arguments, environment))
    process.start()
    return process


def start_ranks(count: int, function: Callable[..., Any], *arguments: Any, **environment: str) -> list[BaseProcess]:
    """The processes of a team, as torchrun would start them on this host."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"ACCELERATE_USE_CPU": "true", **environment}
    return [start(function, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **common) for rank in range(count)]


def ranks(count: int, function: Callable[..., Any], *arguments: Any, seconds: float = 60, **environment: str) -> list[int | None]:
    """Exit codes of the processes of a team."""
    processes = start_ranks(count, function, *arguments, **environment)
    for process in processes:
        process.join(seconds)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    raise SystemExit(function(*arguments))
