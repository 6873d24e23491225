"""A page is built once, with its first request, and ends with the server."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from ui.lazy_page import LazyPage
from ui.server import likely_language


def page_that_notes(events, *, fails=False):
    @asynccontextmanager
    async def lifespan(app):
        if fails:
            raise OSError("no space")
        events.append("begun")
        yield
        events.append("ended")

    def build():
        events.append("built")
        return FastAPI(lifespan=lifespan)

    return LazyPage(build)


async def ask(page):
    """One request for a path that is not there: its status is enough."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "/nothing", "raw_path": b"/nothing", "query_string": b"", "headers": []}
    await page({**scope, "http_version": "1.1", "scheme": "http", "server": ("test", 80), "client": ("test", 1)}, receive, send)
    return sent[0]["status"]


def test_many_first_requests_build_one_page():
    events = []

    async def main():
        page = page_that_notes(events)
        assert not page.built
        assert await asyncio.gather(*(ask(page) for _ in range(3))) == [404] * 3
        await page.end()

    asyncio.run(main())
    assert events == ["built", "begun", "ended"]


def test_a_page_that_nobody_asked_for_is_never_built():
    events = []
    asyncio.run(page_that_notes(events).end())
    assert events == []


def test_a_prepared_page_begins_with_its_first_request():
    events = []

    async def main():
        page = page_that_notes(events)
        page.prepare()
        assert events == ["built"]
        await ask(page)
        await page.end()

    asyncio.run(main())
    assert events == ["built", "begun", "ended"]


def test_a_page_that_cannot_begin_says_why():
    async def main():
        with pytest.raises(OSError, match="no space"):
            await ask(page_that_notes([], fails=True))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("environment", "language"),
    [({"LANG": "ru_RU.UTF-8"}, "ru"), ({"LANG": "de_DE.UTF-8"}, "en"), ({}, "en"), ({"LC_ALL": "en_US", "LANG": "ru_RU"}, "en")],
)
def test_the_likely_language_is_that_of_the_machine(environment, language):
    assert likely_language(environment) == language
