"""One process per model: it answers with its own model, stops at once, and its death is an event."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from lep_core.inference.client import WorkerClient
from lep_core.inference.fingerprint import fingerprint
from lep_core.inference.generator import Generator
from lep_core.inference.sampling import GenerationSettings
from tests.factories import edit_json, tiny_model

CHAT = [{"role": "user", "content": "Где ключ?"}]
LONG = {"max_new_tokens": 100_000}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    sizes = {"chat": True, "max_position_embeddings": 100_000}
    return [tiny_model(root, name="first", **sizes), tiny_model(root, name="second", seed=5, **sizes)]


@pytest.fixture(scope="module")
def clients(models, tmp_path_factory):
    clients = [WorkerClient(model, device="cpu", stop_seconds=10.0) for model in models]
    for client in clients:
        client.start()
    yield clients
    for client in clients:
        client.close()


def settled(client: WorkerClient, **options) -> tuple[str, list[int], dict]:
    events = list(client.generate(**options))
    assert [event["event"] for event in events[:-1]] == ["delta"] * (len(events) - 1)
    return "".join(event["text"] for event in events[:-1]), [one for event in events[:-1] for one in event["token_ids"]], events[-1]


def test_starting_takes_no_time_and_two_workers_prove_and_keep_their_models(clients, models):
    loaded = [client.wait_until_loaded(120) for client in clients]
    assert [event["event"] for event in loaded] == ["loaded", "loaded"], loaded
    assert [event["path"] for event in loaded] == [str(model) for model in models]
    assert [event["fingerprint"] for event in loaded] == [fingerprint(model) for model in models]
    assert loaded[0]["fingerprint"] != loaded[1]["fingerprint"]
    expected = [
        Generator.load(model, device="cpu").answer(messages=CHAT, settings=GenerationSettings(max_new_tokens=20)) for model in models
    ]
    assert expected[0].token_ids != expected[1].token_ids
    # Both at the same time, their events read in turns.
    streams = [client.generate(messages=CHAT, settings={"max_new_tokens": 20}) for client in clients]
    firsts = [next(stream) for stream in streams]
    for first, stream, answer in zip(firsts, streams, expected, strict=True):
        events = [first, *stream]
        assert tuple(one for event in events[:-1] for one in event["token_ids"]) == answer.token_ids
        assert "".join(event["text"] for event in events[:-1]) == answer.text == events[-1]["text"]
        assert all("".join(event["pieces"]) == event["text"] for event in events[:-1] if event["token_ids"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the order is Linux's")
def test_a_model_process_goes_before_the_app_when_memory_runs_out(clients):
    clients[0].wait_until_loaded(120)
    assert Path(f"/proc/{clients[0].pid}/oom_score_adj").read_text().strip() == "500"


def test_stop_takes_effect_within_a_moment_and_the_model_stays_loaded(clients):
    client = clients[0]
    client.wait_until_loaded(120)
    asked, events = 0.0, []
    for event in client.generate(prompt="The old house", settings=LONG):
        events.append(event)
        if not asked:
            client.stop()
            asked = time.monotonic()
    assert time.monotonic() - asked < 5
    assert events[-1]["event"] == "done"
    assert events[-1]["stop_reason"] == "stopped"
    assert settled(client, prompt="The", settings={"max_new_tokens": 4})[2]["new_tokens"] == 4
    assert client.state == "ready"


def test_two_questions_to_one_worker_are_answered_in_turn_and_stopped_together(clients):
    client = clients[0]
    client.wait_until_loaded(120)
    first, second = client.generate(prompt="The", settings=LONG), client.generate(prompt="Где", settings=LONG)
    next(first)
    ends: list[dict] = []
    waiting = threading.Thread(target=lambda: ends.extend(second))
    waiting.start()
    deadline = time.monotonic() + 20
    while len(client._answers) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    client.stop()
    *_, end = first
    waiting.join(20)
    assert [end["stop_reason"], ends[-1]["stop_reason"]] == ["stopped", "stopped"]
    assert ends[-1]["new_tokens"] == 0


def test_deltas_are_gathered(clients):
    text, token_ids, done = settled(clients[0], prompt="The old house", settings={"max_new_tokens": 300})
    assert len(token_ids) == done["new_tokens"]
    assert text == done["text"]
    count, start = 0, time.monotonic()
    for _ in clients[0].generate(prompt="The old house", settings={"max_new_tokens": 300}):
        count += 1
    assert count <= 22 * (time.monotonic() - start) + 3


def test_a_mistake_is_an_event_and_the_next_request_works(clients):
    *_, event = clients[0].generate(prompt="The", settings={"temperature": -1})
    assert (event["event"], event["kind"]) == ("error", "ConfigError")
    assert event["hint"]
    *_, event = clients[0].generate(messages=[{"role": "robot", "content": "x"}])
    assert event["kind"] == "ConfigError"
    assert settled(clients[0], prompt="The", settings={"max_new_tokens": 2})[2]["event"] == "done"


def test_leaving_the_events_stops_the_answer(clients):
    client = clients[1]
    stream = client.generate(prompt="The", settings=LONG)
    next(stream)
    stream.close()
    start = time.monotonic()
    assert settled(client, prompt="The", settings={"max_new_tokens": 2})[2]["event"] == "done"
    assert time.monotonic() - start < 5


def test_a_killed_worker_is_an_error_event_and_the_next_request_loads_the_model_anew(clients):
    client = clients[1]
    client.wait_until_loaded(120)
    events = []
    for event in client.generate(prompt="The", settings=LONG):
        if not events:
            os.kill(client.pid, signal.SIGKILL)
        events.append(event)
    assert events[-1]["event"] == "error"
    assert events[-1]["kind"] == "ResourceError"
    assert "killed" in events[-1]["message"]
    assert events[-1]["hint"]
    assert client.state == "failed"
    assert settled(client, prompt="The", settings={"max_new_tokens": 2})[2]["event"] == "done"


def test_a_worker_that_does_not_stop_is_ended(clients):
    client = clients[1]
    client.wait_until_loaded(120)
    client._stop_seconds = 0.5
    stream = client.generate(prompt="The", settings=LONG)
    next(stream)
    os.kill(client.pid, signal.SIGSTOP)
    client.stop()
    events = list(stream)
    assert events[-1]["event"] == "error"
    assert "did not stop within 0.5 seconds" in events[-1]["message"]


def test_a_model_that_does_not_load_is_an_error_event(tmp_path, models):
    folder = tiny_model(tmp_path)
    edit_json(folder / "config.json", hidden_size=48)
    with WorkerClient(folder, device="cpu") as client:
        events = list(client.generate(prompt="The"))
        assert [event["event"] for event in events] == ["error"]
        assert events[0]["kind"] == "ModelError"
        assert client.state == "failed"
    assert client.state == "closed"


def test_closing_ends_the_process_and_whoever_waits(models):
    client = WorkerClient(models[0], device="cpu")
    client.start()
    pid = client.pid
    stream = client.generate(prompt="The")
    client.close()
    assert not psutil.pid_exists(pid)
    del stream
    assert client.wait_until_loaded.__self__.state == "closed"


def test_the_child_ends_with_its_parent(models):
    code = (
        "import sys, os; from lep_core.inference.client import WorkerClient; "
        "client = WorkerClient(sys.argv[1], device='cpu'); client.start(); print(client.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(models[0])], capture_output=True, text=True, timeout=60)
    child = int(result.stdout)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.1)
