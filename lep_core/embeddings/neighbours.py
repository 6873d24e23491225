"""Nearest neighbours of tokens by the cosine of their rows: what a row means before and after training or propagation.

Shapes: V vocabulary, B rows of a block, Q queries, K neighbours, D hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Ids and cosines of the K rows nearest to one query, nearest first; the query's own tokens are left out."""

    token_ids: tuple[int, ...]
    neighbour_ids: list[int]
    cosines: list[float]


def nearest_neighbours(matrix_VD: Tensor, token_ids: Sequence[int], *, count: int = 10, rows: int | None = None) -> list[Neighbours]:
    """The `count` rows with the largest cosine for each token of a matrix.

    Args:
        rows: only the first `rows` rows are candidates (leave padding out); all by default.
    """
    size = len(matrix_VD) if rows is None else min(rows, len(matrix_VD))
    blocks = (matrix_VD[begin : min(begin + BLOCK_ROWS, size)].float() for begin in range(0, size, BLOCK_ROWS))
    queries_QD = matrix_VD[torch.as_tensor(list(token_ids), dtype=torch.long)].float()
    return nearest_rows(blocks, queries_QD, [(int(token),) for token in token_ids], count=count)


def nearest_rows(blocks: Iterable[Tensor], queries_QD: Tensor, own_ids: Sequence[tuple[int, ...]], *, count: int) -> list[Neighbours]:
    """The `count` rows with the largest cosine for each query, in one pass over blocks B x D of a matrix that is never held whole.

    Args:
        own_ids: for each query the rows that it was made from, which are no neighbours of it.
    """
    queries_QD = torch.nn.functional.normalize(queries_QD, dim=1)
    best_QK = torch.empty((len(queries_QD), 0))
    ids_QK = torch.empty((len(queries_QD), 0), dtype=torch.long)
    begin = 0
    for block_BD in blocks:
        lengths_B = torch.linalg.vector_norm(block_BD, dim=1).clamp(min=1e-12)
        # A row with NaN or infinity is nobody's neighbour; `topk` would put it first.
        cosines_QB = (queries_QD @ block_BD.T / lengths_B).nan_to_num_(nan=-torch.inf)
        for query, own in enumerate(own_ids):
            cosines_QB[query, [index - begin for index in own if 0 <= index - begin < len(block_BD)]] = -torch.inf
        ids_B = torch.arange(begin, begin + len(block_BD))
        best_QK = torch.cat([best_QK, cosines_QB], dim=1)
        ids_QK = torch.cat([ids_QK, ids_B.expand(len(queries_QD), -1)], dim=1)
        best_QK, order_QK = best_QK.topk(min(count, best_QK.shape[1]), dim=1)
        ids_QK = ids_QK.gather(1, order_QK)
        begin += len(block_BD)
    found = []
    for own, ids, cosines in zip(own_ids, ids_QK.tolist(), best_QK.tolist(), strict=True):
        kept = [(index, round(cosine, 6)) for index, cosine in zip(ids, cosines, strict=True) if cosine > -torch.inf]
        found.append(Neighbours(token_ids=own, neighbour_ids=[index for index, _ in kept], cosines=[cosine for _, cosine in kept]))
    return found
