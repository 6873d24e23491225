"""The public endpoints, called by gradio_client over HTTP from an app that wants a login."""

from __future__ import annotations

import inspect
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from ui.api import ENDPOINTS, Api, mcp_wanted
from ui.health import is_well

ROOT = Path(__file__).resolve().parents[2]
LOGIN = ("me", "secret")
DEMO = str(ROOT / "assets" / "demo" / "base")
WAIT_SECONDS = 120


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The app in this process: address, and the backend behind it."""
    import uvicorn

    from ui import server as app_server
    from ui import studio

    folder, opened = tmp_path_factory.mktemp("api"), []
    patch = pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
    really = studio.Backend.open.__func__
    patch.setattr(studio.Backend, "open", classmethod(lambda cls, path: opened.append(really(cls, path)) or opened[-1]))
    asgi = app_server.build_server(folder / "workspace", host="127.0.0.1", language="en", login=LOGIN)
    listener = app_server._listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(asgi, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    yield SimpleNamespace(address=f"http://127.0.0.1:{listener.getsockname()[1]}/", backend=opened[0])
    server.should_exit = True
    thread.join(20)
    patch.undo()


@pytest.fixture(scope="module")
def client(app):
    return Client(
        app.address, httpx_kwargs={"auth": LOGIN, "timeout": WAIT_SECONDS}, analytics_enabled=False, verbose=False, ssl_verify=False
    )


@pytest.fixture(scope="module")
def call(client):
    """`call("endpoint", ...)`: what the endpoint returns."""
    return lambda endpoint, *values, **named: client.predict(*values, **named, api_name=f"/{endpoint}")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("Повтори: волк, лиса.\n" * 20, encoding="utf-8")
    return str(path)


def wait(call, run):
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        status = call("run_status", "demo", run)
        if status["state"] not in ("queued", "running"):
            return status
        time.sleep(0.2)
    raise AssertionError(status)


def test_only_the_named_endpoints_are_public_and_each_is_typed(client):
    described = client.view_api(return_format="dict", print_info=False)
    assert set(described["named_endpoints"]) == {f"/{name}" for name in ENDPOINTS}
    assert described["unnamed_endpoints"] == {}
    for name, endpoint in described["named_endpoints"].items():
        assert endpoint["description"], name
        taken = list(inspect.signature(getattr(Api, name[1:])).parameters)[1:]
        assert [item["parameter_name"] for item in endpoint["parameters"]] == taken
        for item in [*endpoint["parameters"], *endpoint["returns"]]:
            assert item["python_type"]["type"] not in ("", "Any"), (name, item)


def test_without_the_login_nothing_is_answered(app):
    with pytest.raises(Exception, match=r"401|login"):
        Client(app.address, analytics_enabled=False, verbose=False, ssl_verify=False)


def test_projects_models_and_verbs_are_listed(call):
    (project,) = call("list_projects")
    assert project["id"] == "demo"
    assert {one["folder"] for one in call("list_models", "demo")} == {project["base"], project["instruct"]}
    assert [one["folder"] for one in call("list_tokenizers", "demo")] == [project["base"]]
    assert call("list_corpora", "demo") == []
    assert "train" in [verb["name"] for verb in call("list_verbs")]
    steps = next(item for item in call("describe_verb", "train")["settings"] if item["name"] == "steps")
    assert steps["type"] == "int"
    assert steps["help"]


def test_a_run_is_started_followed_and_reported(call, text):
    started = call("start_run", "demo", "measure-fertility", {"tokenizer": [DEMO], "input": [text]})
    assert started["state"] in ("queued", "running")
    assert wait(call, started["id"])["state"] == "succeeded"
    found = call("run_report", "demo", started["id"])
    (measured,) = found["report"]["tokenizers"]
    assert measured["words"] == 60
    assert found["settings"]["input"] == [text]
    assert started["id"] in [run["id"] for run in call("list_runs", "demo", verb="measure-fertility")]
    assert isinstance(call("run_log", "demo", started["id"], lines=5), str)
    assert call("run_metrics", "demo", started["id"]) == []


def test_a_training_is_checked_first_and_can_be_stopped_before_its_turn(call, app, text, monkeypatch):
    monkeypatch.setattr(app.backend.queue, "submit", lambda run=None: None)
    monkeypatch.setattr(app.backend.queue, "waiting", lambda lane=None: [])
    training = call("start_run", "demo", "train", {"model": DEMO, "input": [text], "steps": 1})
    (check,) = training["after"]
    assert check.startswith("preflight-")
    for run in (training["id"], check):
        assert call("stop_run", "demo", run, discard=True)["id"] == run


MISTAKES = [
    ("list_runs", ["nowhere"], "there is no project 'nowhere'"),
    ("list_runs", ["../demo"], "is no project id"),
    ("list_runs", [7], "project is 7, not a text"),
    ("run_status", ["demo", "../../etc"], "is no run id"),
    ("run_status", ["demo", "train-1"], "there is no run train-1"),
    ("start_run", ["demo", "fly", {}], "there is no verb fly"),
    ("start_run", ["demo", "train", {"steps": 1}], "model is missing"),
    ("start_run", ["demo", "train", {"model": DEMO, "input": ["x"], "block-size": 0}], "block_size is 0"),
    ("start_run", ["demo", "train", {"model": DEMO, "input": ["x"], "output": "/tmp/x"}], "output cannot be chosen here"),
    ("start_run", ["demo", "export", {"model": DEMO, "push_to": "me/mine"}], "would be uploaded to me/mine"),
    ("start_run", ["demo", "train", {"model": DEMO, "input": ["x"]}, ["train-1"]], "there is no run train-1"),
    ("chat", ["demo", "/etc", "Hello"], "'/etc' is no model of the project Demo"),
    ("chat", ["demo", DEMO, " "], "prompt is empty|there is no message"),
    ("chat", ["demo", DEMO, "Hello", "", False, 0], "max_new_tokens is 0"),
    ("run_log", ["demo", "train-1", 0], "lines is 0"),
]


def test_what_cannot_work_is_one_clear_sentence_and_makes_no_run(call, app):
    before = {run.id for run in app.backend.workspace.runs()}
    for endpoint, values, message in MISTAKES:
        with pytest.raises(AppError, match=message):
            call(endpoint, *values)
    assert {run.id for run in app.backend.workspace.runs()} == before


class Pool:
    """Stands for the models' processes."""

    def __init__(self):
        self.asked = None

    def loaded(self, model):
        return {"event": "loaded", "is_chat": True}

    def generate(self, model, **asked):
        self.asked = asked
        yield {"event": "delta", "text": "волк, "}
        yield {"event": "delta", "text": "лиса"}
        yield {"event": "done", "new_tokens": 4, "seconds": 0.5, "characters_per_second": 20.0, "stop_reason": "eos", "fingerprint": "f"}

    def close(self):
        pass


