"""One run = one directory. Each file has one writer, so that no file is ever half old and half new.

run.json         creator, once: verb, config, inputs, after, seed, code version
launch.json      supervisor: command, pid, process start, host, exit code; or why it was never started
status.json      the run itself: state, stage, progress, error, heartbeat
report.json      the run itself, at its end: the verb's report
errors/          the run itself, rank-N.json each
metrics.jsonl    the run itself, append and flush
log.txt          stdout and stderr of the run
run.lock         held by the process that executes the run
stop, discard    empty files: please stop; and delete the results then
note.json        the user interface: what people noted about the run
attempts/NN/     launch.json, status.json and errors of earlier attempts of a resumed run
checkpoints/, output/
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from lep_core import pipeline
from lep_core.config import Config
from lep_core.errors import ConfigError, JobError
from lep_core.files import PARTIAL_PREFIX, read_json, translated_errors, write_json
from lep_core.runs.lock import FileLock, LockHeld
from lep_core.runs.metrics import read_metrics
from lep_core.runs.process import is_alive
from lep_core.runs.status import RunStatus, run_status

RUN_FILE = "run.json"
LAUNCH_FILE = "launch.json"
STATUS_FILE = "status.json"
REPORT_FILE = "report.json"
METRICS_FILE = "metrics.jsonl"
LOG_FILE = "log.txt"
LOCK_FILE = "run.lock"
STOP_FILE = "stop"
DISCARD_FILE = "discard"
NOTE_FILE = "note.json"
REQUIRED_KEYS = {"verb", "config", "inputs", "after", "created"}
EXIT_SECONDS = 10.0
LOG_TAIL_BYTES = 262_144


class Run:
    """A run directory. Everything but the methods that say so only reads."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run at `path`; JobError when there is none."""
        run = cls(path)
        if not run.record["verb"]:
            raise JobError(f"{path} names no verb", "Make the run again")
        return run

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json, which never changes; JobError when it is missing or damaged."""
        record = _record(self.path / RUN_FILE, _changed(self.path / RUN_FILE))
        if record is None:
            raise JobError(f"{self.path} is not a run directory", "Give a folder that holds run.json; `lep runs` lists them")
        return record

    @property
    def whole(self) -> bool:
        """True when run.json can be read."""
        try:
            return bool(self.record)
        except JobError:
            return False

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def verb(self) -> str:
        return self.record["verb"]

    @property
    def config(self) -> dict[str, Any]:
        """The settings as JSON values; `typed_config` checks them again."""
        return self.record["config"]

    @property
    def inputs(self) -> dict[str, str]:
        """Role -> what plays it, as the creator named it."""
        return self.record["inputs"]

    @property
    def after(self) -> tuple[str, ...]:
        """Ids of the runs of the same project that must succeed first."""
        return tuple(self.record["after"])

    @property
    def created(self) -> float:
        """When the run was made, in seconds since the epoch."""
        return self.record["created"]

    @property
    def prepared(self) -> bool:
        """True when the run waits for `execute RUN` elsewhere (a cluster) and no queue may take it."""
        return self.record.get("prepared", False)

    @property
    def light(self) -> bool:
        """True when the run is short and needs no device of its own."""
        verb = pipeline.VERBS.get(self.verb)
        return verb is not None and verb.light

    @property
    def output(self) -> Path | None:
        """Folder of the result; None for verbs that only report."""
        return Path(self.config["output"]) if self.config.get("output") else None

    @property
    def kept(self) -> Path | None:
        """Folder of what an unfinished evaluation has kept (`results.jsonl`: its finished rows); None for verbs that only report."""
        return self.output.with_name(f"{self.output.name}.partial") if self.output else None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        return self.path / LOG_FILE

    def typed_config(self) -> Config:
        """The settings as the verb's config; resumed runs go on where the earlier attempt stopped."""
        verb = pipeline.VERBS.get(self.verb)
        if verb is None:
            raise ConfigError("verb", f"there is no verb {self.verb}", "The run was made by another version of LEP Studio; make it again")
        config = verb.config.from_mapping(self.config)
        if self.attempts:
            names = set(self.config)
            changes = {name: True for name in ("resume", "overwrite") if name in names}
            config = config.replace(**changes)
        return config

    @property
    def can_resume(self) -> bool:
        """True when an ended attempt leaves something to go on from; other verbs start again."""
        return "resume" in self.config

    @property
    def attempts(self) -> int:
        """How many attempts were made before the present one."""
        return len(_folders(self.path / "attempts"))

    @property
    def queued_since(self) -> float:
        """When the run, or its present attempt, was handed in."""
        earlier = _folders(self.path / "attempts")
        return max([self.created, *(folder.stat().st_mtime for folder in earlier)])

    def launch(self) -> dict[str, Any] | None:
        """launch.json, or None when the run was not handed to a process."""
        return read_json_if_whole(self.path / LAUNCH_FILE)

    def status(self) -> RunStatus:
        """What to show; see `lep_core.runs.status`."""
        launch, own = self.launch(), read_json_if_whole(self.path / STATUS_FILE)
        alive = is_alive(own) or is_alive(launch)
        if not alive and (launch or own):
            # It may have written its end and gone between the reading and the question; what is on disk now is its last word.
            launch, own = self.launch(), read_json_if_whole(self.path / STATUS_FILE)
        shown = run_status(launch, own, alive)
        return replace(shown, stopping=not shown.ended and self.stop_requested, discarded=shown.ended and self.discard_requested)

    @property
    def started(self) -> bool:
        """True once the run was handed to a process or taken out of the queue."""
        return (self.path / LAUNCH_FILE).exists() or (self.path / STATUS_FILE).exists()

    def metrics(self) -> list[dict[str, Any]]:
        """The whole records of metrics.jsonl."""
        return read_metrics(self.path / METRICS_FILE)

    def report(self) -> dict[str, Any] | None:
        """The verb's report once the run has one."""
        return read_json_if_whole(self.path / REPORT_FILE)

    @property
    def note(self) -> str:
        """What people noted about the run."""
        return str((read_json_if_whole(self.path / NOTE_FILE) or {}).get("text") or "")

    def write_note(self, text: str) -> None:
        """Replace the note; OutputError when it cannot be written."""
        write_json(self.path / NOTE_FILE, {"text": text})

    def log_tail(self, lines: int = 50) -> str:
        """The last lines of log.txt; of a progress bar only its last state."""
        try:
            with open(self.log, "rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - LOG_TAIL_BYTES))
                text = stream.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        shown = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
        while shown and not shown[-1]:
            shown.pop()
        return "\n".join(shown[-lines:])

    @property
    def stop_requested(self) -> bool:
        return (self.path / STOP_FILE).exists()

    @property
    def discard_requested(self) -> bool:
        return (self.path / DISCARD_FILE).exists()

    def request_stop(self) -> None:
        """Ask the run to stop after its present step and to keep what it has."""
        with translated_errors(self.path):
            (self.path / STOP_FILE).touch()

    def request_discard(self) -> None:
        """Ask the run to stop; who watches it calls `delete_results` afterwards."""
        with translated_errors(self.path):
            (self.path / DISCARD_FILE).touch()
        self.request_stop()

    def delete_results(self) -> None:
        """Delete output, checkpoints and leftovers of a run that has ended; its record, log and metrics stay."""
        with self.lock(), translated_errors(self.path):
            self.clear_leftovers()
            for place in filter(None, (self.checkpoints, self.output, self.kept)):
                # A run directory from elsewhere may name any folder as its output.
                if self._is_own(place) and place.is_dir() and not place.is_symlink():
                    # Renamed first: nobody sees a result that is half deleted.
                    aside = Path(tempfile.mkdtemp(prefix=f"{PARTIAL_PREFIX}deleted-", dir=self.path))
                    os.replace(place, aside / "deleted")
                    shutil.rmtree(aside)

    def new_attempt(self) -> None:
        """Put the files of the ended attempt aside, so that the run is queued again and goes on from its checkpoint.

        Raises:
            JobError: the run is alive, was never started, or its results were discarded.
        """
        status = self.status()
        if status.discarded:
            raise JobError(f"the results of {self.id} were discarded", "Make a new run with the same settings")
        if status.state == "succeeded":
            raise JobError(f"{self.id} has succeeded already", "Make a new run with the same settings")
        if not self.started:
            raise JobError(f"{self.id} has not been started yet", "It starts when its turn comes")
        with self.lock():
            if not self.status().ended:
                raise JobError(f"{self.id} is {self.status().state}", "Stop it first, or wait until it has ended")
            self._await_exit()
            self.put_attempt_aside()

    def clear_leftovers(self) -> None:
        """Delete unfinished folders that a killed attempt left behind; the caller holds the run's lock."""
        for place in self._leftovers():
            shutil.rmtree(place, ignore_errors=True)

    def _leftovers(self) -> list[Path]:
        found = list(self.path.glob(f"{PARTIAL_PREFIX}*"))
        if self.output is not None and self.output.parent != self.path and self._is_own(self.output):
            found += self.output.parent.glob(f"{PARTIAL_PREFIX}{self.output.name}-*")
        # Files are left alone: the supervisor may be writing launch.json now.
        return [place for place in found if place.is_dir()]

    def _is_own(self, place: Path) -> bool:
        """Whether a folder lies inside the project of the run, so that the run may delete it."""
        project = self.path.resolve().parent.parent
        return place.resolve().is_relative_to(project) and place.resolve() not in (project, self.path.resolve())

    def lock(self) -> FileLock:
        """The right to execute or change the run; JobError names who has it."""
        try:
            return FileLock(self.path / LOCK_FILE)
        except LockHeld as held:
            raise JobError(f"{self.id} is being executed by {held.who()}", "Stop it first, or wait until it has ended") from None

    def _await_exit(self) -> None:
        """Wait for a process that has said its last word and is on its way out."""
        give_up = time.monotonic() + EXIT_SECONDS
        launch = self.launch()
        while launch is not None and launch.get("pid") != os.getpid() and is_alive(launch):
            if time.monotonic() > give_up:
                raise JobError(f"the process of {self.id} is still ending", "Try again in a minute")
            time.sleep(0.05)

    def put_attempt_aside(self) -> None:
        """Move the files of a dead attempt to `attempts/NN`; the caller holds the run's lock."""
        with translated_errors(self.path):
            folder = self.path / "attempts" / f"{self.attempts + 1:02d}"
            folder.mkdir(parents=True)
            # status.json goes last but one, launch.json last: until then the run still shows as ended.
            for name in ("errors", STOP_FILE, STATUS_FILE, LAUNCH_FILE):
                if (self.path / name).exists():
                    os.replace(self.path / name, folder / name)


def read_json_if_whole(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None when the file is missing or damaged (a power cut)."""
    try:
        value = read_json(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, Mapping) else None


@lru_cache(maxsize=8192)
def _record(path: Path, changed: int) -> dict[str, Any] | None:
    """run.json as long as it was not changed; callers do not edit the result."""
    record = read_json_if_whole(path) if changed else None
    return record if record is not None and record.keys() >= REQUIRED_KEYS and _is_sound(record) else None


def _is_sound(record: Mapping[str, Any]) -> bool:
    """Whether the fields that everything relies on have the types that `create_run` gives them."""
    types = {"verb": str, "config": Mapping, "inputs": Mapping, "after": list, "created": (int, float)}
    if not all(isinstance(record[key], kind) for key, kind in types.items()) or not all(isinstance(item, str) for item in record["after"]):
        return False
    try:
        # Half a character (a lone surrogate) could be written into no file.
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _folders(path: Path) -> list[Path]:
    return sorted(item for item in path.iterdir() if item.is_dir()) if path.is_dir() else []
