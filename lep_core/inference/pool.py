"""The model processes of an app: one for each body, shared by all models that have it; the idle one used longest ago gives way.

    pool = WorkerPool()
    pool.prepare(["models/original", "models/adapted"])          # returns at once; both load into one process
    for event in pool.generate("models/adapted", prompt="Hello"):
        ...                                                      # as of `WorkerClient.generate`

Which models share a body is found out by hash (`bodies.py`), in a thread of its own. A model that joins a running process loads only its
embedding pair. A folder that was changed since it was loaded is loaded anew; one that vanished is answered from memory as long as its
process lives. All methods may be called from any thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lep_core.errors import JobError, LepError
from lep_core.inference.bodies import BodyFiles, body_files, group_by_body
from lep_core.inference.client import Event, WorkerClient

MOST_BODIES = 4
MOST_VARIANTS = 8
WAIT_SECONDS = 600.0

Stamp = tuple[tuple[str, int, int, int], ...]


class _Place:
    """A process with what it holds: model -> how its files looked when it was loaded."""

    def __init__(self, client: WorkerClient, files: BodyFiles | None) -> None:
        self.client, self.files = client, files
        self.stamps: dict[str, Stamp] = {}
        self.used: dict[str, float] = {}
        self.users: dict[str, int] = {}
        self.joining: dict[str, threading.Thread] = {}

    @property
    def busy(self) -> bool:
        return any(self.users.values())

    @property
    def last_used(self) -> float:
        return max(self.used.values(), default=0.0)

    def hold(self, model: str) -> None:
        """Keep this model here until it is let go."""
        self.users[model] = self.users.get(model, 0) + 1
        self.used[model] = time.monotonic()

    def let_go(self, model: str) -> None:
        self.users[model] = self.users.get(model, 1) - 1
        self.used[model] = time.monotonic()


class WorkerPool:
    """Model processes by body.

    Args:
        most_bodies: processes that may live at once; busy ones are never ended, so for a while there may be more.
        most_variants: models of one body that are kept in memory.
        options: as of `WorkerClient`.
    """

    def __init__(self, *, most_bodies: int = MOST_BODIES, most_variants: int = MOST_VARIANTS, **options: Any) -> None:
        self._most_bodies, self._most_variants, self._options = most_bodies, most_variants, options
        # Guards the tables, and is held for moments only; whoever moves models between processes holds `_placing`, too.
        self._lock = threading.RLock()
        self._placing = threading.Lock()
        self._places: list[_Place] = []
        self._coming: dict[str, threading.Thread] = {}
        self._closed = False

    def prepare(self, models: Sequence[str]) -> None:
        """Load these models; returns at once."""
        preparing = threading.Thread(target=self._place, args=(list(dict.fromkeys(models)),), daemon=True, name="prepare models")
        with self._lock:
            self._closed = False
            # Who asks for one of them meanwhile waits, so that they find together.
            self._coming |= dict.fromkeys(models, preparing)
            preparing.start()

    def loaded(self, model: str, timeout: float = WAIT_SECONDS) -> Event:
        """What the process of a model says of it, as soon as it is loaded: an event "loaded", or "error"."""
        with self._held(model) as place:
            event = place.client.facts(model, timeout)
            refused = event["event"] == "error" and place.client.loaded is not None
        if refused:
            # Not taken by its neighbours: alone it either loads or says what is wrong with it.
            self._move_out(place, model)
            with self._held(model, alone=True) as place:
                event = place.client.facts(model, timeout)
        return event

    def generate(
        self,
        model: str,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        prompt: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        """Events of one answer, as of `WorkerClient.generate`; leaving early stops this answer."""
        loaded = self.loaded(model)
        if loaded["event"] == "error":
            yield loaded
            return
        with self._held(model) as place:
            yield from place.client.generate(model=model, messages=messages, prompt=prompt, settings=settings)

    def client_for(self, model: str) -> WorkerClient:
        """The process of a model; it is started when it is first asked."""
        with self._held(model) as place:
            return place.client

    def stop(self, models: Collection[str] | None = None) -> None:
        """Stop what these models, or all, are writing."""
        with self._lock:
            places = list(self._places)
        for place in places:
            ids = None if models is None else [number for model in models for number in place.client.ids_of(model)]
            if ids is None or ids:
                place.client.stop(ids)

    def close(self) -> None:
        """End all processes; `prepare` opens the pool again."""
        with self._lock:
            self._closed = True
            places, self._places = self._places, []
        for place in places:
            place.client.close()

    @contextmanager
    def _held(self, model: str, *, alone: bool = False) -> Generator[_Place, None, None]:
        """The place of a model, which keeps it while the block runs.

        Raises:
            JobError: the pool was closed.
        """
        with self._lock:
            preparing = self._coming.get(model)
        if preparing is not None:
            preparing.join()
            with self._lock:
                if self._coming.get(model) is preparing:
                    del self._coming[model]
        place = self._hold(model)
        while place is None:
            self._place([model], alone=alone)
            place = self._hold(model)
        try:
            if (joining := place.joining.get(model)) is not None:
                joining.join()
            yield place
        finally:
            with self._lock:
                place.let_go(model)

    def _hold(self, model: str) -> _Place | None:
        with self._lock:
            if self._closed:
                raise JobError("the model processes were closed", "Send again")
            place = self._place_of(model)
            if place is None or self._is_stale(place, model):
                return None
            place.hold(model)
            return place

    def _place_of(self, model: str) -> _Place | None:
        return next((place for place in self._places if model in place.stamps), None)

    def _is_stale(self, place: _Place, model: str) -> bool:
        """Whether the folder holds something else than what was loaded; one that is gone counts as unchanged, and so does one in use."""
        now = _stamp(model)
        return bool(now) and place.stamps[model] != now and not place.users.get(model)

    def _place(self, models: Sequence[str], *, alone: bool = False) -> None:
        """Give each model a process, with others of its body where there are any."""
        if not alone:
            # What takes long, hashing and downloads, is done here; inside the lock it is known.
            with self._lock:
                neighbours = [next(iter(place.stamps)) for place in self._places if place.stamps]
            group_by_body([*models, *neighbours])
        with self._placing:
            for model in models:
                self._leave_if_stale(model)
            with self._lock:
                stamps = {model: _stamp(model) for model in models if self._place_of(model) is None}
            for group in [[model] for model in stamps] if alone else group_by_body(list(stamps)):
                place = None if alone else self._place_for(group[0])
                if place is None:
                    self._open(group, stamps)
                else:
                    self._join(place, group, stamps)

    def _place_for(self, model: str) -> _Place | None:
        """The running process whose body a model has."""
        files = _files(model)
        with self._lock:
            places = list(self._places)
        for place in places:
            if files is not None and place.files is not None and place.files.layout == files.layout:
                try:
                    if place.files.fingerprint() == files.fingerprint():
                        return place
                except (LepError, OSError):
                    continue  # A folder that is gone cannot be compared any more.
        return None

    def _open(self, group: Sequence[str], stamps: Mapping[str, Stamp]) -> None:
        place = _Place(WorkerClient(group, **self._options), _files(group[0]))
        with self._lock:
            if self._closed:
                place.client.close()
                return
            place.stamps = {model: stamps[model] for model in group}
            place.used = dict.fromkeys(group, time.monotonic())
            surplus = self._surplus()
            self._places.append(place)
        for one in surplus:
            one.client.close()
        place.client.start()

    def _surplus(self) -> list[_Place]:
        """Take out idle processes until there is room for one more."""
        idle = sorted((place for place in self._places if not place.busy), key=lambda place: place.last_used)
        found = idle[: max(0, len(self._places) + 1 - self._most_bodies)]
        self._places = [place for place in self._places if place not in found]
        return found

    def _join(self, place: _Place, group: Sequence[str], stamps: Mapping[str, Stamp]) -> None:
        for model in group:
            with self._lock:
                idle = sorted((one for one in place.stamps if not place.users.get(one)), key=lambda one: place.used.get(one, 0.0))
                leaving = idle[0] if idle and len(place.stamps) >= self._most_variants else None
                if leaving is not None:
                    del place.stamps[leaving]
                place.stamps[model] = stamps[model]
                place.hold(model)
                place.joining[model] = threading.Thread(target=self._add, args=(place, model, leaving), daemon=True, name="add a model")
            place.joining[model].start()

    def _add(self, place: _Place, model: str, leaving: str | None) -> None:
        """Body of a joining thread; whoever holds the model meanwhile waits for its end and then sees what came of it."""
        if leaving is not None:
            place.client.drop(leaving)
        place.client.add(model)
        with self._lock:
            place.joining.pop(model, None)
            place.let_go(model)

    def _move_out(self, place: _Place, model: str) -> None:
        with self._lock:
            place.stamps.pop(model, None)
            empty = not place.stamps and place in self._places
            if empty:
                self._places.remove(place)
        if empty:
            place.client.close()

    def _leave_if_stale(self, model: str) -> None:
        with self._lock:
            place = self._place_of(model)
            if place is None or not self._is_stale(place, model):
                return
            others = [one for one in place.stamps if one != model]
        if others:
            place.client.drop(model)
        self._move_out(place, model)


def _stamp(model: str) -> Stamp:
    """How the files of a folder look; empty when there is none (a hub id, or a folder that vanished)."""
    folder = Path(os.path.expanduser(model))
    found: list[tuple[str, int, int, int]] = []
    try:
        for entry in os.scandir(folder):
            if entry.name.endswith((".json", ".safetensors", ".jinja")) and entry.is_file():
                state = entry.stat()
                found.append((entry.name, state.st_ino, state.st_size, state.st_mtime_ns))
    except OSError:
        return ()
    return tuple(sorted(found))


def _files(model: str) -> BodyFiles | None:
    try:
        return body_files(model)
    except (LepError, OSError):
        return None
