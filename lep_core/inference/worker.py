"""A child process that holds one model and answers over JSON lines: `python -m lep_core.inference.worker MODEL`.

One process per model means that a chat pane can be killed, cannot answer with another pane's model, and that a crash or a lack of
memory takes nobody else down. Requests come on stdin, one JSON object a line:

    {"op": "generate", "id": 1, "messages": [{"role": "user", "content": "Hello"}], "settings": {"temperature": 0.7, "seed": 1}}
    {"op": "generate", "id": 2, "prompt": "Once upon"}       plain text, no chat template
    {"op": "stop"}                                           stop all requests received so far
    {"op": "quit"}                                           so does the end of stdin: the child never outlives its parent

Replies go to stdout:

    {"event": "loaded", "path": ..., "fingerprint": ..., "vocab_size": ..., "is_chat": ..., "context": ..., ...}
    {"event": "delta", "id": 1, "text": "He", "token_ids": [5, 9], "pieces": ["H", "e"]}     one piece a token
    {"event": "done", "id": 1, "prompt_tokens": ..., "new_tokens": ..., "characters_per_second": ..., "stop_reason": ...}
    {"event": "error", "id": 1, "kind": "ModelError", "message": ..., "hint": ...}           id null: the model did not load

Pieces join to the text (half a character gives an empty piece); only the very last delta may have text and no token, the mark of a character
that stayed unfinished. Deltas are gathered and sent at most twenty times a second. Whatever libraries print goes to stderr, which the parent leads to a file.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import IO, Any

from lep_core.errors import ConfigError, LepError

DELTA_SECONDS = 0.05
_MEMORY_WORDS = ("not enough memory", "can't allocate memory", "out of memory", "cannot allocate memory")


class Worker:
    """Reads requests in a thread, answers them one after the other in the main thread."""

    def __init__(self, replies: IO[str]) -> None:
        self._replies = replies
        self._requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._last_received = 0
        self._stopped_up_to = 0

    def read_requests(self, stream: IO[str]) -> None:
        """Body of the reading thread; ends the process when the parent is gone, whatever the main thread is doing."""
        for line in stream:
            try:
                request = json.loads(line)
                operation, number = request["op"], int(request.get("id", 0))
            except (ValueError, KeyError, TypeError, AttributeError):
                print(f"not a request: {line[:200]!r}", file=sys.stderr)
                continue
            if operation == "generate":
                self._last_received = max(self._last_received, number)
                self._requests.put(request)
            elif operation == "stop":
                self._stopped_up_to = self._last_received
            elif operation == "quit":
                break
        # os._exit and not sys.exit: this is not the main thread, and there is nothing to tidy up.
        os._exit(0)

    def send(self, event: str, **values: Any) -> None:
        """Write one reply."""
        try:
            self._replies.write(json.dumps({"event": event, **values}) + "\n")
            self._replies.flush()
        except BrokenPipeError:
            os._exit(0)

    def send_error(self, error: BaseException, number: int | None) -> None:
        """Report an error: a `LepError` with its hint, anything else with its kind; tracebacks go to stderr."""
        if isinstance(error, LepError):
            self.send("error", id=number, kind=type(error).__name__, message=error.message, hint=error.hint)
            return
        traceback.print_exception(error, file=sys.stderr)
        if _is_out_of_memory(error):
            kind, message, hint = (
                "ResourceError",
                "the memory is not enough for this model and prompt",
                "Choose a smaller model, a shorter prompt or bfloat16",
            )
        else:
            kind, message, hint = (
                type(error).__name__,
                f"the model process met a fault: {error}"[:500],
                "The log of the model process tells more",
            )
        self.send("error", id=number, kind=kind, message=message, hint=hint)

    def serve(self, generator: Any) -> None:
        """Answer requests until the process ends."""
        while True:
            request = self._requests.get()
            if request is None:
                return
            try:
                self._answer(generator, request)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - the tokenizers library panics with a BaseException; the next request must work
                self.send_error(error, request["id"])

    def _answer(self, generator: Any, request: Mapping[str, Any]) -> None:
        from lep_core.inference.generator import Delta
        from lep_core.inference.sampling import GenerationSettings

        number = request["id"]
        settings = GenerationSettings.from_mapping(request.get("settings") or {})
        prompt = request.get("prompt")
        messages = request.get("messages")
        if messages is not None and not generator.is_chat:
            # A base model has no turns: the chat is continued as text.
            prompt, messages = "\n".join(str(message.get("content", "")) for message in messages), None
        text, token_ids, pieces, sent = "", [], [], time.monotonic() - DELTA_SECONDS
        for part in generator.stream(
            prompt=prompt, messages=messages, settings=settings, should_stop=lambda: number <= self._stopped_up_to
        ):
            if isinstance(part, Delta):
                text += part.text
                if part.token_id is not None:
                    token_ids.append(part.token_id)
                    pieces.append(part.text)
                elif pieces:
                    pieces[-1] += part.text
                if time.monotonic() - sent < DELTA_SECONDS:
                    continue
            if token_ids or text:
                self.send("delta", id=number, text=text, token_ids=token_ids, pieces=pieces)
                text, token_ids, pieces, sent = "", [], [], time.monotonic()
            if not isinstance(part, Delta):
                self.send("done", id=number, **part.to_json())


def main(arguments: list[str] | None = None) -> int:
    """Load the model and serve; returns 2 when it cannot be loaded."""
    parser = argparse.ArgumentParser(prog="python -m lep_core.inference.worker", description="Answer with one model over JSON lines.")
    parser.add_argument("model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args(arguments)

    # The real stdout is for replies only: whatever else writes to descriptor 1 lands in the log.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(replies)
    threading.Thread(target=worker.read_requests, args=(sys.stdin,), daemon=True).start()
    try:
        generator = _load(options)
        worker.send("loaded", **_description(generator))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of the tokenizers library; the parent must hear of it
        worker.send_error(error, None)
        return 2
    worker.serve(generator)
    return 0


def _load(options: argparse.Namespace) -> Any:
    from lep_core.inference.generator import Generator

    if options.device not in ("auto", "cpu") and not options.device.startswith("cuda"):
        raise ConfigError("device", f"the device is {options.device!r}", "Choose auto, cpu or cuda")
    return Generator.load(options.model, device=options.device, precision=options.precision, threads=options.threads)


def _description(generator: Any) -> dict[str, Any]:
    parameter = next(generator.model.parameters())
    return {
        "path": str(generator.path),
        "name": generator.path.name,
        "fingerprint": generator.fingerprint,
        "vocab_size": len(generator.tokenizer),
        "rows": generator.rows,
        "parameters": generator.parameters,
        "context": generator.context,
        "is_chat": generator.is_chat,
        "device": str(parameter.device),
        "precision": str(parameter.dtype).removeprefix("torch."),
        "pid": os.getpid(),
    }


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)


if __name__ == "__main__":
    sys.exit(main())
