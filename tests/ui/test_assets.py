"""Gradio's files come packed once and stay in the browser; its page looks components up instead of walking."""

import gzip
import shutil
import subprocess

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from ui import assets

SCRIPT = "function Z(e,t){if(e.id===t)return e;if(e.children)for(let n of e.children){let e=Z(n,t);if(e)return e}return null}"
SEARCH = """
const tree = {id: 0, children: [{id: 1, children: [{id: 3, children: []}]}, {id: 2, children: []}]};
if (Z(tree, 3) !== tree.children[0].children[0] || Z(tree, 2).id !== 2 || Z(tree, 9) !== null) throw Error("not found");
tree.children.push({id: 9, children: []});
if (Z(tree, 9).id !== 9) throw Error("what came later is not found");
"""


@pytest.fixture
def client():
    return TestClient(Starlette(routes=[Route(assets.ROUTE, assets.asset)]))


def core():
    return next(path.name for path in assets.folder().glob("core-*.js"))


def test_the_installed_gradio_gets_an_index():
    script = (assets.folder() / core()).read_text(encoding="utf-8")
    changed = assets.with_index(script)
    assert changed.count("lepIndex") > 1
    assert len(changed) > len(script)


def test_a_script_without_that_function_is_left_alone():
    assert assets.with_index("function other(a,b){return a}") == "function other(a,b){return a}"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_index_finds_what_the_walk_finds():
    subprocess.run(["node", "-e", assets.with_index(SCRIPT) + SEARCH], check=True, timeout=60)


def test_browsers_keep_files_and_ask_again_for_the_changed_one(client):
    other = next(path.name for path in assets.folder().glob("index-*.js"))
    answer = client.get(f"/assets/{other}")
    assert answer.content == (assets.folder() / other).read_bytes()
    assert answer.headers["cache-control"] == assets.KEPT
    assert answer.headers["content-type"].startswith("text/javascript")
    assert client.get(f"/assets/{core()}").headers["cache-control"] == assets.ASKED_AGAIN


def test_a_distant_browser_gets_them_packed():
    assert gzip.decompress(assets._packed(core())[0]) == assets._plain(core())[0]


@pytest.mark.parametrize("name", ["..%2f..%2findex.html", ".hidden", "nothing.js"])
def test_nothing_else_is_served(client, name):
    assert client.get(f"/assets/{name}").status_code == 404
