"""The state of a run: one pure function of what the supervisor wrote, what the run wrote, and whether the process is alive.

launch.json  status.json      alive   state
none         none             -       queued
not started  -                -       stopped (taken out of the queue) or failed (with the reason)
any          final            -       what status.json says
any          not final/none   yes     running
any          not final/none   no      stopped (ended by force) or failed (died without a word)
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

State = Literal["queued", "running", "succeeded", "stopped", "failed"]
LARGEST = 1e300
FINAL_STATES = ("succeeded", "stopped", "failed")


@dataclass(frozen=True, kw_only=True)
class RunError:
    """Why a run failed, as data: `kind` is the class of the error, `field` the setting it names (if any)."""

    kind: str
    message: str
    hint: str
    field: str | None = None
    traceback: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunError:
        """Read what `to_json` wrote; missing parts become empty."""
        value = value if isinstance(value, Mapping) else {"message": value}
        return cls(
            kind=str(value.get("kind") or "JobError"),
            message=str(value.get("message") or "no message"),
            hint=str(value.get("hint") or "Read the log"),
            field=_text(value.get("field")) or None,
            traceback=_text(value.get("traceback")) or None,
        )


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What is shown of a run. `done` of `total` `unit` belong to `stage`; `seconds` is the run time so far."""

    state: State
    stage: str = ""
    done: float | None = None
    total: float | None = None
    unit: str = ""
    step: int | None = None
    seconds: float | None = None
    eta_seconds: float | None = None
    message: str = ""
    error: RunError | None = None
    heartbeat: float | None = None
    stopping: bool = False
    discarded: bool = False

    @property
    def ended(self) -> bool:
        """True when nothing more will happen by itself."""
        return self.state in FINAL_STATES

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def run_status(launch: Mapping[str, Any] | None, status: Mapping[str, Any] | None, alive: bool) -> RunStatus:
    """The state of a run; see the table at the top of this module."""
    shown = _progress(status)
    if launch is not None and launch.get("outcome") == "stopped":
        return replace(shown, state="stopped", message="taken out of the queue before it started")
    if launch is not None and launch.get("error"):
        return replace(shown, state="failed", error=RunError.from_json(launch["error"]))
    if status is not None and status.get("state") in FINAL_STATES:
        error = RunError.from_json(status["error"]) if status.get("error") else None
        return replace(shown, state=status["state"], error=error)
    if alive:
        return replace(shown, state="running", stage=shown.stage or "starting")
    if launch is None and status is None:
        return shown
    if launch is not None and launch.get("forced"):
        return replace(shown, state="stopped", eta_seconds=None, message="ended by force; the last checkpoint is kept")
    return replace(shown, state="failed", eta_seconds=None, error=_death(launch))


def _progress(status: Mapping[str, Any] | None) -> RunStatus:
    if status is None:
        return RunStatus(state="queued")
    return RunStatus(
        state="queued",
        stage=_text(status.get("stage")),
        done=_number(status.get("done")),
        total=_number(status.get("total")),
        unit=_text(status.get("unit")),
        step=step if isinstance(step := status.get("step"), int) else None,
        seconds=_number(status.get("seconds")),
        eta_seconds=_number(status.get("eta_seconds")),
        message=_text(status.get("message")),
        heartbeat=_number(status.get("heartbeat")),
    )


def _text(value: Any) -> str:
    """A text of a file that somebody else may have written; anything else is none."""
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST else None


def _death(launch: Mapping[str, Any] | None) -> RunError:
    code = (launch or {}).get("exit_code")
    code = code if isinstance(code, int) else None
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return RunError(
            kind="ResourceError",
            message="the process ended without saying why (signal 9): most likely the machine ran out of memory",
            hint="Close other programs or choose a smaller micro batch or block size, then start or resume the run",
        )
    if code is None:
        how = "it or the machine was switched off or ran out of memory"
    elif code < 0:
        how = f"signal {-code}, {_signal_name(-code)}"
    else:
        how = f"exit code {code}"
    return RunError(
        kind="JobError",
        message=f"the process ended without saying why ({how})",
        hint="Read the end of the log, then start or resume the run",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
