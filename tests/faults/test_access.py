"""What a running app lets out and lets in: strict headers on every kind of answer, no foreign host or site, no file of anybody's."""

from __future__ import annotations

import http.client
import socket
import urllib.parse

import pytest

from lep_core.runs.workspace import Workspace
from tests.faults.client import Client, at_once
from tests.faults.conftest import PLANTED

HEADERS = ("content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy")
SECRET = "nobody-may-read-this"


def ask(served, method, path, *, headers=None, body=None, read=True):
    """(status, headers, body) of one request, its path sent as it is."""
    line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        line.putrequest(method, path, skip_host=True)
        for name, value in {"Host": f"127.0.0.1:{served.port}", **(headers or {})}.items():
            line.putheader(name, value)
        if body is not None:
            line.putheader("Content-Length", str(len(body)))
        line.endheaders(body)
        answer = line.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read() if read else answer.read(10)
    finally:
        line.close()


JSON = {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=edge"}
KINDS = {
    "the page": ("GET", "/", {}, None),
    "the page in another language": ("GET", "/?language=ru", {}, None),
    "the head of the page": ("HEAD", "/", {}, None),
    "health": ("GET", "/health", {}, None),
    "settings of the page": ("GET", "/config", {}, None),
    "list of endpoints": ("GET", "/gradio_api/info", {}, None),
    "styles": ("GET", "/theme.css", {}, None),
    "icon": ("GET", "/favicon.ico", {}, None),
    "something that is not there": ("GET", "/nothing/here", {}, None),
    "a wrong method": ("DELETE", "/", {}, None),
    "questions about methods": ("OPTIONS", "/gradio_api/upload", {}, None),
    "an endpoint": ("POST", "/gradio_api/run/list_projects", JSON, b'{"data": []}'),
    "an endpoint that refuses": ("POST", "/gradio_api/run/run_status", JSON, b'{"data": ["demo", "none"]}'),
    "an endpoint that is not there": ("POST", "/gradio_api/run/destroy", JSON, b'{"data": []}'),
    "broken JSON": ("POST", "/gradio_api/run/list_projects", JSON, b"{"),
    "an upload": ("POST", "/gradio_api/upload", MULTIPART, b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nx\r\n--edge--\r\n'),
    "an upload that is none": ("POST", "/gradio_api/upload", MULTIPART, b"nothing"),
    "an upload that is too large": ("POST", "/gradio_api/upload", {**MULTIPART, "Content-Length": str(2**50)}, None),
    "a stream": ("GET", "/gradio_api/heartbeat/abc", {}, None),
    "a foreign host": ("GET", "/", {"Host": "evil.example"}, None),
    "a foreign site": ("POST", "/gradio_api/run/list_projects", {**JSON, "Origin": "http://evil.example"}, b'{"data": []}'),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_answer_has_strict_headers(served, kind):
    method, path, headers, body = KINDS[kind]
    status, given, _ = ask(served, method, path, headers=headers, body=body, read=kind not in ("a stream",))
    lacking = [name for name in HEADERS if name not in given]
    assert not lacking, f"{status} without {lacking}"
    assert "access-control-allow-origin" not in given


def test_foreign_hosts_and_sites_get_nothing(served):
    for path in ("/", "/config", "/gradio_api/info", "/health", "/gradio_api/file=/etc/passwd"):
        for host in ("evil.example", f"evil.example:{served.port}", "127.0.0.1.evil.example", ""):
            assert ask(served, "GET", path, headers={"Host": host})[0] == 400
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"https://127.0.0.1:{served.port}@evil.example"):
        for path in ("/gradio_api/run/list_projects", "/gradio_api/upload", "/gradio_api/queue/join"):
            assert ask(served, "POST", path, headers={**JSON, "Origin": origin}, body=b"{}")[0] == 403


def test_a_web_socket_from_elsewhere_is_refused(served):
    for host, origin, expected in (
        ("evil.example", "http://evil.example", b" 400 "),
        (f"127.0.0.1:{served.port}", "http://evil.example", b" 403 "),
    ):
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as line:
            line.sendall(
                f"GET /gradio_api/queue/join HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            answer = line.recv(500)
        assert b"101" not in answer.split(b"\r\n")[0]
        assert expected in answer.split(b"\r\n")[0]


@pytest.fixture(scope="module")
def secrets(served):
    """Files that no address may give: beside the workspace, in it, in a project, behind a link."""
    project = served.workspace / "demo"
    outside = served.workspace.parent / "outside" / "secret.txt"
    outside.parent.mkdir()
    places = [outside, served.workspace / "secret.txt", project / "files" / "secret.txt", project / "secret.html"]
    for place in places:
        place.write_text(SECRET, encoding="utf-8")
    for link in (served.workspace / "link.txt", served.workspace / ".uploads" / "link.txt"):
        link.symlink_to(outside)
        places.append(link)
    return [*places, project / "project.json"]


def test_no_address_gives_a_file(served, secrets):
    from lep_core import cli

    files = [*map(str, secrets), "/etc/passwd", "/proc/self/environ", cli.__file__]
    relative = ["../" * depth + name for depth in (1, 2, 4, 8) for name in ("etc/passwd", "secret.txt", "app.py")]
    found = []
    for file in [*files, *relative, "app.py", "ui/server.py", ".git/config", "workspace/secret.txt"]:
        for spelled in {file, urllib.parse.quote(file, safe=""), urllib.parse.quote(urllib.parse.quote(file, safe=""), safe=""), file.replace("../", "..%2f"), file.replace("../", "....//"), file.replace("/", "\\")}:  # fmt: skip
            for address in ("/gradio_api/file=", "/file=", "/gradio_api/stream/", "/static/", "/assets/", "/gradio_api/proxy=", "/svelte/", "/custom_component/", "/gradio_api/file/", "/"):  # fmt: skip
                path = f"{address}{spelled}"
                status, _, body = ask(served, "GET", urllib.parse.quote(path, safe="/%=:?&\\.~"))
                if SECRET.encode() in body or b"root:x:" in body or PLANTED.encode() in body or (status == 200 and b"import" in body):
                    found.append((path, status))
    assert not found


def test_a_path_in_the_place_of_an_uploaded_file_is_not_read(served, secrets):
    """A program may say of any path that it was uploaded: it must not become a corpus, nor come back."""
    before = {run.id for run in Workspace(served.workspace, create=False).project("demo").runs()}
    for path in (str(secrets[0]), "/etc/passwd"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.txt"}
        for number in range(0, 400, 7):
            body = f'{{"data": [{{"path": "{path}"}}], "fn_index": {number}, "session_hash": "x"}}'.encode()
            _, _, answer = ask(served, "POST", "/gradio_api/run/predict", headers=JSON, body=body)
            assert SECRET.encode() not in answer
            assert b"root:x:" not in answer
        with pytest.raises(RuntimeError):
            Client(served.port).call("run_log", "demo", file, 5)
    runs = Workspace(served.workspace, create=False).project("demo").runs()
    for run in runs:
        if run.id not in before and run.output is not None:
            assert not any(SECRET.encode() in found.read_bytes() for found in run.output.rglob("*") if found.is_file())


def test_more_requests_than_the_app_takes_are_told_that_it_is_busy():
    """Open requests are counted; the next one hears at once that it has to wait."""
    import asyncio

    from ui.protection import MOST_REQUESTS, protect

    async def everybody():
        gate, begun = asyncio.Event(), 0

        async def slow(scope, receive, send):
            nonlocal begun
            begun += 1
            await gate.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})

        app = protect(slow, hosts=("127.0.0.1",))

        async def call(path="/"):
            sent = []

            async def send(message):
                sent.append(message)

            scope = {
                "type": "http",
                "method": "GET",
                "path": path,
                "query_string": b"",
                "headers": [(b"host", b"127.0.0.1")],
                "client": ("127.0.0.1", 5),
            }
            await app(scope, None, send)
            return sent

        waiting = [asyncio.create_task(call()) for _ in range(MOST_REQUESTS)]
        while begun < MOST_REQUESTS:
            await asyncio.sleep(0)
        refused = await call()
        gate.set()
        answered = await asyncio.gather(*waiting)
        return refused, answered, await call()

    refused, answered, after = asyncio.run(everybody())
    assert refused[0]["status"] == 503
    assert b"Busy" in refused[1]["body"]
    assert b"retry-after" in {name for name, _ in refused[0]["headers"]}
    assert {one[0]["status"] for one in answered} == {200}
    assert after[0]["status"] == 200


def test_the_app_answers_others_while_many_endpoints_refuse(served):
    def wrong():
        with pytest.raises(RuntimeError):
            Client(served.port).call("run_status", "demo", "../../etc/passwd")

    at_once([wrong] * 16)
    assert Client(served.port).call("list_projects")[0]["id"] == "demo"


def test_the_planted_token_is_in_no_log_or_file_of_the_app(served):
    from tests.faults.test_app import holders

    assert holders(PLANTED, served.workspace.parent) == []
