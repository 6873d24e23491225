"""Minimum-norm least squares for a linear map between two embeddings, in float64 and in little memory (method, section 4).

    W_DD = argmin || A_ND W - B_ND ||,   A_ND = C_NU base_UD,   B_ND = C_NU instruct_UD,   C_NU sparse

Shapes: N fitted tokens, U old tokens that occur in them, D hidden, R rows of a reduced system, B a block of rows.

Squaring doubles the digits that a solution loses, so the Gram matrix serves only while the condition number allows it, with refinement
on the rows themselves. Else the rows are reduced to at most D of them with the same Gram matrix, and these are solved by QR and SVD:
by a root of C'C when the tokens are spelled by few old tokens (then their rank cannot be full), else by a streamed QR decomposition.
At full rank the map is fitted as W = I + X with X = argmin || A X - (B - A) ||: siblings are close, so the difference has far smaller
rounding errors. With dependent columns that identity would leave the undetermined directions at I; there the minimum-norm W is taken,
as LAPACK's `gelsy` and `gelsd` do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from scipy.linalg.blas import dgemm  # ty: ignore[missing-module-member]
from scipy.linalg.lapack import dpstrf  # ty: ignore[missing-module-member]
from torch import Tensor

from lep_core.propagation.linear_system import BLOCK_BYTES, LinearSystem, Sums

GRAM_CONDITION_LIMIT = 1e6  # beyond, the Gram matrix has lost its smallest singular values to rounding
REFINEMENT_CONDITION = 3e2  # below, one solution of the normal equations is already exact to about 1e-11
REFINEMENT_STEPS = 4
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, kw_only=True)
class LinearMap:
    """A map and what its design matrix looked like. `singular_values_D` are those of A, largest first.

    `by_gram` tells whether the Gram matrix was good enough to solve with.
    """

    matrix_DD: np.ndarray
    rank: int
    condition_number: float
    singular_values_D: np.ndarray
    by_gram: bool = True


def solve(system: LinearSystem, sums: Sums | None, *, rcond: float, final: bool = True, toward_identity: bool = False) -> LinearMap:
    """The least-squares map.

    Args:
        sums: the system's Gram matrices, if they were summed.
        rcond: singular values below this share of the largest count as zero; 0 stands for the machine's precision, as in `gelsy`.
        final: False for a map that is only measured: no refinement, no singular values, and `sums` may be used up.
        toward_identity: leave undetermined directions as they are instead of taking the minimum-norm map.
    """
    solution = None
    if sums is not None:
        solution = solve_gram(system, sums, rcond=rcond) if final else _solve_gram_roughly(sums)
    return solution or solve_rows(system, rcond=rcond, toward_identity=toward_identity)


def solve_gram(system: LinearSystem, sums: Sums, *, rcond: float) -> LinearMap | None:
    """Solution by Cholesky with refinement; None when the rank is not full or the condition number too large for it."""
    values_D = singular_values(sums)
    if values_D[0] == 0.0 or values_D[-1] <= values_D[0] * max(rcond, 1 / GRAM_CONDITION_LIMIT):
        return None
    condition = float(values_D[0] / values_D[-1])
    factor = scipy.linalg.cho_factor(sums.gram_DD, lower=True, check_finite=False)
    x_DD = scipy.linalg.cho_solve(factor, sums.right_DD, check_finite=False)
    if condition > REFINEMENT_CONDITION:
        refine(system, factor, x_DD)
    add_identity(x_DD)
    return LinearMap(matrix_DD=x_DD, rank=len(values_D), condition_number=condition, singular_values_D=values_D)


def _solve_gram_roughly(sums: Sums) -> LinearMap | None:
    """Uses up both matrices. None when the rows do not determine the map."""
    try:
        factor = scipy.linalg.cho_factor(sums.gram_DD, lower=True, overwrite_a=True, check_finite=False)
    except scipy.linalg.LinAlgError:
        return None
    diagonal_D = np.abs(factor[0].diagonal())
    if diagonal_D.min() * GRAM_CONDITION_LIMIT < diagonal_D.max():
        return None
    x_DD = scipy.linalg.cho_solve(factor, sums.right_DD, overwrite_b=True, check_finite=False)
    add_identity(x_DD)
    condition = float(diagonal_D.max() / diagonal_D.min())
    return LinearMap(matrix_DD=x_DD, rank=len(diagonal_D), condition_number=condition, singular_values_D=diagonal_D)


def singular_values(sums: Sums) -> np.ndarray:
    """Those of A, from the Gram matrix, largest first; values below 1e-8 of the largest are rounding."""
    return np.sqrt(np.maximum(scipy.linalg.eigvalsh(sums.gram_DD, lower=True, check_finite=False), 0.0))[::-1]


def add_identity(matrix_DD: np.ndarray) -> None:
    np.fill_diagonal(matrix_DD, matrix_DD.diagonal() + 1.0)


def refine(system: LinearSystem, factor: tuple[np.ndarray, bool], x_DD: np.ndarray, *, alpha: float = 0.0) -> None:
    """Correct X in place by the residual of the rows themselves, until it no longer changes; `factor` is that of A'A + alpha I."""
    for _ in range(REFINEMENT_STEPS):
        right_DD = np.array(-alpha * x_DD, order="F")
        for _, a_BD, difference_BD in system.blocks():
            rest_BD = difference_BD - a_BD @ x_DD
            dgemm(1.0, a_BD.T, rest_BD.T, beta=1.0, c=right_DD, trans_b=1, overwrite_c=1)
        step_DD = scipy.linalg.cho_solve(factor, right_DD, overwrite_b=True, check_finite=False)
        x_DD += step_DD
        if np.linalg.norm(step_DD) <= 1e-13 * np.linalg.norm(x_DD):
            return


