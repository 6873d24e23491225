"""Locks name their holder and end with it; processes are named by more than their id."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from lep_core.runs.lock import FileLock, LockHeld
from lep_core.runs.process import describe, is_alive, process_start, this_process


def test_a_second_lock_is_refused_and_names_the_holder(tmp_path):
    with FileLock(tmp_path / "lock"):
        with pytest.raises(LockHeld) as caught:
            FileLock(tmp_path / "lock")
        assert f"process {os.getpid()} on {socket.gethostname()}" in caught.value.who()
    FileLock(tmp_path / "lock").release()


def test_a_killed_holder_leaves_the_lock_free(tmp_path):
    code = f"from pathlib import Path; from lep_core.runs.lock import FileLock; FileLock(Path({str(tmp_path / 'lock')!r})); print('held', flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", f"lock = None\n{code.replace('FileLock(Path', 'lock = FileLock(Path')}"], stdin=-1, stdout=-1
    )
    assert child.stdout.readline().strip() == b"held"
    with pytest.raises(LockHeld) as caught:
        FileLock(tmp_path / "lock")
    assert caught.value.holder["pid"] == child.pid
    child.kill()
    child.communicate()
    FileLock(tmp_path / "lock").release()


def test_this_process_is_alive_and_a_reused_id_is_not():
    here = this_process()
    assert is_alive(here)
    assert not is_alive({**here, "process_start": "another boot:1"})
    assert not is_alive({**here, "pid": None})
    assert not is_alive(None)


def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    record = describe(child.pid)
    deadline = time.monotonic() + 20
    while is_alive(record) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(record)
    child.wait()
    assert process_start(child.pid) is None


def test_a_process_elsewhere_lives_while_its_heartbeat_is_fresh():
    record = {"pid": 1, "process_start": "x", "host": "another-machine", "heartbeat": 1000.0}
    assert is_alive(record, now=1030.0)
    assert not is_alive(record, now=1100.0)
    assert not is_alive({**record, "heartbeat": None}, now=1000.0)
