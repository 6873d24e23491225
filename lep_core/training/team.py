"""The processes of one training as a team, over Accelerate: sums, agreements, and what the first process made for all.

Every process holds the same matrices and computes its share of each step's sequences; the float32 gradient buffers are summed over
all once a step, and then all make the same update. So the result does not depend on how many they are, but for rounding.
A process by itself is a team of one, for which nothing here does anything.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import psutil
import torch
from torch import Tensor

from lep_core import ranks
from lep_core.errors import ResourceError
from lep_core.models import choose_device
from lep_core.ranks import RankErrors, peer_loss

# The others wait while the first process packs a large corpus or writes a checkpoint; torchrun ends them when it dies.
_TIMEOUT = timedelta(hours=24)
_LOSS_SECONDS = 5.0


@dataclass(frozen=True)
class Team:
    """`size` processes, `local_size` of them on this host; this one is number `rank` and computes on `device`.

    `processes` names all of them: host, process id and start.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: torch.device | None = None
    processes: tuple[dict[str, Any], ...] = ()

    @property
    def is_first(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def sum(self, *tensors: Tensor) -> None:
        """Add up each tensor over all processes, in place."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in at least one process: all get the same answer."""
        return self.largest(int(flag)) == 1 if self.size > 1 else flag

    def largest(self, value: int) -> int:
        """The largest value of all."""
        if self.size == 1:
            return value
        reduced = torch.tensor(value, dtype=torch.int64, device=self.device)
        torch.distributed.all_reduce(reduced, op=torch.distributed.ReduceOp.MAX)
        return int(reduced)

    def smallest(self, value: int) -> int:
        """The smallest value of all."""
        return -self.largest(-value)

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.largest(0)

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What `make` returns in the first process, in all of them; the others do not call it."""
        if self.size == 1:
            return make()
        from accelerate.utils import broadcast_object_list

        values = [make() if self.is_first else None]
        broadcast_object_list(values, from_process=0)
        return values[0]

    @contextmanager
    def in_turn(self) -> Generator[None, None, None]:
        """Let the processes of a host do the block one after the other: what it needs for a while is needed once a host."""
        for turn in range(self.largest(self.local_size)):
            if turn == self.local_rank:
                yield
            self.wait()

    def share(self, count: int) -> tuple[slice, int]:
        """Which of `count` pieces this process takes, and how many empty ones make its share as large as everybody's."""
        each = -(-count // self.size)
        taken = slice(min(count, self.rank * each), min(count, (self.rank + 1) * each))
        return taken, each - (taken.stop - taken.start)

    def gone(self) -> str | None:
        """A process of the team that was on this host and is not any more, in words."""
        for number, process in enumerate(self.processes):
            if number != self.rank and process["host"] == socket.gethostname() and not _is_alive(process):
                return f"process {number} of {self.size} (id {process['pid']} on {process['host']})"
        return None

    @contextmanager
    def named_losses(self) -> Generator[None, None, None]:
        """Raise `PeerLost`, which says why another process ended, in place of the broken connection to it."""
        try:
            yield
        except RuntimeError as error:
            give_up = time.monotonic() + (_LOSS_SECONDS if self.size > 1 else 0)
            errors = RankErrors.from_environment()
            while time.monotonic() < give_up:
                # Its own words may come a moment after its connection broke.
                waited_long = time.monotonic() > give_up - _LOSS_SECONDS / 2
                loss = peer_loss(errors, self.gone if waited_long else lambda: None)
                if loss is not None:
                    raise loss from error
                time.sleep(0.05)
            raise


ALONE = Team()


def join(device: str) -> Team:
    """The team of this process; the first call waits until all processes have made it.

    Raises:
        ResourceError: there are more processes on this host than GPUs.
    """
    return ALONE if ranks.world_size() == 1 else _joined(choose_device(device).type)


def leave() -> None:
    """The end of the team's work: wait for each other, so that nobody is ended while the first process still writes."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@cache
def _joined(device_type: str) -> Team:
    from accelerate import PartialState
    from accelerate.utils import gather_object

    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device_type == "cuda" and local_size > torch.cuda.device_count():
        raise ResourceError(
            f"{local_size} processes were started on a host with {torch.cuda.device_count()} GPUs",
            "Start one process a GPU, or give --device cpu",
        )
    state = PartialState(cpu=device_type == "cpu", timeout=_TIMEOUT)
    this = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    return Team(
        rank=state.process_index,
        size=state.num_processes,
        local_rank=state.local_process_index,
        local_size=local_size,
        device=state.device,
        processes=tuple(gather_object([this])),
    )


def _is_alive(process: dict[str, Any]) -> bool:
    try:
        found = psutil.Process(process["pid"])
        return found.create_time() == process["started"] and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
