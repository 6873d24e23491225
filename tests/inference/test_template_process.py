"""A template runs in a process of its own: whatever it does ends in time, and the next rendering works."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from lep_core.inference.template_process import Limits, TemplateFailure, TemplateProcess
from tests.forks import start

LIMITS = Limits(seconds=0.5, extra_bytes=200 * 2**20, characters=1000)


def evaluate(request):
    kind, value = request
    if kind == "say":
        return value
    if kind == "raise":
        raise ValueError(value)
    if kind == "power":
        # One operation of the interpreter, which no signal handler can interrupt.
        return str(9 ** (9**value))
    if kind == "memory":
        return str(len(bytes(value)))
    if kind == "loop":
        while True:
            pass
    os.kill(os.getpid(), signal.SIGSEGV)
    return ""


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (("raise", "no such thing"), "no such thing"),
        (("power", 9), "within 0.5 seconds of computing"),
        (("loop", None), "within 0.5 seconds of computing"),
        (("memory", 10**9), "memory"),
        (("say", "x" * 1001), "1001 characters"),
        (("crash", None), "signal 11"),
    ],
)
def test_a_failure_says_why_and_the_next_rendering_works(request_, reason):
    process = TemplateProcess(evaluate)
    assert process.render(("say", "before"), LIMITS) == "before"
    began = time.monotonic()
    with pytest.raises(TemplateFailure, match=reason):
        process.render(request_, LIMITS)
    assert time.monotonic() - began < 30
    assert process.render(("say", "after: ты \ud83d"), LIMITS) == "after: ты \ud83d"


def test_one_process_serves_many_threads_and_keeps_their_answers_apart():
    process = TemplateProcess(evaluate)
    found = {}

    def ask(number):
        found[number] = [process.render(("say", f"{number}-{turn}"), LIMITS) for turn in range(20)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [f"{number}-{turn}" for turn in range(20)] for number in range(8)}


def test_the_process_goes_with_its_owner():
    process = TemplateProcess(evaluate)
    process.render(("say", "x"), LIMITS)
    pid = process._child._pid
    del process
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def parent(path):
    process = TemplateProcess(evaluate)
    process.render(("say", "x"), LIMITS)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(str(process._child._pid))
    time.sleep(60)


def test_the_process_dies_when_its_parent_is_killed(tmp_path):
    owner = start(parent, tmp_path / "pid")
    until = time.monotonic() + 30
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    pid = int((tmp_path / "pid").read_text())
    owner.kill()
    owner.join()
    until = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < until, "the template's process outlives its parent"
        time.sleep(0.02)


def alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
