"""Whatever a handler raises inside a real server becomes a message, and the next call works: also what would end a process."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request

import pytest

from tests.faults.client import Client


class PanicException(BaseException):
    """Like the panic of a native library."""


ERRORS = {
    "panic": PanicException("index out of bounds"),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "bug": ValueError("surprise"),
}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A server with one button of each kind, and the product's own endpoints."""
    import fastapi
    import gradio as gr
    import uvicorn

    from ui.api import _answering
    from ui.i18n import Translator
    from ui.messages import action, note_area, view

    def work(value):
        if value in ERRORS:
            raise ERRORS[value]
        return {box: f"well: {value}"}

    def endpoint(value: str) -> str:
        if value in ERRORS:
            raise ERRORS[value]
        return f"well: {value}"

    t = Translator("en")
    with gr.Blocks() as page:
        box, note, button = gr.Textbox(), note_area("n"), gr.Button()
        shared = {"inputs": [box], "outputs": [box], "t": t, "api_visibility": "public"}
        action(button.click, work, note=note, api_name="press", **shared)
        view(box.change, work, api_name="look", **shared)
        gr.api(_answering(endpoint), api_name="ask", queue=False)
    app = gr.mount_gradio_app(fastapi.FastAPI(), page, path="/", ssr_mode=False)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < until
            time.sleep(0.02)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def pressed(port, name, value):
    """The data of an event that goes through the queue, as the page and programs hear it."""
    client = Client(port)
    status, body = client.post(f"/gradio_api/call/{name}", {"data": [value]})
    assert status == 200, body
    address = f"http://127.0.0.1:{port}/gradio_api/call/{name}/{json.loads(body)['event_id']}"
    with urllib.request.urlopen(address, timeout=30) as answer:
        data = next(line for line in answer.read().decode().splitlines() if line.startswith("data: "))
    return json.dumps(json.loads(data.removeprefix("data: ")), ensure_ascii=False)


@pytest.mark.parametrize("kind", ERRORS)
def test_a_button_whose_work_raises_shows_a_note_and_works_again(port, kind):
    began = time.monotonic()
    assert "⚠" in pressed(port, "press", kind)
    assert time.monotonic() - began < 10
    assert "well: again" in pressed(port, "press", "again")


@pytest.mark.parametrize("kind", ERRORS)
def test_an_endpoint_that_raises_says_so_and_works_again(port, kind):
    with pytest.raises(RuntimeError, match="500: "):
        Client(port).call("ask", kind)
    assert Client(port).call("ask", "again") == "well: again"


def test_the_server_lives(port):
    assert Client(port).post("/gradio_api/run/ask", {"data": ["x"]})[0] == 200
