"""Static embeddings of tokens from a text alone: which tokens occur in alike contexts (Levy, Goldberg & Dagan 2015).

Counts of tokens that stand within a window of each other, weighed down with the distance; positive pointwise mutual information
with the contexts' frequencies raised to 0.75; a truncated singular value decomposition, of which the left vectors times the root
of the singular values are kept. FOCUS asks for word vectors of the text (its authors trained fastText); these need no other
library, have no seed that matters, and factorise the same statistic that word2vec and fastText fit.

Shapes: V vocabulary, C contexts (the most frequent tokens), E dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.encoded import Ids, encoded_documents

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

DIMENSIONS = 128
WINDOW = 5
MOST_CONTEXTS = 8_192
MOST_TOKENS = 4_000_000
LEAST_OCCURRENCES = 3
CONTEXT_SMOOTHING = 0.75

_CHUNK_TOKENS = 400_000


def cooccurrence_embeddings(texts: Iterable[str], tokenizer: Any, size: int, *, reporter: Reporter = SILENT) -> NDArray[np.float32]:
    """Vectors of unit length, V x E; a zero row for tokens that occur fewer than `LEAST_OCCURRENCES` times.

    Only the first `MOST_TOKENS` tokens of the text are read.

    Args:
        size: V, the number of rows.
    """
    tokens = _token_stream(texts, tokenizer, reporter)
    counts_V = np.bincount(tokens[tokens >= 0], minlength=size)[:size]
    association_VC = positive_mutual_information(_cooccurrences(tokens, counts_V))
    vectors_VE = _left_factors(association_VC)
    vectors_VE[counts_V < LEAST_OCCURRENCES] = 0
    norms_V1 = np.linalg.norm(vectors_VE, axis=1, keepdims=True)
    return (vectors_VE / np.where(norms_V1 > 0, norms_V1, 1)).astype(np.float32)


def positive_mutual_information(counts_VC: csr_matrix) -> csr_matrix:
    """max(0, log P(v, c) / (P(v) Q(c))), with Q in proportion to the contexts' counts to the power of `CONTEXT_SMOOTHING`."""
    from scipy.sparse import csr_matrix

    total = counts_VC.sum()
    row_V = np.asarray(counts_VC.sum(axis=1)).ravel()
    smooth_C = np.asarray(counts_VC.sum(axis=0)).ravel() ** CONTEXT_SMOOTHING
    coo = counts_VC.tocoo()
    with np.errstate(divide="ignore"):
        values = np.log(coo.data * (smooth_C.sum() / max(total, 1)) / (row_V[coo.row] / max(total, 1)) / smooth_C[coo.col])
    positive = values > 0
    shape = counts_VC.shape
    return csr_matrix((values[positive].astype(np.float32), (coo.row[positive], coo.col[positive])), shape=shape)


def _token_stream(texts: Iterable[str], tokenizer: Any, reporter: Reporter) -> Ids:
    """All documents one after the other, with so many -1 between them that no window reaches across."""
    parts: list[Ids] = []
    read = 0
    for document in encoded_documents(texts, tokenizer, most_tokens=MOST_TOKENS):
        parts += [document, np.full(WINDOW, -1)]
        read += len(document)
        reporter.progress(read, None, "tokens")
        if reporter.should_stop():
            raise KeyboardInterrupt("stopped while reading the text")
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _cooccurrences(tokens: Ids, counts_V: Ids) -> csr_matrix:
    """V x C counts of pairs within the window; a pair at distance d counts (WINDOW + 1 - d) / WINDOW."""
    from scipy.sparse import coo_matrix, csr_matrix

    size = len(counts_V)
    contexts = np.argsort(-counts_V, kind="stable")[: min(MOST_CONTEXTS, size)]
    column_of = np.full(size + 1, -1, dtype=np.int32)  # the last entry stands for -1
    column_of[contexts] = np.arange(len(contexts), dtype=np.int32)
    total = csr_matrix((size, len(contexts)), dtype=np.float32)
    for begin in range(0, len(tokens), _CHUNK_TOKENS):
        chunk = tokens[max(0, begin - WINDOW) : begin + _CHUNK_TOKENS]
        fresh = begin - max(0, begin - WINDOW)  # pairs that end before this position were counted with the chunk before
        rows, columns, weights = [], [], []
        for distance in range(1, WINDOW + 1):
            first = max(0, fresh - distance)
            left, right = chunk[first:-distance], chunk[first + distance :]
            for centre, context in ((left, right), (right, left)):
                kept = (centre >= 0) & (column_of[context] >= 0)
                rows.append(centre[kept].astype(np.int32))
                columns.append(column_of[context[kept]])
                weights.append(np.full(int(kept.sum()), (WINDOW + 1 - distance) / WINDOW, dtype=np.float32))
        pairs = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
        total = total + coo_matrix(pairs, shape=total.shape).tocsr()
    return total


def _left_factors(matrix_VC: csr_matrix) -> NDArray[np.float32]:
    """The leading left singular vectors times the root of their singular values."""
    from scipy.sparse.linalg import svds

    count = min(DIMENSIONS, min(matrix_VC.shape) - 1)
    if count < 1 or not matrix_VC.nnz:
        return np.zeros((matrix_VC.shape[0], 1), dtype=np.float32)
    start = np.random.default_rng(0).standard_normal(min(matrix_VC.shape)).astype(np.float32)
    left_VE, values_E, _ = svds(matrix_VC, k=count, v0=start)
    return (left_VE * np.sqrt(np.maximum(values_E, 0))).astype(np.float32)
