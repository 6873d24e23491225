"""A child process that holds one body with its models and answers over JSON lines: `python -m lep_core.inference.worker MODEL...`.

A process for each body means that a chat can be killed and that a crash or a lack of memory takes nobody else down. Requests come on
stdin, one JSON object a line:

    {"op": "open", "models": [...], "digests": {...}}        what to load, when the command line names nothing; must come first
    {"op": "generate", "id": 1, "model": ..., "messages": [{"role": "user", "content": "Hello"}], "settings": {"seed": 1}}
    {"op": "generate", "id": 2, "model": ..., "prompt": "Once upon"}       plain text, no chat template
    {"op": "add", "id": 3, "model": ..., "digests": {...}}   load the embedding pair of one more model with the same body
    {"op": "drop", "id": 4, "model": ...}                    free it again
    {"op": "stop", "ids": [1, 2]}                            stop these requests; all received so far without "ids"
    {"op": "quit"}                                           so does the end of stdin: the child never outlives its parent

Requests in flight are answered together, in one batch over the body. Replies go to stdout; each names the model and the fingerprint that
this process read from its folder:

    {"event": "loaded", "models": [{"model": ..., "path": ..., "fingerprint": ..., "vocab_size": ..., ...}], "refused": [...], ...}
    {"event": "added", "id": 3, ...}   {"event": "dropped", "id": 4, ...}
    {"event": "delta", "id": 1, "text": "He", "token_ids": [5, 9], "pieces": ["H", "e"], ...}     one piece a token
    {"event": "done", "id": 1, "prompt_tokens": ..., "new_tokens": ..., "characters_per_second": ..., "stop_reason": ..., ...}
    {"event": "error", "id": 1, "kind": "ModelError", "message": ..., "hint": ..., ...}           id null: nothing could be loaded
    {"event": "alive"}                                       nothing new, still computing

`refused` lists the models that could not be loaded beside the others, as errors; `digests` is what need not be hashed again. Pieces join to the text (half a character gives an
empty piece); only the very last delta may have text and no token, the mark of a character that stayed unfinished. Deltas are gathered
and sent at most twenty times a second. Whatever libraries print goes to stderr, which the parent leads to a file.
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
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from lep_core.errors import ConfigError, LepError

if TYPE_CHECKING:
    from lep_core.inference.engine import Answer, Delta, Engine, Request
    from lep_core.inference.family import Family
    from lep_core.inference.variant import Variant

DELTA_SECONDS = 0.05
ALIVE_SECONDS = 5.0


class Mailbox:
    """Requests as they come, read by a thread so that a stop is seen while the main thread computes."""

    def __init__(self) -> None:
        self._received: queue.Queue[dict[str, Any]] = queue.Queue()
        self._lock = threading.Lock()
        self._open: dict[int, Request | None] = {}
        self._stopped: set[int] = set()

    def read(self, stream: IO[str]) -> None:
        """Body of the reading thread; ends the process when the parent is gone, whatever the main thread is doing."""
        for line in stream:
            try:
                request = json.loads(line)
                operation, number = request["op"], int(request.get("id", 0))
                ids = [int(one) for one in request.get("ids") or ()]
            except (ValueError, KeyError, TypeError, AttributeError):
                print(f"not a request: {line[:200]!r}", file=sys.stderr)
                continue
            if operation == "quit":
                break
            if operation == "stop":
                self._stop(ids if "ids" in request else None)
                continue
            if operation == "generate":
                with self._lock:
                    self._open[number] = None
            self._received.put(request)
        # os._exit and not sys.exit: this is not the main thread, and there is nothing to tidy up.
        os._exit(0)

    def next(self, *, wait: bool) -> dict[str, Any] | None:
        """The next request; None when there is none and nobody wants to wait."""
        try:
            return self._received.get(block=wait)
        except queue.Empty:
            return None

    def begun(self, number: int, request: Request) -> None:
        """From now on a stop for this number reaches this request."""
        with self._lock:
            self._open[number] = request
            if number in self._stopped:
                request.stop()

    def ended(self, number: int) -> None:
        with self._lock:
            self._open.pop(number, None)
            self._stopped.discard(number)

    def _stop(self, ids: Sequence[int] | None) -> None:
        with self._lock:
            for number in list(self._open) if ids is None else ids:
                if number in self._open:
                    self._stopped.add(number)
                    request = self._open[number]
                    if request is not None:
                        request.stop()


class Outbox:
    """Gathers the deltas of one request and sends them."""

    def __init__(self, worker: Worker, number: int, model: str, variant: Variant) -> None:
        self._worker, self.number = worker, number
        self.identity = {"id": number, "model": model, "fingerprint": variant.fingerprint}
        self._text, self._token_ids, self._pieces = "", [], []
        self._sent = time.monotonic() - DELTA_SECONDS

    def delta(self, part: Delta) -> None:
        self._text += part.text
        if part.token_id is not None:
            self._token_ids.append(part.token_id)
            self._pieces.append(part.text)
        elif self._pieces:
            self._pieces[-1] += part.text
        if time.monotonic() - self._sent >= DELTA_SECONDS:
            self._flush()

    def done(self, answer: Answer) -> None:
        self._flush()
        self._worker.send("done", **self.identity, **answer.to_json())

    def _flush(self) -> None:
        if self._token_ids or self._text:
            self._worker.send("delta", **self.identity, text=self._text, token_ids=self._token_ids, pieces=self._pieces)
            self._text, self._token_ids, self._pieces = "", [], []
            self._sent = time.monotonic()


class Worker:
    """Loads models and answers requests, in the main thread."""

    def __init__(self, replies: IO[str], mailbox: Mailbox) -> None:
        self._replies, self._mailbox = replies, mailbox
        self._outboxes: dict[Request, Outbox] = {}
        self._sent = time.monotonic()

    def send(self, event: str, **values: Any) -> None:
        """Write one reply."""
        try:
            self._replies.write(json.dumps({"event": event, **values}) + "\n")
            self._replies.flush()
        except BrokenPipeError:
            os._exit(0)
        self._sent = time.monotonic()

    def send_error(self, error: BaseException, **identity: Any) -> None:
        self.send("error", **{"id": None, **identity}, **described(error))

    def load(self, options: argparse.Namespace) -> Family:
        """Load the models that the command line or the first request names; those that fail beside others are only reported.

        Raises:
            LepError: none of them can be loaded.
        """
        from lep_core.inference.bodies import body_files, known_digests, remember_digests

        if options.device not in ("auto", "cpu") and not options.device.startswith("cuda"):
            raise ConfigError("device", f"the device is {options.device!r}", "Choose auto, cpu or cuda")
        names = options.model
        if not names:
            request = self._mailbox.next(wait=True) or {}
            names = request.get("models") or []
            remember_digests(request.get("digests") or {})
        if not names:
            raise ConfigError("model", "no model is named", "Name one or more model folders")
        family: Family | None = None
        refused: list[dict[str, Any]] = []
        reason: BaseException | None = None
        for name in names:
            try:
                # A folder that is missing or damaged is told before torch is imported, which takes seconds.
                body_files(name)
                from lep_core.inference.family import Family

                if family is None:
                    family = Family(name, device=options.device, precision=options.precision, threads=options.threads)
                else:
                    family.add(name)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - a panic of the tokenizers library; the parent must hear of it
                refused.append({"model": name, **described(error)})
                reason = error
        if family is None:
            assert reason is not None
            raise reason
        self.send("loaded", **description(family), refused=refused, digests=known_digests(names))
        return family

    def serve(self, family: Family) -> None:
        """Answer requests until the process ends."""
        engine = family.engine()
        while True:
            while (request := self._mailbox.next(wait=not engine.busy)) is not None:
                self._begin(family, engine, request)
            self._move_on(engine)

    def _begin(self, family: Family, engine: Engine, request: Mapping[str, Any]) -> None:
        number, operation = int(request.get("id", 0)), request["op"]
        model = request.get("model") or (next(iter(family.variants)) if len(family.variants) == 1 else None)
        try:
            if operation == "add":
                self._add(family, number, str(model), request.get("digests") or {})
            elif operation == "drop":
                self._drop(family, engine, number, str(model))
            elif operation == "generate":
                if model not in family.variants:
                    raise ConfigError("model", f"this process does not hold the model {model}", f"It holds {', '.join(family.variants)}")
                self._generate(engine, number, model, family.variants[model], request)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the tokenizers library panics with a BaseException; the next request must work
            self._mailbox.ended(number)
            fingerprint = family.variants[model].fingerprint if model in family.variants else None
            self.send_error(error, id=number, model=model, fingerprint=fingerprint)

    def _add(self, family: Family, number: int, model: str, digests: Mapping[str, Mapping[str, str]]) -> None:
        from lep_core.inference.bodies import remember_digests

        remember_digests(digests)
        family.add(model)
        self.send("added", **{**description(family), "id": number, "model": model})

    def _drop(self, family: Family, engine: Engine, number: int, model: str) -> None:
        variant = family.variants.get(model)
        if using := [request for request in engine.requests if request.variant is variant]:
            for request in using:
                request.stop()
            self._move_on(engine)
        del variant, using
        family.drop(model)
        self.send("dropped", **{**description(family), "id": number, "model": model})

    def _generate(self, engine: Engine, number: int, model: str, variant: Variant, asked: Mapping[str, Any]) -> None:
        from lep_core.inference.engine import Request
        from lep_core.inference.sampling import GenerationSettings

        start = time.monotonic()
        settings = GenerationSettings.from_mapping(asked.get("settings") or {})
        prompt, messages = asked.get("prompt"), asked.get("messages")
        if messages is not None and not variant.is_chat:
            # A base model has no turns: the chat is continued as text.
            prompt, messages = "\n".join(str(message.get("content", "")) for message in messages), None
        ids = variant.prompts.encode(prompt=prompt, messages=messages)
        request = Request(variant, ids, settings, chat=messages is not None, start=start)
        self._outboxes[request] = Outbox(self, number, model, variant)
        self._mailbox.begun(number, request)
        engine.add(request)

    def _move_on(self, engine: Engine) -> None:
        """One step of all answers."""
        from lep_core.inference.engine import Answer, Delta

        for request, part in engine.step():
            outbox = self._outboxes[request]
            if isinstance(part, Delta):
                outbox.delta(part)
                continue
            del self._outboxes[request]
            self._mailbox.ended(outbox.number)
            if isinstance(part, Answer):
                outbox.done(part)
            else:
                self.send_error(part, **outbox.identity)
        if time.monotonic() - self._sent > ALIVE_SECONDS:
            self.send("alive")


def described(error: BaseException) -> dict[str, str]:
    """An error as values of an event: a `LepError` with its hint, anything else with its kind; tracebacks go to stderr."""
    if isinstance(error, LepError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    from lep_core.inference.engine import is_out_of_memory

    traceback.print_exception(error, file=sys.stderr)
    if is_out_of_memory(error):
        message, hint = "the memory is not enough for this model and prompt", "Choose a smaller model, a shorter prompt or bfloat16"
        return {"kind": "ResourceError", "message": message, "hint": hint}
    message = f"the model process met a fault: {error}"[:500]
    return {"kind": type(error).__name__, "message": message, "hint": "The log of the model process tells more"}


def description(family: Family) -> dict[str, Any]:
    """What is loaded; the facts of a single model stand at the top, too."""
    held = [
        {
            "model": name,
            "path": str(variant.path),
            "name": variant.path.name,
            "fingerprint": variant.fingerprint,
            "body_fingerprint": family.body_fingerprint,
            "shared_with": len(family.variants) - 1,
            "vocab_size": len(variant.tokenizer),
            "rows": variant.rows,
            "parameters": variant.parameters,
            "context": variant.context,
            "is_chat": variant.is_chat,
        }
        for name, variant in family.variants.items()
    ]
    common = {"device": str(family.device), "precision": str(family.dtype).removeprefix("torch."), "pid": os.getpid()}
    top = held[0] if len(held) == 1 else {"body_fingerprint": family.body_fingerprint}
    return {**top, **common, "models": held}


def main(arguments: list[str] | None = None) -> int:
    """Load the models and serve; returns 2 when none can be loaded."""
    parser = argparse.ArgumentParser(prog="python -m lep_core.inference.worker", description="Answer with models over JSON lines.")
    parser.add_argument("model", nargs="*")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args(arguments)

    # The real stdout is for replies only: whatever else writes to descriptor 1 lands in the log.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    mailbox = Mailbox()
    worker = Worker(replies, mailbox)
    threading.Thread(target=mailbox.read, args=(sys.stdin,), daemon=True).start()
    try:
        family = worker.load(options)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of the tokenizers library; the parent must hear of it
        worker.send_error(error)
        return 2
    worker.serve(family)
    return 0


if __name__ == "__main__":
    sys.exit(main())
