"""Uploads: only when asked, only with a token, everything that was written and nothing else, and the token nowhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lep_core.config import ExportConfig
from lep_core.errors import ConfigError
from lep_core.export.hub import obstacle
from lep_core.pipeline import export

Tiny = Callable[..., Path]
TOKEN = "hf_plantedPLANTEDplantedPLANTED0123"
ROOT = Path(__file__).resolve().parents[2]


class FakeHub(BaseHTTPRequestHandler):
    """As much of the hub as an upload of small files asks for; keeps every request."""

    requests: list[tuple[str, str, str, bytes]]
    refusal: int | None

    def do_POST(self) -> None:
        body = self._body()
        if type(self).refusal:
            return self._answer({"error": f"no, {self.headers.get('Authorization')}"}, type(self).refusal)
        place = "http://{}:{}".format(*self.server.server_address[:2])
        if self.path == "/api/repos/create":
            return self._answer({"url": f"{place}/{json.loads(body)['organization']}/{json.loads(body)['name']}"})
        if "/preupload/" in self.path:
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            return self._answer({"files": files})
        if "/commit/" in self.path:
            return self._answer({"commitUrl": f"{place}/acme/tiny/commit/{'0' * 40}", "commitOid": "0" * 40, "success": True})
        return self._answer({})

    def do_GET(self) -> None:
        self._body()
        self._answer({"sha": "0" * 40, "siblings": [], "id": "acme/tiny"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        type(self).requests.append((self.command, self.path, self.headers.get("Authorization") or "", body))
        return body

    def _answer(self, value: Any, status: int | None = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def hub(refusal: int | None = None) -> Iterator[tuple[str, list[tuple[str, str, str, bytes]]]]:
    handler = type("Hub", (FakeHub,), {"requests": [], "refusal": refusal})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.requests  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


UPLOAD = """
import sys
from pathlib import Path
from lep_core.errors import LepError
from lep_core.export.hub import push_folder
try:
    print(push_folder(Path(sys.argv[1]), "acme/tiny", private=True))
except LepError as error:
    sys.exit(str(error))
"""


def upload(folder: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Upload in a process of its own: the hub's address is read when its library is loaded."""
    given = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    given |= {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN, "HF_HOME": str(folder.parent / "hf")}
    command = [sys.executable, "-c", UPLOAD, str(folder)]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def exported(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder exported for that repository while the token is in the environment; the upload itself is left out."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("lep_core.export.hub.push_folder", lambda folder, name, **more: f"somewhere/{name}")
    report = export(ExportConfig(model=str(tiny(chat=True)), output=str(tmp_path / "out"), push_to="acme/tiny"))
    assert report.to_json()["pushed_to"] == "somewhere/acme/tiny"
    return tmp_path / "out"


def test_an_upload_sends_what_was_written_and_shows_the_token_to_nobody_else(exported: Path, tmp_path: Path) -> None:
    with hub() as (endpoint, requests):
        done = upload(exported, endpoint)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{endpoint}/acme/tiny"
    created = next(json.loads(body) for _, path, _, body in requests if path == "/api/repos/create")
    assert (created["name"], created["organization"], created["visibility"]) == ("tiny", "acme", "private")
    commits = [body for _, path, _, body in requests if "/commit/" in path]
    sent = {}
    for line in (json.loads(line) for body in commits for line in body.splitlines()):
        if line["key"] == "file":
            sent[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
    assert sent == {path.name: path.read_bytes() for path in exported.iterdir()}
    assert {given for _, path, given, _ in requests if "/commit/" in path or path.endswith("/create")} == {f"Bearer {TOKEN}"}
    assert b"acme/tiny" in sent["README.md"]
    no_token_anywhere(done, tmp_path)


def test_a_hub_that_refuses_leaves_the_folder_and_says_one_sentence(exported: Path, tmp_path: Path) -> None:
    with hub(refusal=403) as (endpoint, _):
        done = upload(exported, endpoint)
    assert done.returncode == 1
    assert "was not uploaded to acme/tiny: the hub answered 403; the folder stays where it is" in done.stderr
    assert "Traceback" not in done.stderr
    assert (exported / "model.safetensors").is_file()
    no_token_anywhere(done, tmp_path)


@pytest.mark.parametrize("token", [TOKEN, f"{TOKEN}\nmore"])
def test_a_hub_that_cannot_be_reached_leaves_the_folder_and_says_one_sentence(
    token: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.export.test_hub.TOKEN", token)
    done = upload(exported, "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "was not uploaded to acme/tiny: the hub cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    monkeypatch.undo()
    no_token_anywhere(done, tmp_path)


def no_token_anywhere(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert TOKEN not in done.stdout + done.stderr
    for path in folder.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"HF_HUB_OFFLINE": "1", "HF_TOKEN": TOKEN}, "HF_HUB_OFFLINE is set"),
        ({"HF_HUB_OFFLINE": "0", "HF_TOKEN": ""}, "HF_TOKEN is not set"),
    ],
    ids=["offline", "no-token"],
)
def test_what_would_stop_an_upload_is_said_before_the_work(
    environment: dict[str, str], reason: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert obstacle() is not None
    with pytest.raises(ConfigError, match=reason):
        export(ExportConfig(model=str(tiny()), output=str(tmp_path / "out"), push_to="acme/tiny"))
    assert not (tmp_path / "out").exists()


def test_nothing_is_uploaded_unless_it_is_asked_for(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("lep_core.export.hub.push_folder", lambda *given, **more: pytest.fail("it uploaded"))
    assert export(ExportConfig(model=str(tiny()), output=str(tmp_path / "out"))).to_json()["pushed_to"] is None
