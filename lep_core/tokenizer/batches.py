"""Texts in lists of bounded size: what the tokenizers library encodes in one call, on all cores, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Text = TypeVar("Text", bound=Sized)


def batches(texts: Iterable[Text], *, characters: int, most_texts: int) -> Iterator[list[Text]]:
    """Lists of consecutive texts; each ends with the text that reaches `characters`, or after `most_texts` of them."""
    batch: list[Text] = []
    held = 0
    for text in texts:
        batch.append(text)
        held += len(text)
        if held >= characters or len(batch) >= most_texts:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
