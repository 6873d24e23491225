"""A page that is built with its first request: most people see one language only, and each takes about a second to build."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI


class LazyPage:
    """An ASGI app around the one that `build` makes.

    `end` closes it together with the server. Building happens in the event loop on purpose: Gradio keeps the page that is being built in
    a variable of the whole process, so two must never be built at the same time.
    """

    def __init__(self, build: Callable[[], FastAPI]) -> None:
        self._build = build
        self._page: FastAPI | None = None
        self._alive: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self._ending = asyncio.Event()
        self._lock = asyncio.Lock()

    @property
    def built(self) -> bool:
        return self._page is not None

    def prepare(self) -> None:
        """Build the page now rather than with its first request."""
        if self._page is None:
            self._page = self._build()

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        async with self._lock:
            if self._alive is None:
                await self._begin()
        assert self._page is not None
        await self._page(scope, receive, send)

    async def _begin(self) -> None:
        self.prepare()
        alive = asyncio.create_task(self._live())
        begun = asyncio.create_task(self._begun.wait())
        await asyncio.wait({alive, begun}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        if alive.done():
            alive.result()
        self._alive = alive

    async def _live(self) -> None:
        # One task begins and ends the page's lifespan: what it starts may not be ended by another.
        assert self._page is not None
        async with self._page.router.lifespan_context(self._page):
            self._begun.set()
            await self._ending.wait()

    async def end(self) -> None:
        """Close the page if it was ever shown."""
        self._ending.set()
        if self._alive is not None:
            await self._alive
