"""How much each token counts in a fit: its frequency in a text to the power gamma (method, section 4).

    M = diag((n + 1) ^ gamma),   n the token's count; scaled to mean 1

Gamma 0 lets all tokens count alike, 1 as often as they occur. One is added, so that no token is left out of the fit.
Shapes: V new vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lep_core.errors import CorpusError
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.encoded import encoded_documents

MOST_TOKENS = 20_000_000


def token_weights(texts: Iterable[str], tokenizer: Any, *, size: int, gamma: float, reporter: Reporter = SILENT) -> np.ndarray:
    """The weight of every token, float64 of shape (V,), from at most `MOST_TOKENS` tokens of the text.

    Raises:
        CorpusError: the text has no token.
    """
    counts_V = np.zeros(size, dtype=np.int64)
    read = 0
    for ids in encoded_documents(texts, tokenizer, most_tokens=MOST_TOKENS):
        counts_V += np.bincount(ids, minlength=size)[:size]
        read += len(ids)
        reporter.progress(read, None, "tokens")
        if reporter.should_stop():
            raise KeyboardInterrupt("stopped while counting tokens")
    if not read:
        raise CorpusError("the text for --gamma is empty", "Give a text in the new language with --input, or leave --gamma out")
    weights_V = (counts_V + 1.0) ** gamma
    return weights_V / weights_V.mean()
