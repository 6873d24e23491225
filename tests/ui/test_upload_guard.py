"""Uploads that do not fit are refused, broken ones leave nothing behind, finished ones stay."""

import asyncio
import http.client
import os
import socket
import threading
import time

import pytest

from ui.upload_guard import ORPHAN_SECONDS, RESERVE_BYTES, UNUSED_SECONDS, UploadGuard


@pytest.fixture
def guard(tmp_path):
    return UploadGuard(tmp_path, quota=1000, most_at_once=2)


def test_an_upload_that_announces_too_much_is_refused_before_a_byte_is_read(guard):
    async def never(scope, receive, send):
        raise AssertionError("the app was asked")

    status, text = ask(guard.wrap(never), headers=[(b"content-length", b"1001")])
    assert status == 413
    assert "1,001" in text
    assert "1,000" in text


def test_an_upload_that_grows_too_large_is_broken_off(guard):
    status, text = ask(guard.wrap(reading_app), body=[b"x" * 600, b"x" * 600])
    assert status == 413
    assert "1,000" in text


def test_a_fitting_upload_and_other_requests_pass(guard):
    assert ask(guard.wrap(reading_app), body=[b"x" * 600, b"x" * 300]) == (200, "900")
    assert ask(guard.wrap(reading_app), path="/other", body=[b"x" * 5000]) == (200, "5000")


def test_waiting_uploads_count(guard, tmp_path):
    (tmp_path / "hash").mkdir()
    (tmp_path / "hash" / "text.txt").write_bytes(b"x" * 700)
    assert guard.room() == 300
    assert ask(guard.wrap(reading_app), body=[b"x" * 400])[0] == 413


def test_the_room_leaves_a_reserve_on_the_disk(tmp_path, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=RESERVE_BYTES + 5))
    assert UploadGuard(tmp_path).room() == 5


def test_one_upload_too_many_is_told_to_wait(guard):
    async def both():
        gate = asyncio.Event()

        async def slow(scope, receive, send):
            await gate.wait()
            await reading_app(scope, receive, send)

        app = guard.wrap(slow)
        running = [asyncio.create_task(call(app)) for _ in range(2)]
        await asyncio.sleep(0)
        third = await call(app)
        gate.set()
        return third, await asyncio.gather(*running), await call(app)

    third, running, after = asyncio.run(both())
    assert third[0] == 503
    assert [status for status, _ in running] == [200, 200]
    assert after[0] == 200


def test_broken_uploads_and_unused_files_are_swept_and_fresh_ones_stay(guard, tmp_path):
    now = time.time()
    for name, age in (("tmpold", ORPHAN_SECONDS + 1), ("tmpnew", 1.0)):
        (tmp_path / name).write_text("half", encoding="utf-8")
        os.utime(tmp_path / name, (now - age, now - age))
    for name, age in (("kept", 3600.0), ("unused", UNUSED_SECONDS + 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.txt").write_text("whole", encoding="utf-8")
        os.utime(tmp_path / name, (now - age, now - age))
    removed = {path.name for path in guard.sweep(now)}
    assert removed == {"tmpold", "unused"}
    assert {path.name for path in tmp_path.iterdir()} == {"tmpnew", "kept"}


def test_a_file_that_is_being_written_is_not_swept(guard, tmp_path):
    guard._active = 1
    with open(tmp_path / "tmpslow", "wb") as stream:
        stream.write(b"part")
        stream.flush()
        assert guard.sweep(time.time() + ORPHAN_SECONDS + 1) == []
    assert [path.name for path in guard.sweep(time.time() + ORPHAN_SECONDS + 1)] == ["tmpslow"]


def test_a_real_server_keeps_a_whole_upload_and_sweeps_a_broken_one(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    gr, uvicorn, fastapi = pytest.importorskip("gradio"), pytest.importorskip("uvicorn"), pytest.importorskip("fastapi")
    with gr.Blocks() as page:
        gr.File()
    guard = UploadGuard(tmp_path, quota=10_000_000)
    app = guard.wrap(gr.mount_gradio_app(fastapi.FastAPI(), page, path="/", ssr_mode=False))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            body = multipart(b"whole text")
            assert wait(lambda: post(port, body) == 200)
            # Headers that promise more than comes, then the line goes dead.
            with socket.create_connection(("127.0.0.1", port)) as line:
                line.sendall(head(port, 5_000_000) + multipart(b"x" * 400_000)[:300_000])
                assert wait(lambda: any(entry.is_file() for entry in tmp_path.iterdir()))
            assert wait(lambda: guard._active == 0)
            assert len(guard.sweep(time.time() + ORPHAN_SECONDS + 1)) == 1
            assert not any(entry.is_file() for entry in tmp_path.iterdir())
            kept = [path for path in tmp_path.rglob("*") if path.is_file()]
            assert [path.read_bytes() for path in kept] == [b"whole text"]
        finally:
            server.should_exit = True
            thread.join(10)


def multipart(content):
    return b'--edge\r\nContent-Disposition: form-data; name="files"; filename="text.txt"\r\n\r\n' + content + b"\r\n--edge--\r\n"


def head(port, length):
    return (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def post(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=edge"})
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def wait(condition, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


async def reading_app(scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("gone")
        size += len(message["body"])
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


async def call(app, *, path="/gradio_api/upload", headers=(), body=(b"",)):
    parts = list(body)
    answer = {"body": b""}

    async def receive():
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message):
        if message["type"] == "http.response.start":
            answer["status"] = message["status"]
        else:
            answer["body"] += message["body"]

    await app({"type": "http", "method": "POST", "path": path, "headers": list(headers)}, receive, send)
    return answer["status"], answer["body"].decode()


def ask(app, **options):
    return asyncio.run(call(app, **options))
