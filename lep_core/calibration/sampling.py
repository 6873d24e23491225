"""A random choice that depends on nothing but the texts and the seed: those whose hash is smallest.

It is the same in whatever order the texts come, needs memory only for what is kept, and a text that comes twice counts once.
"""

from __future__ import annotations

import hashlib
import heapq


def digest_of(text: str, seed: int) -> int:
    """128 bits of BLAKE2b over the text, keyed with the seed."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=16, key=str(seed).encode()).digest(), "big")


class HashSample:
    """Keeps the `limit` texts with the smallest hashes of all that were added."""

    def __init__(self, limit: int, seed: int) -> None:
        self._limit, self._seed = limit, seed
        # heapq keeps the smallest entry in front: hashes are stored negative, so that the largest one goes first.
        self._heap: list[tuple[int, str]] = []
        self._kept: set[int] = set()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, text: str) -> None:
        """Offer a text."""
        digest = digest_of(text, self._seed)
        if digest in self._kept or not self._limit:
            return
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, (-digest, text))
        elif digest < -self._heap[0][0]:
            self._kept.remove(-heapq.heapreplace(self._heap, (-digest, text))[0])
        else:
            return
        self._kept.add(digest)

    def texts(self) -> list[str]:
        """What was kept, the smallest hash first."""
        return [text for _, text in sorted(self._heap, reverse=True)]
