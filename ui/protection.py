"""What stands between the network and the pages: known hosts, own origin, optional login, and strict response headers.

Pure ASGI, so that streams pass through untouched. A foreign Host gets 400, a foreign Origin 403, a missing login 401, and ten
wrong logins a minute from one address 429. Inline scripts of Gradio's own page are allowed by their hash; nothing else may run.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ui.html_language import naming
from ui.i18n import language_of

LANGUAGE_COOKIE = "lep_language"
HEALTH_PATH = "/health"
LOGIN_TRIES = 10
LOGIN_WINDOW_SECONDS = 60.0
MOST_REQUESTS = 512
"""Requests that may be open at once; an open page keeps one or two (streams)."""

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)


def protect(app: App, *, hosts: Sequence[str], login: tuple[str, str] | None = None) -> App:
    """Wrap `app` with all checks."""
    guarded = _with_headers(app)
    if login is not None:
        guarded = _with_login(guarded, *login)
    return _known_hosts_only(_not_too_many(guarded), {host.lower() for host in hosts})


def choose_language(pages: Mapping[str, App]) -> App:
    """Hand each request to the page of its language: cookie, then Accept-Language. `/?language=ru` sets the cookie."""
    names = tuple(pages)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        headers = _headers(scope)
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        wished = query.get("language", [""])[0]
        if scope["type"] == "http" and scope["path"] == "/" and wished in names:
            theme = query.get("__theme", [""])[0]
            target = f"/?__theme={theme}" if theme in ("light", "dark") else "/"
            cookie = f"{LANGUAGE_COOKIE}={wished}; Path=/; SameSite=Strict; Max-Age=31536000"
            await _reply(send, 303, "", {"location": target, "set-cookie": cookie})
            return
        found = re.search(rf"(?:^|;\s*){LANGUAGE_COOKIE}=(\w+)", headers.get("cookie", ""))
        language = found.group(1) if found else language_of(headers.get("accept-language", ""))
        language = language if language in names else names[0]
        await pages[language](scope, receive, naming(send, language))

    return app


def _known_hosts_only(app: App, hosts: set[str]) -> App:
    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        headers = _headers(scope)
        host = _host_name(headers.get("host", ""))
        if host not in hosts:
            await _reply(
                send, 400, "Unknown host. Open LEP Studio under the address that it was started with, or name more hosts in LEP_HOSTS."
            )
            return
        origin = headers.get("origin")
        foreign_site = headers.get("sec-fetch-site") == "cross-site" and scope.get("method") not in ("GET", "HEAD")
        if foreign_site or (origin is not None and not _same_origin(origin, headers.get("host", ""))):
            await _reply(send, 403, "This request came from another site.")
            return
        await app(scope, receive, send)

    return guarded


def _not_too_many(app: App) -> App:
    """Answer "busy" at once to what comes on top of `MOST_REQUESTS` open requests, instead of letting everybody wait."""
    opened = 0

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal opened
        if scope["type"] == "http" and opened >= MOST_REQUESTS and scope["path"] != HEALTH_PATH:
            await _reply(send, 503, f"Busy: {opened} requests are open. Try again in a moment.", {"retry-after": "5"})
            return
        opened += 1
        try:
            await app(scope, receive, send)
        finally:
            opened -= 1

    return guarded


def _with_login(app: App, user: str, password: str) -> App:
    """HTTP Basic login on every path but the one that only says "ok"; whoever guesses wrong ten times in a minute must wait."""
    expected = f"{user}:{password}".encode()
    wrong: dict[str, deque[float]] = {}

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] == HEALTH_PATH:
            await app(scope, receive, send)
            return
        address = (scope.get("client") or ("unknown", 0))[0]
        now = time.monotonic()
        tries = wrong.setdefault(address, deque(maxlen=LOGIN_TRIES))
        while tries and now - tries[0] > LOGIN_WINDOW_SECONDS:
            tries.popleft()
        if len(tries) >= LOGIN_TRIES:
            await _reply(send, 429, "Too many wrong logins. Wait a minute.", {"retry-after": "60"})
            return
        given = _headers(scope).get("authorization", "")
        if given and secrets.compare_digest(_basic(given), expected):
            await app(scope, receive, send)
            return
        if given:
            tries.append(now)
        await _reply(send, 401, "LEP Studio needs a login.", {"www-authenticate": 'Basic realm="LEP Studio", charset="UTF-8"'})

    return guarded


def _basic(header: str) -> bytes:
    kind, _, value = header.partition(" ")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        return b""


def _with_headers(app: App) -> App:
    """Security headers on every answer. Pages are held back until whole, to allow their own inline scripts by hash."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        held: dict[str, Any] = {}

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                names = {key.lower(): value for key, value in message.get("headers", [])}
                if b"text/html" in names.get(b"content-type", b"") and b"content-encoding" not in names:
                    held["start"], held["body"] = message, b""
                    return
                await send({**message, "headers": [*message.get("headers", []), *_security_headers(b"")]})
            elif message["type"] == "http.response.body" and "start" in held:
                held["body"] += message.get("body", b"")
                if not message.get("more_body", False):
                    start = held.pop("start")
                    await send({**start, "headers": [*start.get("headers", []), *_security_headers(held["body"])]})
                    await send({"type": "http.response.body", "body": held["body"], "more_body": False})
            else:
                await send(message)

        if scope["path"] == "/":
            # The page itself must come unpacked, so that its inline scripts can be hashed.
            scope = {**scope, "headers": [(key, value) for key, value in scope["headers"] if key.lower() != b"accept-encoding"]}
        await app(scope, receive, answer)

    return guarded


def _security_headers(page: bytes) -> list[tuple[bytes, bytes]]:
    hashes = {base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _INLINE_SCRIPT.findall(page)}
    scripts = " ".join(["'self'", *(f"'sha256-{value}'" for value in sorted(hashes))])
    policy = (
        f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
    ]


async def _reply(send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    fields = [(b"content-type", b"text/plain; charset=utf-8")]
    fields += [(key.encode(), value.encode()) for key, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": [*fields, *_security_headers(b"")]})
    await send({"type": "http.response.body", "body": text.encode()})


def _headers(scope: Scope) -> dict[str, str]:
    return {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope.get("headers", [])}


def _host_name(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") <= 1 else host


def _same_origin(origin: str, host: str) -> bool:
    return urlsplit(origin).netloc.lower() == host.strip().lower()
