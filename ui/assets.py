"""Gradio's own scripts and styles, sent without delay.

Gradio packs every file anew for every browser and lets browsers ask for each of them again on every visit; packing alone takes seconds of
the first page. The names carry a hash of the contents, so here a browser keeps them. A browser on the same machine gets them unpacked, any
other packed once.

One function is replaced on the way. Gradio's page finds a component by walking its whole tree, several times for each value of each
answer; with some eight hundred components that was nine tenths of what the page did. `with_index` lets it look in an index. Another
version of Gradio may have no such function; then the file is sent as it is.
"""

from __future__ import annotations

import gzip
import importlib.util
import mimetypes
import re
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

ROUTE = "/assets/{name}"
LOOPBACK = ("127.0.0.1", "::1")
KEPT = "max-age=31536000, immutable"
ASKED_AGAIN = "max-age=0, must-revalidate"
_NAME = re.compile(r"[\w-][\w.-]*")
_TYPES = {".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2", ".wasm": "application/wasm"}

_WALK = re.compile(
    r"function (?P<walk>[\w$]+)\((?P<tree>[\w$]+),(?P<id>[\w$]+)\)\{if\((?P=tree)\.id===(?P=id)\)return (?P=tree);"
    r"if\((?P=tree)\.children\)for\(let (?P<child>[\w$]+) of (?P=tree)\.children\)"
    r"\{let (?P<found>[\w$]+)=(?P=walk)\((?P=child),(?P=id)\);if\((?P=found)\)return (?P=found)\}return null\}"
)
# The index of a tree is made when it is first searched; what is not in it is looked for as before.
_INDEXED = """const lepIndex=new WeakMap;function lepWalk(tree,id){if(tree.id===id)return tree;if(tree.children)for(let child of tree.children)\
{let found=lepWalk(child,id);if(found)return found}return null}function lepFill(tree,known){known.set(tree.id,tree);if(tree.children)\
for(let child of tree.children)lepFill(child,known)}function WALK(tree,id){let known=lepIndex.get(tree);if(!known){known=new Map;\
lepFill(tree,known);lepIndex.set(tree,known)}return known.get(id)??lepWalk(tree,id)}"""


@lru_cache(maxsize=1)
def folder() -> Path:
    """Where Gradio keeps them; found without importing it."""
    found = importlib.util.find_spec("gradio")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "templates" / "frontend" / "assets"


def with_index(script: str) -> str:
    """The script with a search in an index in the place of the walk; as it is when it has no such function."""
    return _WALK.sub(lambda match: _INDEXED.replace("WALK", match["walk"]), script)


def asset(request: Request) -> Response:
    """One file."""
    name = request.path_params["name"]
    path = folder() / name
    if not _NAME.fullmatch(name) or not path.is_file():
        return PlainTextResponse("not found", 404)
    here = request.client is None or request.client.host in LOOPBACK
    packed = not here and "gzip" in request.headers.get("accept-encoding", "")
    body, changed = _packed(name) if packed else _plain(name)
    headers = {"cache-control": ASKED_AGAIN if changed else KEPT, "vary": "accept-encoding"}
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(body, media_type=_TYPES.get(path.suffix) or mimetypes.guess_type(name)[0], headers=headers)


def _plain(name: str) -> tuple[bytes, bool]:
    """The file, and whether it differs from Gradio's."""
    return _core(name) if name.startswith("core-") else ((folder() / name).read_bytes(), False)


@lru_cache(maxsize=2)
def _core(name: str) -> tuple[bytes, bool]:
    script = (folder() / name).read_text(encoding="utf-8")
    changed = with_index(script)
    return changed.encode(), changed != script


@lru_cache(maxsize=1024)
def _packed(name: str) -> tuple[bytes, bool]:
    body, changed = _plain(name)
    return gzip.compress(body, compresslevel=6), changed
