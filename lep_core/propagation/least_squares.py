"""Minimum-norm least squares for a linear map between two embeddings, in float64 and in little memory (method, section 4).

    W_DD = argmin || A_ND W - B_ND ||,   A_ND = C_NU base_UD,   B_ND = C_NU instruct_UD,   C_NU sparse

Shapes: N fitted tokens, U old vocabulary, D hidden, B a block of rows, K a block of columns.

A_ND is never held whole. Its Gram matrix is summed over blocks, over the N tokens or, when that is cheaper, over the U old tokens:
A'A = base' (C'C) base. Squaring doubles the digits that a solution loses, so the Gram matrix serves only while the condition number
allows it, with refinement on the rows themselves; else a QR decomposition is streamed over the rows, followed by an SVD of its triangle.
At full rank the map is fitted as W = I + X with X = argmin || A X - (B - A) ||: siblings are close, so the difference has far smaller
rounding errors. With dependent columns that identity would leave the undetermined directions at I; there the minimum-norm W is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from scipy.linalg.blas import dgemm, dsyrk  # ty: ignore[missing-module-member]
from scipy.sparse import csr_matrix
from torch import Tensor

BLOCK_BYTES = 1 << 26
GRAM_CONDITION_LIMIT = 1e6  # beyond, the Gram matrix has lost its smallest singular values to rounding
REFINEMENT_CONDITION = 3e2  # below, one solution of the normal equations is already exact to about 1e-11
REFINEMENT_STEPS = 4
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, kw_only=True)
class LinearSystem:
    """Rows to be fitted: `combination_NU` mixes old tokens, `base_UD` and `instruct_UD` are the matrices in any float dtype."""

    combination_NU: csr_matrix
    base_UD: Tensor
    instruct_UD: Tensor

    @property
    def tokens(self) -> int:
        return self.combination_NU.shape[0]

    @property
    def hidden(self) -> int:
        return self.base_UD.shape[1]

    def blocks(self, rows_N: np.ndarray | None = None, *, dtype: type = np.float64) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Position within `rows_N` (all by default), A_BD and (B - A)_BD, row-major, in `dtype`."""
        rows_N = np.arange(self.tokens) if rows_N is None else rows_N
        # Each row of a block needs about as many old rows as it has pieces, and two results.
        pieces = self.combination_NU.nnz / max(1, self.tokens)
        work = torch.float32 if dtype is np.float32 else torch.float64
        size = max(32, int(BLOCK_BYTES / (8 * self.hidden * (pieces + 2))))
        for begin in range(0, len(rows_N), size):
            position = slice(begin, min(begin + size, len(rows_N)))
            part_BU = self.combination_NU[rows_N[position]]
            used, indices = np.unique(part_BU.indices, return_inverse=True)
            part_BP = csr_matrix((part_BU.data.astype(dtype), indices, part_BU.indptr), shape=(part_BU.shape[0], len(used)))
            used = torch.from_numpy(used.astype(np.int64))
            base_PD = self.base_UD[used].to(work).numpy()
            difference_PD = self.instruct_UD[used].to(work).numpy() - base_PD
            yield position, part_BP @ base_PD, part_BP @ difference_PD


@dataclass(frozen=True, kw_only=True)
class LinearMap:
    """The solution and what its design matrix looked like. `singular_values_D` are those of A, largest first."""

    matrix_DD: np.ndarray
    rank: int
    condition_number: float
    singular_values_D: np.ndarray


def gram(system: LinearSystem) -> tuple[np.ndarray, np.ndarray]:
    """A'A (its lower triangle) and A'(B - A), both D x D, column-major."""
    # Flops: symmetric update and product over N rows, or two plain products over U rows.
    if 4 * len(system.base_UD) < 3 * system.tokens:
        return _gram_over_old_vocabulary(system)
    gram_DD, right_DD = (np.zeros((system.hidden, system.hidden), order="F") for _ in range(2))
    add_rows(system, None, gram_DD, right_DD)
    return gram_DD, right_DD


def add_rows(system: LinearSystem, rows_N: np.ndarray | None, gram_DD: np.ndarray, right_DD: np.ndarray, *, sign: float = 1.0) -> None:
    """Add (or with sign -1 take away) the given rows' share of `gram`'s two matrices, in place."""
    for _, a_BD, difference_BD in system.blocks(rows_N):
        # Row-major blocks seen as column-major transposes: BLAS works on them without a copy.
        dsyrk(sign, a_BD.T, beta=1.0, c=gram_DD, lower=1, overwrite_c=1)
        dgemm(sign, a_BD.T, difference_BD.T, beta=1.0, c=right_DD, trans_b=1, overwrite_c=1)


