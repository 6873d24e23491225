"""The beginning of a text, and an estimate of how much text there is behind it, in a fraction of a second."""

from __future__ import annotations

from collections.abc import Sequence

from lep_core.corpus.load import CorpusReader

_UNIT_BYTES = 16_384
_READ_BYTES = 8_000_000


def sample_text(
    inputs: Sequence[str],
    *,
    text_field: str | None = None,
    encoding: str | None = None,
    split: str = "all",
    sample_bytes: int = 1_000_000,
) -> tuple[list[str], int]:
    """The first documents, about `sample_bytes` of UTF-8, and the bytes of the whole text.

    The second number is exact for texts under 8 MB; beyond that the rest is taken to be as dense on the disk as what was read, and
    for data sets of the hub, whose size is not known, it is what was read.

    Raises:
        CorpusError: something cannot be read, or there is no text.
    """
    reader = CorpusReader(inputs, text_field=text_field, encoding=encoding, split=split, unit_bytes=_UNIT_BYTES)
    total_bytes = reader.total_bytes
    texts: list[str] = []
    read = 0
    for document in reader.documents():
        if read < sample_bytes:
            texts.append(document.text)
        read += len(document.text.encode())
        if read >= _READ_BYTES:
            break
    else:
        return texts, read
    return texts, int(read * max(1.0, total_bytes / max(1, reader.meter.bytes_read)))
