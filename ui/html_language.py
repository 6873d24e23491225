"""The language that the page's HTML names: Gradio's template says English whatever the texts are, and screen readers choose their voice by it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

Send = Callable[[Any], Awaitable[None]]
LANGUAGE = re.compile(rb'(<html\s[^>]*?\blang=")([a-z]{2})(")')
LENGTH = 2
"""Letters of a language's code: as long as the one that it replaces, so that the announced length stays right."""


def naming(send: Send, language: str) -> Send:
    """`send` that writes `language` into the first piece of an HTML page that is not compressed."""
    is_html = False

    async def sender(message: Any) -> None:
        nonlocal is_html
        if message["type"] == "http.response.start":
            headers = {bytes(name).lower(): bytes(value) for name, value in message.get("headers", [])}
            is_html = headers.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in headers
        elif is_html and message["type"] == "http.response.body":
            is_html = False
            body = LANGUAGE.sub(rb"\g<1>" + language.encode() + rb"\g<3>", message.get("body", b""), count=1)
            message = {**message, "body": body}
        await send(message)

    return sender if len(language) == LENGTH else send
