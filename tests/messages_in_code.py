"""The texts that stand in the source code, with an ellipsis for what is filled in at run time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def texts_in(folder: Path) -> Iterator[str]:
    """Every text of every module below a folder: `f"{path} is empty"` gives `… is empty`."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
