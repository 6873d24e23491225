"""Only known hosts, the own origin and logged-in people get through, and every answer carries strict headers."""

import asyncio
import base64
import hashlib

import pytest

from ui.protection import LOGIN_TRIES, choose_language, protect

PAGE = b"<html><script>window.x = 1</script><script src='a.js'></script></html>"


def test_a_known_host_gets_the_page_with_its_inline_script_allowed_by_hash():
    status, headers, body = ask(protected())
    assert status == 200
    assert body == PAGE
    policy = headers["content-security-policy"]
    digest = base64.b64encode(hashlib.sha256(b"window.x = 1").digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "", "127.0.0.1.evil.example"])
def test_a_foreign_host_is_refused(host):
    assert ask(protected(), host=host)[0] == 400


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "[::1]:7860", "LOCALHOST:1"])
def test_loopback_names_are_known(host):
    assert ask(protected(), host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_a_foreign_origin_is_refused(origin):
    assert ask(protected(), method="POST", extra={"origin": origin})[0] == 403


def test_the_own_origin_may_post():
    assert ask(protected(), method="POST", extra={"origin": "http://127.0.0.1:7860"})[0] == 200


def test_a_cross_site_post_without_origin_is_refused():
    assert ask(protected(), method="POST", extra={"sec-fetch-site": "cross-site"})[0] == 403


def test_a_login_is_asked_for_and_wrong_ones_are_slowed_down():
    app = protected(login=("anna", "secret"))
    assert ask(app)[0] == 401
    assert ask(app, extra=basic("anna", "secret"))[0] == 200
    for _ in range(LOGIN_TRIES):
        assert ask(app, extra=basic("anna", "wrong"))[0] == 401
    assert ask(app, extra=basic("anna", "secret"))[0] == 429


def test_the_language_comes_from_the_cookie_then_from_the_browser():
    app = choose_language({"en": page(b"english"), "ru": page(b"russian")})
    assert ask(app, extra={"accept-language": "ru"})[2] == b"russian"
    assert ask(app, extra={"accept-language": "ru", "cookie": "a=b; lep_language=en"})[2] == b"english"
    assert ask(app, extra={"cookie": "lep_language=xx"})[2] == b"english"
    status, headers, _ = ask(app, query="language=ru&__theme=dark")
    assert (status, headers["location"]) == (303, "/?__theme=dark")
    assert headers["set-cookie"].startswith("lep_language=ru;")


def page(body: bytes):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html; charset=utf-8")]})
        await send({"type": "http.response.body", "body": body})

    return app


def protected(**options):
    return protect(page(PAGE), hosts=("127.0.0.1", "localhost", "::1"), **options)


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def ask(app, *, host="127.0.0.1:7860", method="GET", extra=None, query=""):
    """(status, headers, body) of one request to `/`."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    headers = {"host": host, **(extra or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": query.encode(),
        "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
        "client": ("127.0.0.1", 50000),
    }
    asyncio.run(app(scope, receive, send))
    received = {key.decode().lower(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], received, b"".join(message.get("body", b"") for message in sent[1:])
