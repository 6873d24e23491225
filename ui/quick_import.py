"""Import Gradio in less than half the time: without rewriting the type stubs of its components, without what nobody asked for.

At every import Gradio parses the source of some eighty components and compares it with `.pyi` files beside them, for the sake of
editors. That is about half of its import time, and it writes into the installed package, which a read-only image forbids. Nothing at
run time needs these files. Where the package `mcp` is installed, Gradio imports it, too, which takes a fifth of the time; it is
hidden unless LEP_MCP asks for it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from types import ModuleType
from typing import Any

MODULE, WRITER = "gradio.component_meta", "create_or_modify_pyi"
UNASKED = "mcp"
WANTED = ("1", "true", "yes", "on")


def mcp_asked_for() -> bool:
    """Whether LEP_MCP is set to serve tools for MCP clients."""
    return os.environ.get("LEP_MCP", "").lower() in WANTED


class _WithoutStubs(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        # Another version may not have the function; then there is nothing to save.
        if hasattr(module, WRITER):
            setattr(module, WRITER, lambda *_: None)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if fullname == UNASKED and not mcp_asked_for():
            raise ModuleNotFoundError(f"{UNASKED} is not needed here", name=UNASKED)
        if fullname != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutStubs(spec.loader)
        return spec


def install() -> None:
    """Take effect for the import of Gradio that follows; calling it again changes nothing."""
    if MODULE not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