def solve_rows(system: LinearSystem, *, rcond: float, toward_identity: bool = False) -> LinearMap:
    """Solution from the rows, at any condition number and rank."""
    left_RD, right_RD = reduced_rows(system)
    # left = triangle' basis': a triangle of R x R has left's singular values, at a fraction of the cost.
    basis_DR, triangle_RR = scipy.linalg.qr(left_RD.T, mode="economic", check_finite=False)
    values_R = scipy.linalg.svdvals(triangle_RR, check_finite=False) if len(left_RD) else np.zeros(0)
    largest = values_R[0] if len(values_R) else 0.0
    share = EPSILON if rcond == 0 else max(rcond, EPSILON * max(system.tokens, system.hidden))
    rank = int((values_R > largest * share).sum())
    around_identity = toward_identity or rank == system.hidden
    if not around_identity:
        right_RD += left_RD
    if rank == len(left_RD):
        inner_RD = scipy.linalg.solve_triangular(triangle_RR, right_RD, trans="T", check_finite=False)
    else:
        u_RR, _, v_RR = scipy.linalg.svd(triangle_RR, check_finite=False)
        inner_RD = (u_RR[:, :rank] / values_R[:rank]) @ (v_RR[:rank] @ right_RD)
    matrix_DD = basis_DR @ inner_RD
    if around_identity:
        add_identity(matrix_DD)
    condition = float(largest / values_R[rank - 1]) if rank else float("inf")
    return LinearMap(matrix_DD=matrix_DD, rank=rank, condition_number=condition, singular_values_D=values_R, by_gram=False)


def reduced_rows(system: LinearSystem) -> tuple[np.ndarray, np.ndarray]:
    """At most D rows with the Gram matrices of A and B - A."""
    if system.old_tokens <= min(system.hidden, system.tokens - 1):
        root_RU = _root((system.combination_NU.T @ system.combination_NU).toarray())
        base_UD = system.base_UD.double().numpy()
        return root_RU @ base_UD, root_RU @ (system.instruct_UD.double().numpy() - base_UD)
    if system.tokens <= system.hidden:
        left_ND, right_ND = (np.zeros((system.tokens, system.hidden)) for _ in range(2))
        for rows, a_BD, difference_BD in system.blocks():
            left_ND[rows], right_ND[rows] = a_BD, difference_BD
        return left_ND, right_ND
    return _streamed_triangle(system)


def _root(gram_UU: np.ndarray) -> np.ndarray:
    """A matrix R x U with root' root = gram, R its rank, by Cholesky with pivots on the matrix scaled to a unit diagonal."""
    scale_U = np.sqrt(gram_UU.diagonal())
    scale_U = np.where(scale_U > 0, scale_U, 1.0)
    factor_UU, pivots_U, rank, _ = dpstrf(gram_UU / np.outer(scale_U, scale_U), tol=EPSILON * len(gram_UU), lower=0)
    root_RU = np.empty((rank, len(gram_UU)))
    root_RU[:, pivots_U - 1] = np.triu(factor_UU)[:rank]
    return root_RU * scale_U


def _streamed_triangle(system: LinearSystem) -> tuple[np.ndarray, np.ndarray]:
    """R of A = Q R, and Q' (B - A)."""
    hidden = system.hidden
    triangle_DD, right_DD = np.zeros((0, hidden)), np.zeros((0, hidden))
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    for position, a_BD, difference_BD in system.blocks():
        waiting.append((a_BD, difference_BD))
        # A decomposition costs the triangle anew each time: gather as many rows as it has.
        if sum(len(a) for a, _ in waiting) >= hidden or position.stop == system.tokens:
            left = np.vstack([triangle_DD, *(a for a, _ in waiting)])
            right = np.vstack([right_DD, *(d for _, d in waiting)])
            waiting = []
            right_DD, triangle_DD = scipy.linalg.qr_multiply(left, right.T, mode="right", overwrite_a=True, overwrite_c=True)
            right_DD = right_DD.T
    return triangle_DD, right_DD


def apply_map(matrix_VD: Tensor, map_DD: np.ndarray, *, out_VD: Tensor) -> None:
    """matrix_VD W in float64, a block of rows at a time; only the product is cast to the dtype of `out_VD`."""
    w_DD = np.ascontiguousarray(map_DD)
    # Buffers for all blocks: to get fresh memory for each costs more than to fill it.
    rows_BD, product_BD = (np.empty((min(len(matrix_VD), max(64, BLOCK_BYTES // (16 * len(w_DD)))), len(w_DD))) for _ in range(2))
    for begin in range(0, len(matrix_VD), max(1, len(rows_BD))):
        part_BD = matrix_VD[begin : begin + len(rows_BD)]
        torch.from_numpy(rows_BD)[: len(part_BD)] = part_BD
        np.matmul(rows_BD[: len(part_BD)], w_DD, out=product_BD[: len(part_BD)])
        out_VD[begin : begin + len(part_BD)] = torch.from_numpy(product_BD[: len(part_BD)])
