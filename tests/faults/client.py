"""Clients of a running app over plain HTTP: the endpoints of docs/api.md, many at once, and what they measured."""

from __future__ import annotations

import http.client
import json
import math
import secrets
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Client:
    """One connection that is kept open, as programs do it."""

    port: int
    seconds: list[float] = field(default_factory=list)
    # As gradio_client does it: without one, Gradio makes and forgets a session for every call, which takes far longer than the call.
    session: str = field(default_factory=lambda: secrets.token_hex(6))
    _line: http.client.HTTPConnection | None = None

    def call(self, endpoint: str, *arguments: Any) -> Any:
        """The answer of an endpoint; RuntimeError with what the app said when it refused."""
        status, body = self.post(f"/gradio_api/run/{endpoint}", {"data": list(arguments), "session_hash": self.session})
        if status != 200:
            raise RuntimeError(f"{status}: {body[:300].decode('utf-8', 'replace')}")
        return json.loads(body)["data"][0]

    def post(self, path: str, value: Any) -> tuple[int, bytes]:
        began = time.monotonic()
        if self._line is None:
            self._line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            self._line.request("POST", path, json.dumps(value), {"Content-Type": "application/json"})
            answer = self._line.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._line = None
            raise
        finally:
            self.seconds.append(time.monotonic() - began)


def at_once(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Results of all works, each in a thread of its own, begun together; an error of one is raised here."""
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []
    gate = threading.Barrier(len(works))

    def body(number: int) -> None:
        try:
            gate.wait()
            results[number] = works[number]()
        except BaseException as error:  # it belongs to the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def figures(values: Sequence[float]) -> str:
    """p50, p95 and largest, in seconds."""
    return f"p50 {statistics.median(values):.3f} s, p95 {percentile(values, 0.95):.3f} s, max {max(values):.3f} s"
