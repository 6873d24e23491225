"""Files damaged at random either read or end in a `CorpusError`; nothing else ever comes out."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import pytest

from lep_core.corpus.load import read_documents
from lep_core.errors import CorpusError
from tests.corpus.test_load import write_all_formats


def damaged(data: bytes, state: random.Random) -> bytes:
    """A copy with a few bytes changed, removed or added, or cut short."""
    changed = bytearray(data)
    for _ in range(state.choice([1, 1, 3, 20])):
        place, way = state.randrange(len(changed) or 1), state.random()
        if way < 0.5 and changed:
            changed[place] = state.randrange(256)
        elif way < 0.7:
            del changed[place : place + state.randrange(30)]
        elif way < 0.85:
            changed[place:place] = state.randbytes(state.randrange(8))
        else:
            del changed[place:]
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_never_ends_in_a_traceback(tmp_path: Path, seed: int) -> None:
    state = random.Random(seed)
    (tmp_path / "sound").mkdir()
    (tmp_path / "damaged").mkdir()
    messages = []
    for path in write_all_formats(tmp_path / "sound") * 3:
        target = tmp_path / "damaged" / path.name
        target.write_bytes(damaged(path.read_bytes(), state))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # charset-normalizer and zipfile remark on odd content
            try:
                list(read_documents([str(target)]))
            except CorpusError as error:
                messages.append((str(target), error.message))
    assert len(messages) > 30
    assert all(target in message for target, message in messages)
