"""FOCUS (Dobler & de Melo 2023, arXiv 2305.14481): a new token's row is a weighted mean of the rows of shared tokens like it.

How alike two tokens are is the cosine of their vectors in a space that knows both: static embeddings of the new vocabulary, made
from text in the new language (`cooccurrence`; the authors trained fastText). Sparsemax turns the cosines into weights, so that most
shared tokens weigh nothing.

Shapes: V new vocabulary, U old vocabulary, N new tokens, S shared tokens, E auxiliary dimensions, K candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lep_core.tokenizer.mapping import VocabularyMapping

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_CANDIDATES = 128
_BLOCK_BYTES = 1 << 27


def focus_weights(mapping: VocabularyMapping, ids_N: NDArray[np.int64], vectors_VE: NDArray[np.float32]) -> csr_matrix:
    """N x U weights: row n weighs the shared tokens whose auxiliary vectors are near that of new token n.

    Rows sum to 1; those of tokens without an auxiliary vector are empty.

    Args:
        ids_N: the new tokens.
        vectors_VE: unit vectors, zero where a token has none.
    """
    from scipy.sparse import coo_matrix

    has_vector = np.abs(vectors_VE).sum(axis=1) > 0
    known = has_vector[mapping.shared_new_ids]
    shared_SE = torch.from_numpy(vectors_VE[mapping.shared_new_ids[known]])
    shared_old_S = mapping.shared_old_ids[known]
    wanted = np.flatnonzero(has_vector[ids_N])
    shape = (len(ids_N), mapping.old_size)
    if not len(wanted) or not len(shared_SE):
        return coo_matrix(shape).tocsr()
    rows, columns, values = [], [], []
    block = max(1, _BLOCK_BYTES // (4 * len(shared_SE)))
    for begin in range(0, len(wanted), block):
        part = wanted[begin : begin + block]
        weights_NK, found_NK = sparsemax(torch.from_numpy(vectors_VE[ids_N[part]]) @ shared_SE.T)
        row, column = weights_NK.nonzero(as_tuple=True)
        rows.append(part[row.numpy()])
        columns.append(shared_old_S[found_NK[row, column].numpy()])
        values.append(weights_NK[row, column].double().numpy())
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return coo_matrix(entries, shape=shape).tocsr()


def sparsemax(scores_NS: Tensor) -> tuple[Tensor, Tensor]:
    """The point of the simplex nearest to each row of scores (Martins & Astudillo 2016): weights N x K and their columns, largest first.

    Exact: K grows until it holds every row's support.
    """
    count = min(_CANDIDATES, scores_NS.shape[1])
    while True:
        best_NK, columns_NK = scores_NS.topk(count, dim=1)
        sums_NK = best_NK.double().cumsum(dim=1)
        ranks_K = torch.arange(1, count + 1, dtype=torch.float64)
        support_N = (1 + ranks_K * best_NK > sums_NK).sum(dim=1)
        if count == scores_NS.shape[1] or int(support_N.max()) < count:
            break
        count = min(4 * count, scores_NS.shape[1])
    threshold_N1 = (sums_NK.gather(1, support_N[:, None] - 1) - 1) / support_N[:, None]
    return (best_NK - threshold_N1).clamp(min=0), columns_NK
