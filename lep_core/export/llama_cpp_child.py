"""Ask llama.cpp itself (the package llama-cpp-python, where it is installed) what it makes of a GGUF file.

    python -m lep_core.export.llama_cpp_child FILE < request.json        {"texts": [...], "ids": [...] or null}

Runs in a process of its own, because llama.cpp ends the process when it dislikes a file. Answers one JSON object in the last line:
`ids` of the texts (special tokens recognised, what goes before and after a text included) and `logits` after the given ids.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

FLOAT32 = 0  # GGML's number for it: keys and values are not rounded, so that logits can be compared


def answer(path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Ids and logits from one file."""
    # Not an import statement: the package is optional, and checkers of types do not find it.
    llama = importlib.import_module("llama_cpp").Llama
    ids = request.get("ids")
    size = len(ids) + 1 if ids else 16
    model = llama(
        path,
        vocab_only=ids is None,
        n_ctx=size,
        n_batch=size,
        n_ubatch=size,
        n_threads=1,
        n_threads_batch=1,
        type_k=FLOAT32,
        type_v=FLOAT32,
        logits_all=bool(ids),
        verbose=False,
    )
    result: dict[str, Any] = {
        "ids": [model.tokenize(text.encode(), add_bos=True, special=True) for text in request["texts"]],
        "logits": None,
    }
    if ids:
        model.eval(ids)
        result["logits"] = model.scores[len(ids) - 1].tolist()
    model.close()
    return result


def main() -> int:
    """Read the request, answer it."""
    print(json.dumps(answer(sys.argv[1], json.load(sys.stdin))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
