"""What went wrong, as data: which errors people can mend, the exit code of each, and texts without access tokens."""

from __future__ import annotations

import errno
import os
import re
import traceback

from lep_core.errors import ConfigError, InputError, LepError, ResourceError
from lep_core.ranks import PeerLost
from lep_core.runs.status import RunError

SUCCEEDED, BUG, MENDABLE, INTERRUPTED = 0, 1, 2, 130
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN")
BUG_HINT = "This is a bug; please report it with the log"


def explained(error: BaseException) -> LepError | None:
    """The error as one that people can mend, or None when it is a bug."""
    if isinstance(error, LepError):
        return error
    text = str(error)
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "No space left on device" in text:
        return ResourceError("the disk is full", "Free some space, then start or resume the run")
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return InputError("a path is longer than the file system allows", "Give a shorter path")
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    out_of_memory = out_of_memory or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    out_of_memory = out_of_memory or (
        isinstance(error, RuntimeError) and re.search(r"can't allocate memory|not enough memory|out of memory", text) is not None
    )
    if out_of_memory:
        detail = f" ({text.splitlines()[0][:200]})" if text else ""
        return ResourceError(
            f"memory ran out{detail}", "Choose a smaller micro batch or block size, or close other programs, then start or resume the run"
        )
    return None


def exit_code(error: BaseException) -> int:
    """2 for what the user can mend, 130 for an interruption, 1 for a bug."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return BUG if explained(error) is None else MENDABLE


def redacted(text: str) -> str:
    """The text without access tokens."""
    for name in TOKEN_VARIABLES:
        value = os.environ.get(name, "").strip()
        if value:
            text = text.replace(value, "***")
    return re.sub(r"\bhf_[A-Za-z0-9]{20,}", "hf_***", text)


def described(error: BaseException) -> RunError:
    """An error as data, without access tokens; that of another process in its own words."""
    if isinstance(error, PeerLost) and error.failure is not None:
        return RunError.from_json(error.failure)
    known = explained(error)
    trace = redacted("".join(traceback.format_exception(error)))
    if known is None:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return RunError(kind=type(error).__name__, message=redacted(what), hint=BUG_HINT, traceback=trace)
    return RunError(
        kind=type(known).__name__,
        message=redacted(known.message),
        hint=redacted(known.hint),
        field=known.field if isinstance(known, ConfigError) else None,
        traceback=None if isinstance(error, LepError) else trace,
    )
