"""Every method of propagation once more, dense and in a few lines of numpy and scipy: what the streamed code is compared with."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from scipy.sparse import csr_matrix

from lep_core.tokenizer.mapping import VocabularyMapping


def sparse_transition(mapping: VocabularyMapping) -> csr_matrix:
    """T, with an empty row for a token without a spelling; pieces that occur twice in a token count twice."""
    pieces = [mapping.pieces_of(token) for token in range(mapping.new_size)]
    spelled = [(token, piece, len(found)) for token, found in enumerate(pieces) for piece in found]
    rows, columns, lengths = (np.array(column) for column in zip(*spelled, strict=True))
    return csr_matrix((1.0 / lengths, (rows, columns)), shape=(mapping.new_size, mapping.old_size))


def dense_transition(mapping: VocabularyMapping) -> np.ndarray:
    return sparse_transition(mapping).toarray()


def fitted_pairs(
    mapping: VocabularyMapping, base: torch.Tensor, instruct: torch.Tensor, method: str, *, without_special: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Rows A and B of a method's fit."""
    base, instruct = (matrix.double().numpy()[: mapping.old_size] for matrix in (base, instruct))
    if method == "overlap":
        return base[mapping.shared_old_ids], instruct[mapping.shared_old_ids]
    transition = sparse_transition(mapping)
    spelled = transition.getnnz(axis=1) > 0
    if without_special:
        spelled[mapping.special_new_ids] = False
    return transition[spelled] @ base, transition[spelled] @ instruct


def minimum_norm(a: np.ndarray, b: np.ndarray, rcond: float = 1e-6) -> np.ndarray:
    return scipy.linalg.lstsq(a, b, cond=rcond, lapack_driver="gelsd")[0]


def expected_map(method: str, a: np.ndarray, b: np.ndarray, *, alpha: float = 0.1, rank: int | None = None) -> np.ndarray:
    """W of a method for rows A and B."""
    hidden = a.shape[1]
    if method in ("swap", "chat-vector"):
        return np.eye(hidden)
    if method in ("overlap", "conversion", "residual-carry"):
        return minimum_norm(a, b)
    if method == "ridge":
        strength = alpha * np.trace(a.T @ a) / hidden * np.eye(hidden)
        return np.linalg.solve(a.T @ a + strength, a.T @ b + strength)
    if method == "procrustes":
        return scipy.linalg.orthogonal_procrustes(a, b)[0]
    assert method == "low-rank"
    correction = minimum_norm(a, b - a)
    directions = np.linalg.svd(a @ correction)[2][: rank or hidden // 8]
    return np.eye(hidden) + correction @ directions.T @ directions


def expected_rows(
    method: str,
    mapping: VocabularyMapping,
    base: torch.Tensor,
    adapted: torch.Tensor,
    instruct: torch.Tensor,
    *,
    alpha: float = 0.1,
    rank: int | None = None,
) -> np.ndarray:
    """Rows of the new vocabulary by the formula E_ru W + lam (C_i - C_b W)."""
    w = expected_map(method, *fitted_pairs(mapping, base, instruct, method), alpha=alpha, rank=rank)
    rows = adapted.double().numpy()[: mapping.new_size] @ w
    if method in ("residual-carry", "chat-vector"):
        transition = sparse_transition(mapping)
        base, instruct = (matrix.double().numpy()[: mapping.old_size] for matrix in (base, instruct))
        rows += transition @ instruct - transition @ base @ w
    return rows
