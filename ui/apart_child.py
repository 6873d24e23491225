"""The process in which the pages have foreign files looked at; see `ui.apart`.

    python -m ui.apart_child MEMORY_BYTES      a request a line on stdin: {"what", "arguments", "seconds"}

Answers are a length and a JSON object each. The kernel ends this process when a request takes more processor time than it may; memory
beyond the limit is not given. It ends by itself when the app that asks is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from lep_core.failures import explained

LENGTH = struct.Struct("<Q")
BROWSER_CHARACTERS = 1_000_000


def spans(folder: str, text: str) -> list[tuple[str, tuple[int, ...]]]:
    """A text as the tokenizer of a folder cuts it: pieces and their ids."""
    from lep_core.tokenizer.browse import token_spans

    return [(span.text, span.ids) for span in token_spans(_tokenizer(folder, _stamp(folder)), text)]


def new_tokens(base: str, folder: str, source: str | None) -> list[dict[str, Any]]:
    """Tokens that the base lacks, counted in the first million characters of a text: enough to sort by frequency."""
    from lep_core.tokenizer.browse import new_token_table

    old, new = (_tokenizer(path, _stamp(path)) for path in (base, folder))
    return new_token_table(old, new, _beginning(source) if source else [])


def inspect(source: str) -> None:
    """Read a model folder as the app itself will."""
    from lep_core.models.folder import inspect_model

    inspect_model(source)


def outlook(model: str, format: str, quantization: str) -> dict[str, Any]:
    """What an export of a model would meet."""
    from lep_core.export.outlook import export_outlook

    return asdict(export_outlook(model, format, quantization))


def first_text(source: str, characters: int) -> str:
    """The beginning of a corpus or of a text file; "" when it cannot be read."""
    from lep_core.corpus.preview import preview
    from lep_core.corpus.source import is_corpus_folder
    from lep_core.errors import LepError

    path = Path(source)
    try:
        if is_corpus_folder(path):
            rows = preview(path, 0, 1, maximum_characters=characters)
            return rows[0]["text"] if rows else ""
        if path.suffix in (".txt", ".md") and path.is_file():
            with open(path, encoding="utf-8") as stream:
                return stream.read(characters)
    except (LepError, OSError, UnicodeDecodeError):
        return ""
    return ""


KNOWN: dict[str, Callable[..., Any]] = {item.__name__: item for item in (spans, new_tokens, inspect, outlook, first_text)}


@lru_cache(maxsize=8)
def _tokenizer(folder: str, _stamp: tuple[int, int]) -> Any:
    from lep_core.tokenizer.load import as_tokenizer

    return as_tokenizer(folder)


def _stamp(folder: str) -> tuple[int, int]:
    file = Path(folder) / "tokenizer.json"
    if not file.is_file():
        return 0, 0
    state = file.stat()
    return state.st_mtime_ns, state.st_size


def _beginning(source: str) -> list[str]:
    from lep_core.corpus.load import read_documents

    texts: list[str] = []
    total = 0
    for document in read_documents((source,), split="train"):
        texts.append(document.text)
        total += len(document.text)
        if total >= BROWSER_CHARACTERS:
            break
    return texts


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """{"value"}, {"error", "message", "hint"} for what people can mend, or {"bug"} with a traceback."""
    try:
        return {"value": KNOWN[request["what"]](*request["arguments"])}
    except BaseException as error:  # noqa: BLE001 - the boundary of a process; a panic of a native library is no Exception
        known = explained(error)
        if known is None:
            return {"bug": "".join(traceback.format_exception(error))}
        return {"error": type(known).__name__, "message": known.message, "hint": known.hint}


def main() -> int:
    """Answer until nobody asks."""
    # What libraries print must not get between the answers.
    answers, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory(int(sys.argv[1]))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        data = json.dumps(answer(request)).encode("ascii")
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        view = memoryview(LENGTH.pack(len(data)) + data)
        while view:
            view = view[os.write(answers, view) :]
    return 0


def _limit_memory(extra: int) -> None:
    """Allow `extra` bytes of address space beyond the present; systems that cannot be asked have no such limit."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        present = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (present + extra, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    sys.exit(main())