def test_a_model_of_the_project_answers(call, app, monkeypatch):
    pool = Pool()
    monkeypatch.setattr("ui.api.shared_chats", lambda backend: SimpleNamespace(pool=pool))
    answer = call("chat", "demo", DEMO, "Повтори: волк, лиса.", system="Be short.", max_new_tokens=8)
    assert answer["text"] == "волк, лиса"
    assert answer["new_tokens"] == 4
    assert [turn["role"] for turn in pool.asked["messages"]] == ["system", "user"]
    assert pool.asked["settings"] == {"max_new_tokens": 8, "temperature": 0.0, "seed": 0}


@pytest.mark.slow
def test_the_demo_model_answers(call):
    answer = call("chat", "demo", str(ROOT / "assets" / "demo" / "instruct"), "Повтори: волк, лиса.", max_new_tokens=8)
    assert 1 <= answer["new_tokens"] <= 8
    assert answer["text"]


def test_the_endpoints_answer_plain_http(app):
    import httpx

    asked = httpx.post(f"{app.address}gradio_api/run/describe_verb", json={"data": ["train"]}, auth=LOGIN, timeout=WAIT_SECONDS)
    assert asked.json()["data"][0]["name"] == "train"
    assert "start_run" in httpx.get(f"{app.address}gradio_api/info", auth=LOGIN, timeout=WAIT_SECONDS).text


def test_the_health_check_goes_through_the_queue(app):
    address = app.address.rstrip("/")
    login = {"LEP_USER": LOGIN[0], "LEP_PASSWORD": LOGIN[1]}
    assert is_well(address, login, seconds=WAIT_SECONDS)
    assert not is_well(address, {})
    assert not is_well("http://127.0.0.1:9", login)


@pytest.mark.slow
def test_the_example_of_the_documentation_runs(app, text, monkeypatch):
    code = re.search(r"```python\n(import time.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
    code = code.replace("http://127.0.0.1:7860", app.address).replace("text.txt", text)
    really = Client.__init__
    monkeypatch.setattr(
        Client,
        "__init__",
        lambda self, *given, **named: really(self, *given, **named, httpx_kwargs={"auth": LOGIN, "timeout": WAIT_SECONDS}),
    )
    shown = {}
    exec(compile(code, "docs/api.md", "exec"), {"print": lambda report: shown.update(report)})
    assert shown["method"] == "mean"


@pytest.mark.slow
def test_the_tools_of_mcp_clients_are_the_same_endpoints(tmp_path, monkeypatch):
    pytest.importorskip("mcp", reason="the package mcp is not installed")
    import asyncio

    import httpx
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    from tests.e2e.conftest import start_app

    async def talk(address):
        async with httpx.AsyncClient() as http:
            async with streamable_http_client(f"{address}gradio_api/mcp/", http_client=http) as (reading, writing, _):
                async with ClientSession(reading, writing) as session:
                    await session.initialize()
                    tools = (await session.list_tools()).tools
                    good = await session.call_tool("list_projects", {})
                    bad = await session.call_tool("run_status", {"project": "nowhere", "run": "x"})
                    return tools, good, bad

    # A process of its own: Gradio decides when it is imported whether there is such a package.
    monkeypatch.setenv("LEP_MCP", "1")
    app = start_app(tmp_path / "workspace", tmp_path / "app.log")
    try:
        tools, good, bad = asyncio.run(talk(app.address))
    finally:
        app.stop()
    assert {tool.name for tool in tools} == set(ENDPOINTS)
    assert "Demo" in good.content[0].text
    assert bad.isError
    assert "there is no project 'nowhere'" in bad.content[0].text


def test_mcp_is_off_unless_asked_for(monkeypatch):
    monkeypatch.delenv("LEP_MCP", raising=False)
    assert mcp_wanted() is False
    monkeypatch.setenv("LEP_MCP", "1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Exception, match="pip install"):
        mcp_wanted()


def test_the_page_of_the_interface_names_every_endpoint_and_every_argument():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(\w+)\(([^)]*)\)`", page, flags=re.MULTILINE))
    assert {name: re.findall(r"\w+", taken) for name, taken in documented.items()} == {
        name: list(inspect.signature(getattr(Api, name)).parameters)[1:] for name in ENDPOINTS
    }