def _gram_over_old_vocabulary(system: LinearSystem) -> tuple[np.ndarray, np.ndarray]:
    old, hidden = system.base_UD.shape
    weights_UU = csr_matrix(system.combination_NU.T @ system.combination_NU)
    gram_DD, right_DD = (np.zeros((hidden, hidden), order="F") for _ in range(2))
    width = max(16, BLOCK_BYTES // (16 * old))
    height = max(64, BLOCK_BYTES // (8 * hidden))
    for left in range(0, hidden, width):
        columns = slice(left, min(left + width, hidden))
        base_UK = system.base_UD[:, columns].double().contiguous().numpy()
        difference_UK = weights_UU @ (system.instruct_UD[:, columns].double().numpy() - base_UK)
        base_UK = weights_UU @ base_UK
        for top in range(0, old, height):
            rows = slice(top, top + height)
            base_BD = system.base_UD[rows].double().numpy()
            gram_DD[:, columns] += base_BD.T @ base_UK[rows]
            right_DD[:, columns] += base_BD.T @ difference_UK[rows]
    return gram_DD, right_DD


def solve_gram(system: LinearSystem, gram_DD: np.ndarray, right_DD: np.ndarray, *, rcond: float) -> LinearMap | None:
    """Solution by Cholesky with refinement; None when the rank is not full or the condition number too large for it."""
    values_D = np.sqrt(np.maximum(scipy.linalg.eigvalsh(gram_DD, lower=True), 0.0))[::-1]
    if values_D[0] == 0.0 or values_D[-1] <= values_D[0] * max(rcond, 1 / GRAM_CONDITION_LIMIT):
        return None
    condition = float(values_D[0] / values_D[-1])
    factor = scipy.linalg.cho_factor(gram_DD, lower=True, check_finite=False)
    x_DD = scipy.linalg.cho_solve(factor, right_DD, check_finite=False)
    if condition > REFINEMENT_CONDITION:
        _refine(system, factor, x_DD)
    np.fill_diagonal(x_DD, x_DD.diagonal() + 1.0)
    return LinearMap(matrix_DD=x_DD, rank=len(values_D), condition_number=condition, singular_values_D=values_D)


def _refine(system: LinearSystem, factor: tuple[np.ndarray, bool], x_DD: np.ndarray) -> None:
    """Correct X in place by the residual of the rows themselves, until it no longer changes."""
    for _ in range(REFINEMENT_STEPS):
        right_DD = np.zeros_like(x_DD, order="F")
        for _, a_BD, difference_BD in system.blocks():
            rest_BD = difference_BD - a_BD @ x_DD
            dgemm(1.0, a_BD.T, rest_BD.T, beta=1.0, c=right_DD, trans_b=1, overwrite_c=1)
        step_DD = scipy.linalg.cho_solve(factor, right_DD, check_finite=False)
        x_DD += step_DD
        if np.linalg.norm(step_DD) <= 1e-13 * np.linalg.norm(x_DD):
            return


def solve_rows(system: LinearSystem, *, rcond: float, rows_N: np.ndarray | None = None) -> LinearMap:
    """Solution by a streamed QR decomposition of the rows and an SVD of its triangle: exact at any condition number and rank."""
    hidden = system.hidden
    triangle_RD, right_RD = np.zeros((0, hidden)), np.zeros((0, hidden))
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    total = system.tokens if rows_N is None else len(rows_N)
    for position, a_BD, difference_BD in system.blocks(rows_N):
        waiting.append((a_BD, difference_BD))
        # A decomposition costs the triangle anew each time: gather as many rows as it has.
        if sum(len(a) for a, _ in waiting) >= hidden or position.stop == total:
            q_BR, triangle_RD = scipy.linalg.qr(
                np.vstack([triangle_RD, *(a for a, _ in waiting)]), mode="economic", overwrite_a=True, check_finite=False
            )
            right_RD = q_BR.T @ np.vstack([right_RD, *(d for _, d in waiting)])
            waiting = []
    u_RR, values_R, v_RD = scipy.linalg.svd(triangle_RD, full_matrices=False, check_finite=False)
    largest = values_R[0] if len(values_R) else 0.0
    kept = values_R > largest * max(rcond, EPSILON * max(total, hidden))
    rank = int(kept.sum())
    inverse_DR = v_RD[kept].T / values_R[kept]
    if rank == hidden:
        matrix_DD = np.eye(hidden) + inverse_DR @ (u_RR[:, kept].T @ right_RD)
    else:
        matrix_DD = inverse_DR @ (u_RR[:, kept].T @ (right_RD + triangle_RD))
    condition = float(largest / values_R[kept][-1]) if rank else float("inf")
    return LinearMap(matrix_DD=matrix_DD, rank=rank, condition_number=condition, singular_values_D=values_R)


def apply_map(matrix_VD: Tensor, map_DD: np.ndarray, *, dtype: torch.dtype) -> Tensor:
    """matrix_VD W in float64, a block of rows at a time; only the product is cast to `dtype`."""
    result_VD = torch.empty(matrix_VD.shape, dtype=dtype)
    w_DD = torch.from_numpy(np.ascontiguousarray(map_DD))
    size = max(64, BLOCK_BYTES // (16 * matrix_VD.shape[1]))
    for begin in range(0, len(matrix_VD), size):
        rows = slice(begin, begin + size)
        result_VD[rows] = (matrix_VD[rows].double() @ w_DD).to(dtype)
    return result_VD
