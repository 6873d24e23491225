"""As much of the hub as streaming a data set asks for, on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0" * 40
NAME = "acme/words"
FILES = {
    "README.md": b"---\nconfigs:\n- config_name: default\n  data_files:\n"
    b"  - split: train\n    path: data/train.jsonl\n  - split: test\n    path: data/test.jsonl\n---\n",
    "data/train.jsonl": b"".join(json.dumps({"text": f"line {number}"}).encode() + b"\n" for number in range(50)),
    "data/test.jsonl": b'{"text": "line of the test"}\n',
}


class FakeHub(BaseHTTPRequestHandler):
    """Answers for one data set; everything else is not found."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        about = f"/api/datasets/{NAME}"
        if path == about or path.startswith(f"{about}/revision/"):
            return self._json({"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]})
        if path.startswith(f"{about}/tree/"):
            folder = path.partition("/tree/")[2].partition("/")[2]
            return self._json(
                [
                    {"type": "file", "path": name, "oid": COMMIT, "size": len(content)}
                    for name, content in FILES.items()
                    if name.rpartition("/")[0] == folder
                ]
            )
        if path.startswith(f"/datasets/{NAME}/resolve/"):
            return self._file(path.partition("/resolve/")[2].partition("/")[2])
        return self._json({"error": "not found"}, 404)

    do_HEAD = do_GET

    def _file(self, name: str) -> None:
        shared = {"X-Repo-Commit": COMMIT, "ETag": '"one"', "Accept-Ranges": "bytes"}
        if name not in FILES:
            return self._send(404, b"", {**shared, "X-Error-Code": "EntryNotFound"})
        content, wanted = FILES[name], self.headers.get("Range")
        if not wanted:
            return self._send(200, content, shared)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
        return self._send(206, content[start : end + 1], {**shared, "Content-Range": f"bytes {start}-{end}/{len(content)}"})

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def hub() -> Iterator[str]:
    """The address of a running fake hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
