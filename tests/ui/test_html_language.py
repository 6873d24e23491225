"""Screen readers are told the language that the page speaks."""

import asyncio

import pytest

from ui.html_language import naming

PAGE = b'<!doctype html>\n<html\n\tlang="en"\n\tstyle="margin: 0"><p lang="en">x</p></html>'


def sent(language, content_type=b"text/html; charset=utf-8", extra=(), body=PAGE):
    got = []

    async def send(message):
        got.append(message)

    async def run():
        sender = naming(send, language)
        await sender({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", content_type), *extra]})
        await sender({"type": "http.response.body", "body": body})
        await sender({"type": "http.response.body", "body": b'<html lang="en">'})

    asyncio.run(run())
    return got[1]["body"], got[2]["body"]


def test_the_page_names_its_language_and_keeps_its_length():
    first, second = sent("ru")
    assert first == PAGE.replace(b'lang="en"', b'lang="ru"', 1)
    assert len(first) == len(PAGE)
    assert second == b'<html lang="en">', "only the first piece holds the beginning of the page"


@pytest.mark.parametrize("given", [{"content_type": b"application/json"}, {"extra": [(b"content-encoding", b"gzip")]}])
def test_other_answers_pass_untouched(given):
    assert sent("ru", **given)[0] == PAGE


def test_english_stays_english():
    assert sent("en")[0] == PAGE
