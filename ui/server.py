"""The web server around the Gradio pages: command line, one page per language, protection, a clean end.

    python app.py --help

Both languages are served under the same address: the cookie `lep_language` decides, else the browser's Accept-Language. The
page needs nothing from outside, and the server calls nobody. Jobs run in processes of their own and outlive this server.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from lep_core.errors import LepError, OutputError
from lep_core.files import translated_errors
from ui import assets, quick_import
from ui.i18n import LANGUAGES

ASSETS = Path(__file__).resolve().parent.parent / "assets"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_UPLOAD = "4gb"
UPLOADS = ".uploads"
STOP_SECONDS = 4


def main(arguments: list[str] | None = None) -> int:
    """Run the app until it is told to stop; the exit code is 0, or 2 when the user can mend what is wrong."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return _serve(options)
    except LepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    environment = os.environ
    parser = argparse.ArgumentParser(prog="app.py", description="LEP Studio: teach an open language model your own language.")
    parser.add_argument("--host", default=environment.get("HOST") or "127.0.0.1", help="address to listen on (env HOST; default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=environment.get("PORT") or 7860, help="port (env PORT; default 7860; 0 = any free one)")
    parser.add_argument(
        "--workspace",
        default=environment.get("WORKSPACE") or "workspace",
        help="folder that holds projects and runs (env WORKSPACE; default ./workspace)",
    )
    parser.add_argument("--language", choices=LANGUAGES, default=None, help="language of the interface; by default the browser's")
    return parser


def _serve(options: argparse.Namespace) -> int:
    user, password = os.environ.get("LEP_USER"), os.environ.get("LEP_PASSWORD")
    if options.host not in LOOPBACK and not (user and password):
        print(
            f"error: {options.host} can be reached from other machines, so LEP Studio needs a login there. "
            "Set LEP_USER and LEP_PASSWORD in the environment, or listen on 127.0.0.1",
            file=sys.stderr,
        )
        return 2
    listener = _listen(options.host, options.port)
    workspace = Path(options.workspace).absolute()
    try:
        _quiet_environment(workspace)
        import uvicorn

        server = build_server(
            workspace, host=options.host, language=options.language, login=(user, password) if user and password else None
        )
        port = listener.getsockname()[1]
        shown = f"[{options.host}]" if ":" in options.host else options.host
        print(f"LEP Studio: http://{shown}:{port}   workspace: {workspace}", flush=True)
        if options.host not in LOOPBACK:
            print("Everyone with the login sees and changes every project (one trust group). Put HTTPS in front of it.", flush=True)
        config = uvicorn.Config(server, log_level="warning", timeout_graceful_shutdown=STOP_SECONDS, server_header=False)
        # uvicorn ends cleanly and then raises the signal once more; the second time it must not turn a clean end into exit code 143.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()
    return 0


def _quiet_environment(workspace: Path) -> None:
    """What must be there before Gradio is imported: no calls to the outside, uploads on the workspace's volume, a quick import."""
    uploads = workspace / UPLOADS
    with translated_errors(workspace):
        uploads.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_SHARE"] = "False"
    quick_import.install()


def build_server(workspace: Path, *, host: str, language: str | None = None, login: tuple[str, str] | None = None) -> Any:
    """The ASGI app: the pages behind the protection of `ui.protection`. The likely language is built now, the other when asked for."""
    from ui.lazy_page import LazyPage
    from ui.protection import protect
    from ui.studio import Backend
    from ui.upload_guard import UploadGuard

    backend = Backend.open(workspace)
    uploads = UploadGuard(workspace / UPLOADS)
    uploads.start_sweeping()
    backend.closers.append(uploads.close)
    names = LANGUAGES if language is None else (language,)
    pages = {name: LazyPage(partial(_mounted_page, backend, name)) for name in names}
    pages[language or likely_language(os.environ)].prepare()
    return protect(uploads.wrap(_with_lifespan(pages, backend)), hosts=_allowed_hosts(host), login=login)


def likely_language(environment: Mapping[str, str]) -> str:
    """The language of whoever started the app: most likely also that of the first visitor."""
    wish = next(filter(None, (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return next((name for name in LANGUAGES if wish.lower().startswith(f"{name}_") or wish.lower() == name), LANGUAGES[0])


def _mounted_page(backend: Any, language: str) -> Any:
    import gradio as gr
    from fastapi import FastAPI

    from ui.api import mcp_wanted
    from ui.layout import build_page, theme

    page = build_page(backend, language=language)
    _keep_signatures(page)
    return gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        theme=theme(),
        css_paths=[ASSETS / "css" / "app.css"],
        favicon_path=str(ASSETS / "logo.svg"),
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        max_file_size=MAX_UPLOAD,
        show_error=False,
        enable_monitoring=False,
        mcp_server=mcp_wanted(),
    )


def _keep_signatures(page: Any) -> None:
    """Work out once what each component takes: Gradio asks again for all of some nine hundred components whenever a session begins."""
    for kind in {type(block) for block in page.blocks.values()}:
        kind.__init__.__signature__ = inspect.signature(kind.__init__)


def _with_lifespan(pages: dict[str, Any], backend: Any) -> Any:
    """One app that hands each request to the page of its language and ends all of them."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    from ui.protection import HEALTH_PATH, choose_language

    async def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        yield
        for page in pages.values():
            await page.end()
        backend.close()

    pages_of_all = Mount("/", app=cast(Any, choose_language(pages)))
    return Starlette(routes=[Route(HEALTH_PATH, health), Route(assets.ROUTE, assets.asset), pages_of_all], lifespan=lifespan)


def _allowed_hosts(host: str) -> tuple[str, ...]:
    extra = os.environ.get("LEP_HOSTS", "")
    names = [*LOOPBACK, host, *(name.strip() for name in extra.split(",") if name.strip())]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound; the user asked for it and a login is set
        names += [socket.gethostname(), *_own_addresses()]
    return tuple(dict.fromkeys(names))


def _own_addresses() -> list[str]:
    import psutil

    kinds = (socket.AF_INET, socket.AF_INET6)
    return [entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries if entry.family in kinds]


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        raise OutputError(
            f"the address {host} port {port} cannot be used: {error}", "Choose another port, for example PORT=7861 make run"
        ) from error
    return listener
