"""Nearest neighbours of tokens by the cosine of their rows: what a row means before and after training or propagation.

Shapes: V vocabulary, Q queried tokens, K neighbours, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Ids and cosines of the K nearest rows of one token, nearest first; the token itself is left out."""

    token_id: int
    neighbour_ids: list[int]
    cosines: list[float]


def nearest_neighbours(matrix_VD: Tensor, token_ids: Sequence[int], *, count: int = 10, rows: int | None = None) -> list[Neighbours]:
    """The `count` rows with the largest cosine for each token, in one pass over blocks of the matrix.

    Args:
        rows: only the first `rows` rows are candidates (leave padding out); all by default.
    """
    size = len(matrix_VD) if rows is None else min(rows, len(matrix_VD))
    count = min(count, size - 1)
    queries_Q = torch.as_tensor(list(token_ids), dtype=torch.long)
    if count < 1 or not len(queries_Q):
        return [Neighbours(token_id=int(token), neighbour_ids=[], cosines=[]) for token in queries_Q]
    queries_QD = torch.nn.functional.normalize(matrix_VD[queries_Q].float(), dim=1)
    best_QK = torch.empty((len(queries_Q), 0))
    ids_QK = torch.empty((len(queries_Q), 0), dtype=torch.long)
    for begin in range(0, size, BLOCK_ROWS):
        block_BD = torch.nn.functional.normalize(matrix_VD[begin : min(begin + BLOCK_ROWS, size)].float(), dim=1)
        ids_B = torch.arange(begin, begin + len(block_BD))
        cosines_QB = (queries_QD @ block_BD.T).masked_fill(ids_B == queries_Q[:, None], -torch.inf)
        best_QK = torch.cat([best_QK, cosines_QB], dim=1)
        ids_QK = torch.cat([ids_QK, ids_B.expand(len(queries_Q), -1)], dim=1)
        best_QK, order_QK = best_QK.topk(min(count, best_QK.shape[1]), dim=1)
        ids_QK = ids_QK.gather(1, order_QK)
    return [
        Neighbours(token_id=int(token), neighbour_ids=ids.tolist(), cosines=[round(float(value), 6) for value in cosines])
        for token, ids, cosines in zip(queries_Q, ids_QK, best_QK, strict=True)
    ]
