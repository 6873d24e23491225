"""The held-out part: each document is decided by a hash of its own text, so order and run do not matter.

A document is held out when the first 8 bytes of its BLAKE2b digest, read as a fraction of 2^64, are below the share. Equal texts
fall on the same side. Small corpora get at least one document on each side.
"""

from __future__ import annotations

import hashlib

TRAIN, HELDOUT = "train", "heldout"
DIGEST_BYTES = 16


def digest_of(text: str) -> bytes:
    """16 bytes of BLAKE2b over the UTF-8 text."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=DIGEST_BYTES).digest()


def is_heldout(digest: bytes, share: float) -> bool:
    """Whether the document with this digest is held out."""
    return int.from_bytes(digest[:8], "big") < share * 2**64


class SplitBalance:
    """Watches decisions and names the one text that must change sides so that neither side is empty."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.smallest: bytes | None = None
        self.largest: bytes | None = None
        self.has_train = self.has_heldout = False

    def decide(self, digest: bytes, *, was_heldout: bool = False) -> str:
        """Split of a document, to be corrected by `correction` at the end. What was held out once stays so."""
        self.smallest = digest if self.smallest is None or digest < self.smallest else self.smallest
        self.largest = digest if self.largest is None or digest > self.largest else self.largest
        heldout = was_heldout or is_heldout(digest, self.share)
        self.has_heldout |= heldout
        self.has_train |= not heldout
        return HELDOUT if heldout else TRAIN

    def correction(self) -> tuple[bytes, str] | None:
        """(digest, split) of the text to move, or None: the text nearest to the border goes over."""
        if self.smallest is None or self.largest is None:
            return None
        if not self.has_train:
            return self.largest, TRAIN
        if not self.has_heldout and self.share > 0 and self.smallest != self.largest:
            return self.smallest, HELDOUT
        return None
