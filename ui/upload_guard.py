"""Uploads: how many at once, how much disk, and nothing left behind by those that were broken off.

Gradio streams an upload into a temporary file at the top of its folder and moves the finished file into a folder of its own; a connection
that breaks leaves the temporary file there for good, and its size limit counts for one file, not for the disk. This ASGI layer refuses what
does not fit before a byte is written, stops what grows beyond it, and sweeps. Kept files are moved into the project by `ui.uploads`.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from ui.protection import App, Receive, Scope, Send

logger = logging.getLogger("lep.ui")

QUOTA_BYTES = 64 * 2**30
MOST_AT_ONCE = 8
# Jobs beside the upload need room too.
RESERVE_BYTES = 2**30
ORPHAN_SECONDS = 30.0
SWEEP_SECONDS = 15.0
# A finished upload that no form used, and files that were made for download.
UNUSED_SECONDS = 24 * 3600.0


class UploadGuard:
    """Watches one upload folder.

    Args:
        folder: Gradio's upload folder, used for nothing else.
        quota: bytes that all waiting uploads may take together.
        most_at_once: uploads that may run at the same time; one more is answered "busy".
    """

    def __init__(self, folder: Path, *, quota: int = QUOTA_BYTES, most_at_once: int = MOST_AT_ONCE) -> None:
        self.folder = folder
        self.quota = quota
        self.most_at_once = most_at_once
        self._active = 0
        self._ended = threading.Event()

    def wrap(self, app: App) -> App:
        """`app` with every upload passing this guard."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope.get("method") != "POST" or not scope["path"].rstrip("/").endswith("/upload"):
                await app(scope, receive, send)
                return
            await self._upload(app, scope, receive, send)

        return guarded

    def room(self) -> int:
        """Bytes that another upload may take."""
        used = sum(entry.lstat().st_size for entry in self.folder.rglob("*") if entry.is_file() and not entry.is_symlink())
        return max(0, min(self.quota - used, shutil.disk_usage(self.folder).free - RESERVE_BYTES))

    def start_sweeping(self) -> None:
        """Sweep now and then, in a thread of its own, until `close`."""
        threading.Thread(target=self._sweep_on, daemon=True, name="upload sweeper").start()

    def close(self) -> None:
        """End the sweeping."""
        self._ended.set()

    def sweep(self, now: float | None = None) -> list[Path]:
        """Remove what broken uploads left and what nobody fetched for a day; returns what was removed."""
        now = time.time() if now is None else now
        removed = []
        open_files = _open_files()
        for entry in self.folder.iterdir() if self.folder.is_dir() else ():
            try:
                age = now - entry.lstat().st_mtime
                if entry.is_dir() and not entry.is_symlink():
                    if age > UNUSED_SECONDS:
                        shutil.rmtree(entry)
                        removed.append(entry)
                elif age > ORPHAN_SECONDS and (not self._active or str(entry.resolve()) not in open_files):
                    entry.unlink()
                    removed.append(entry)
            except FileNotFoundError:
                continue  # It was moved into its project meanwhile.
            except OSError as error:
                logger.warning("an old upload could not be removed: %s", error)
        return removed

    def _sweep_on(self) -> None:
        while not self._ended.wait(SWEEP_SECONDS):
            self.sweep()

    async def _upload(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        if self._active >= self.most_at_once:
            await _reply(send, 503, f"Busy: {self._active} uploads are running. Try again when one has ended.")
            return
        room, announced = self.room(), _announced_bytes(scope)
        if announced is not None and announced > room:
            await _reply(send, 413, _too_large(announced, room))
            return
        self._active += 1
        received, refused, started = 0, False, False

        async def counted() -> Any:
            nonlocal received, refused
            message = await receive()
            received += len(message.get("body", b""))
            if received > room:
                refused = True
                return {"type": "http.disconnect"}
            return message

        async def answer(message: Any) -> None:
            nonlocal started
            if refused and not started:
                return  # The parser's own complaint; ours follows.
            started = True
            await send(message)

        try:
            await app(scope, counted, answer)
        except Exception:
            if not refused:
                raise
        finally:
            self._active -= 1
        if refused and not started:
            await _reply(send, 413, _too_large(received, room))


def _announced_bytes(scope: Scope) -> int | None:
    for name, value in scope.get("headers", []):
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None


def _too_large(wanted: int, room: int) -> str:
    return f"The upload has {wanted:,} bytes or more, there is room for {room:,}. Free disk space, or give the file's path on the server instead."


def _open_files() -> set[str]:
    """Real paths of the files that this process has open; empty where the system does not tell."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return set()
    found = set()
    for entry in folder.iterdir():
        try:
            found.add(os.readlink(entry))
        except OSError:
            continue
    return found


async def _reply(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
