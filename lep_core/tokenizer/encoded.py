"""Text as the token ids of one tokenizer, a document at a time: what the methods that learn from text read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lep_core.tokenizer.batches import batches
from lep_core.tokenizer.load import as_tokenizer, rust_errors

Texts = Callable[[], Iterable[str]]
Ids = NDArray[np.int64]

_BATCH_CHARACTERS = 500_000
_BATCH_DOCUMENTS = 500


def encoded_documents(texts: Iterable[str], tokenizer: Any, *, most_tokens: int) -> Iterator[Ids]:
    """Ids of each document without special tokens, until `most_tokens` were given; control tokens in the text are read as text."""
    tokenizer = Tokenizer.from_str(as_tokenizer(tokenizer).to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    given = 0
    for batch in batches(texts, characters=_BATCH_CHARACTERS, most_texts=_BATCH_DOCUMENTS):
        with rust_errors("the tokenizer cannot encode the text"):
            encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        for encoding in encodings:
            yield np.array(encoding.ids[: most_tokens - given], dtype=np.int64)
            given += len(encoding.ids)
            if given >= most_tokens:
                return
