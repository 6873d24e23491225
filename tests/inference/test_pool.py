"""Models of one body share a process, no answer is ever another model's, and what happens to a process is told to all who wait."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
import torch

from lep_core.errors import JobError
from lep_core.inference import pool as pool_module
from lep_core.inference.fingerprint import fingerprint
from lep_core.inference.generator import Generator
from lep_core.inference.pool import WorkerPool
from lep_core.inference.sampling import GenerationSettings
from tests.factories import SENTENCES, edit_json, tiny_model
from tests.inference.variants import endless, family, variant_of

CHAT = [{"role": "user", "content": "Где ключ?"}]
LONG = {"max_new_tokens": 100_000}
WORDS = " ".join(SENTENCES).split()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def models(root) -> list[str]:
    """Four models of one body and one of another; all answer differently and end when they are stopped."""
    torch.set_num_threads(1)
    options: dict[str, Any] = {"max_position_embeddings": 100_000, "padded": 8}
    folders = [*family(root, **options), tiny_model(root, name="other", chat=True, seed=5, **options)]
    return [str(endless(folder)) for folder in folders]


@pytest.fixture(scope="module")
def pool(models):
    pool = WorkerPool(device="cpu", threads=1, stop_seconds=20.0)
    pool.prepare(models)
    yield pool
    pool.close()


def settled(pool: WorkerPool, model: str, **options: Any) -> tuple[list[int], dict]:
    *deltas, end = pool.generate(model, **options)
    return [token for event in deltas for token in event["token_ids"]], end


def expected(model: str, prompts: list[str], tokens: int) -> list[tuple[int, ...]]:
    generator = Generator.load(model, device="cpu", threads=1)
    return [one.token_ids for one in generator.batch([generator.prompts.encode(prompt=text) for text in prompts], max_new_tokens=tokens)]


def test_models_of_one_body_are_loaded_into_one_process(pool, models):
    facts = [pool.loaded(model) for model in models]
    assert [event["event"] for event in facts] == ["loaded"] * 5, facts
    assert [event["path"] for event in facts] == models
    assert [event["fingerprint"] for event in facts] == [fingerprint(model) for model in models]
    assert len({event["pid"] for event in facts[:4]}) == 1
    assert facts[4]["pid"] != facts[0]["pid"]
    assert len({event["body_fingerprint"] for event in facts[:4]}) == 1
    assert [event["shared_with"] for event in facts] == [3, 3, 3, 3, 0]
    assert [event["is_chat"] for event in facts] == [True, True, False, True, True]
    assert psutil.Process(facts[0]["pid"]).ppid() == os.getpid()


def test_two_hundred_prompts_at_once_are_each_answered_by_the_model_that_was_asked(pool, models):
    chosen = random.Random(1)
    asked = [(models[number % 5], " ".join(chosen.sample(WORDS, 4))) for number in range(200)]
    right: dict[tuple[str, str], tuple[int, ...]] = {}
    for model in models:
        prompts = [prompt for one, prompt in asked if one == model]
        right |= dict(zip([(model, prompt) for prompt in prompts], expected(model, prompts, 6), strict=True))
    prints = {model: fingerprint(model) for model in models}
    with ThreadPoolExecutor(200) as threads:
        events = list(threads.map(lambda one: list(pool.generate(one[0], prompt=one[1], settings={"max_new_tokens": 6})), asked))
    for (model, prompt), found in zip(asked, events, strict=True):
        assert found[-1]["event"] == "done"
        assert {(event["model"], event["fingerprint"]) for event in found} == {(model, prints[model])}
        assert tuple(token for event in found[:-1] for token in event["token_ids"]) == right[model, prompt]
    # The models do answer differently, so a mix-up would have been seen.
    same = [expected(model, ["The old house"], 6)[0] for model in models]
    assert len(set(same)) == 5


def test_a_model_that_is_not_held_is_an_error_and_nobody_elses_answer(pool, models):
    pool.loaded(models[4])
    [event] = pool.client_for(models[4]).generate(model=models[0], prompt="The")
    assert (event["event"], event["kind"]) == ("error", "ConfigError")
    assert models[0] in event["message"]
    [event] = pool.client_for(models[0]).generate(prompt="The")
    assert event["message"] == "no model is named"


def test_stopping_one_answer_leaves_the_others(pool, models):
    first, second = (pool.generate(model, prompt="The old", settings=LONG) for model in models[:2])
    assert next(first)["event"] == next(second)["event"] == "delta"
    first.close()
    assert next(second)["event"] == "delta"
    pool.stop([models[1]])
    *_, end = second
    assert end["stop_reason"] == "stopped"
    assert settled(pool, models[0], prompt="The", settings={"max_new_tokens": 2})[1]["new_tokens"] == 2


def test_bad_input_for_one_model_is_one_sentence_while_another_answers(pool, models, root):
    broken = variant_of(Path(models[0]), name="broken", chat=True, seed=31)
    edit_json(broken / "tokenizer_config.json", chat_template="{{ raise_exception('no chat with me') }}")
    running = pool.generate(models[1], prompt="The", settings=LONG)
    next(running)
    loaded = pool.loaded(str(broken))
    assert loaded["pid"] == pool.loaded(models[1])["pid"]
    tokens, end = settled(pool, str(broken), messages=CHAT)
    assert (tokens, end["kind"], end["model"]) == ([], "ModelError", str(broken))
    assert "no chat with me" in end["message"]
    _, end = settled(pool, str(broken), prompt="house " * 100_000)
    assert end["kind"] == "ConfigError"
    assert "holds 100000" in end["message"]
    assert settled(pool, str(broken), prompt="The", settings={"max_new_tokens": 3})[1]["new_tokens"] == 3
    assert next(running)["event"] == "delta"
    running.close()


def test_a_folder_that_vanishes_while_loaded_is_answered_from_memory(pool, models, root):
    gone = variant_of(Path(models[0]), name="gone", seed=32)
    [right] = expected(str(gone), ["The old house"], 12)
    assert pool.loaded(str(gone))["event"] == "loaded"
    shutil.rmtree(gone)
    tokens, end = settled(pool, str(gone), prompt="The old house", settings={"max_new_tokens": 12})
    assert (tuple(tokens), end["event"]) == (right, "done")
    pool.prepare([str(gone), models[0]])
    tokens, _ = settled(pool, str(gone), prompt="The old house", settings={"max_new_tokens": 12})
    assert tuple(tokens) == right


def test_a_folder_that_changed_is_loaded_anew(pool, models, root):
    changing = variant_of(Path(models[0]), name="changing", seed=33)
    before = pool.loaded(str(changing))
    shutil.rmtree(changing)
    variant_of(Path(models[0]), name="changing", seed=34)
    pool.prepare([str(changing)])
    after = pool.loaded(str(changing))
    assert before["fingerprint"] != after["fingerprint"] == fingerprint(changing)
    tokens, _ = settled(pool, str(changing), prompt="The", settings={"max_new_tokens": 5})
    assert tuple(tokens) == expected(str(changing), ["The"], 5)[0]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no prlimit here")
def test_a_prompt_that_needs_too_much_memory_fails_alone(pool, models):
    process = psutil.Process(pool.loaded(models[0])["pid"])
    right = expected(models[1], ["The old house"], 12)[0]
    running = pool.generate(models[0], prompt="The", settings=LONG)
    next(running)
    unlimited = resource.prlimit(process.pid, resource.RLIMIT_AS)
    resource.prlimit(process.pid, resource.RLIMIT_AS, (process.memory_info().vms + 30 * 2**20, unlimited[1]))
    try:
        _, end = settled(pool, models[1], prompt="дом " * 40_000)
        assert (end["event"], end["kind"]) == ("error", "ResourceError"), end
        assert "memory" in end["message"]
        assert end["hint"]
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_AS, unlimited)
    assert next(running)["event"] == "delta"
    running.close()
    assert tuple(settled(pool, models[1], prompt="The old house", settings={"max_new_tokens": 12})[0]) == right


def test_a_killed_process_is_told_to_all_who_wait_and_the_next_question_loads_all_its_models_anew(pool, models):
    streams = [pool.generate(model, prompt="The", settings=LONG) for model in models[:4]]
    for stream in streams:
        assert next(stream)["event"] == "delta"
    old = pool.loaded(models[0])["pid"]
    other = pool.loaded(models[4])["pid"]
    os.kill(old, signal.SIGKILL)
    ends = [list(stream)[-1] for stream in streams]
    assert [(end["event"], end["kind"], end["model"]) for end in ends] == [("error", "ResourceError", model) for model in models[:4]]
    assert all("killed" in end["message"] for end in ends)
    for model in models[:4]:
        tokens, end = settled(pool, model, prompt="The old house", settings={"max_new_tokens": 6})
        assert tuple(tokens) == expected(model, ["The old house"], 6)[0], end
    assert len({pool.loaded(model)["pid"] for model in models[:4]} | {old, other}) == 3
    assert pool.loaded(models[4])["pid"] == other


def test_a_folder_that_is_not_there_is_one_sentence(pool, tmp_path):
    missing = str(tmp_path / "none")
    event = pool.loaded(missing)
    assert (event["event"], event["kind"], event["message"]) == ("error", "ModelError", f"there is no folder {missing}")
    assert [one["message"] for one in pool.generate(missing, prompt="The")] == [event["message"]]


def test_models_join_and_leave_a_process_but_another_body_does_not(pool, models):
    assert pool.loaded(models[0])["event"] == "loaded"
    client = pool.client_for(models[0])
    refused = client.add(models[4])
    assert (refused["event"], refused["kind"]) == ("error", "ModelError")
    assert "do not share one body" in refused["message"]
    assert client.drop(models[0])["event"] == "dropped"
    assert client.facts(models[0])["kind"] == "ConfigError"
    assert models[0] not in [one["model"] for one in client.loaded["models"]]
    assert client.add(models[0])["fingerprint"] == fingerprint(models[0])
    settings = {"max_new_tokens": 9, "temperature": 2.0, "seed": 7}
    [*deltas, end] = client.generate(model=models[0], messages=CHAT, settings=settings)
    alone = Generator.load(models[0], device="cpu", threads=1).answer(messages=CHAT, settings=GenerationSettings(**settings))
    assert end["text"] == alone.text == "".join(event["text"] for event in deltas)


class FakeClient:
    """A process that loads at once and answers as long as it is told to."""

    alive: ClassVar[list[FakeClient]] = []

    def __init__(self, models: Any, **_: Any) -> None:
        self.models, self.failure, self.loaded = list(models), None, {"event": "loaded"}
        self.go_on = threading.Event()
        FakeClient.alive.append(self)

    def start(self) -> None:
        pass

    def facts(self, model: str, timeout: float | None = None) -> dict[str, Any]:
        return {"event": "loaded", "model": model} if model in self.models else {"event": "error", "kind": "ConfigError"}

    def add(self, model: str) -> None:
        time.sleep(0.02)
        self.models.append(model)

    def drop(self, model: str) -> None:
        self.models.remove(model)

    def generate(self, *, model: str, **_: Any):
        assert model in self.models
        assert self in FakeClient.alive
        yield {"event": "delta", "model": model}
        self.go_on.wait(10)
        assert self in FakeClient.alive
        yield {"event": "done", "model": model}

    def close(self) -> None:
        FakeClient.alive.remove(self)


@pytest.fixture
def fake(monkeypatch) -> type[FakeClient]:
    """Processes are fakes; models named `body/variant` share a body."""

    class Files:
        def __init__(self, model: str) -> None:
            self.layout = model.split("/")[0]

        def fingerprint(self) -> str:
            return self.layout

    def grouped(models: list[str]) -> list[list[str]]:
        bodies = dict.fromkeys(model.split("/")[0] for model in models)
        return [[model for model in models if model.split("/")[0] == body] for body in bodies]

    FakeClient.alive = []
    monkeypatch.setattr(pool_module, "WorkerClient", FakeClient)
    monkeypatch.setattr(pool_module, "group_by_body", grouped)
    monkeypatch.setattr(pool_module, "_files", Files)
    return FakeClient


def held(fake) -> list[list[str]]:
    return sorted(sorted(client.models) for client in fake.alive)


def test_the_idle_process_used_longest_ago_gives_way_and_a_busy_one_never(fake):
    pool = WorkerPool(most_bodies=2)
    for model in ("a/1", "b/1"):
        pool.loaded(model)
    running = pool.generate("a/1", prompt="x")
    next(running)
    pool.loaded("c/1")
    assert held(fake) == [["a/1"], ["c/1"]]
    second = pool.generate("c/1", prompt="x")
    next(second)
    pool.loaded("d/1")
    assert held(fake) == [["a/1"], ["c/1"], ["d/1"]]
    for client in fake.alive:
        client.go_on.set()
    assert [event["event"] for event in running] == ["done"]
    assert [event["event"] for event in second] == ["done"]
    pool.loaded("e/1")
    assert held(fake) == [["c/1"], ["e/1"]]


def test_a_variant_joins_the_process_of_its_body_and_the_surplus_one_leaves(fake):
    pool = WorkerPool(most_variants=3)
    pool.prepare(["a/1", "b/1", "a/2"])
    for model in ("a/1", "a/2", "b/1", "a/3"):
        assert pool.loaded(model)["event"] == "loaded"
    assert held(fake) == [["a/1", "a/2", "a/3"], ["b/1"]]
    pool.loaded("a/1")
    assert pool.loaded("a/4")["event"] == "loaded"
    assert held(fake) == [["a/1", "a/3", "a/4"], ["b/1"]]


def test_many_threads_that_want_many_models_get_along(fake):
    pool = WorkerPool(most_bodies=3, most_variants=2)
    chosen = random.Random(3)
    wanted = [f"{chosen.choice('abcdef')}/{chosen.randint(1, 3)}" for _ in range(120)]

    def use(model: str) -> str:
        pool.prepare([model, chosen.choice(wanted)])
        events = pool.generate(model, prompt="x")
        first = next(events)
        for client in list(fake.alive):
            client.go_on.set()
        assert [event["model"] for event in events] == [model]
        return first["model"]

    with ThreadPoolExecutor(24) as threads:
        assert list(threads.map(use, wanted)) == wanted
    pool.loaded("z/1")
    assert len(fake.alive) <= 3
    pool.close()
    assert fake.alive == []
    with pytest.raises(JobError):
        pool.loaded("a/1")
