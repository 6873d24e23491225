"""Ridge: conversion's map drawn toward the identity, between direct swap and conversion (method, section 4; Hoerl & Kennard 1970).

    W(alpha) = (A'A + a I)^-1 (A'B + a I),   A = T base,   B = T instruct,   a = alpha times the mean squared singular value of A

so that alpha has no unit: 0 is conversion, a very large one direct swap. Unless it is given, alpha is the one of a grid with the smallest
residual on tokens that the map has not seen, in five folds. One eigendecomposition a fold serves the whole grid.
Shapes: V new vocabulary, N fitted tokens, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.linalg
from torch import Tensor

from lep_core.propagation.least_squares import EPSILON, REFINEMENT_CONDITION, LinearMap, add_identity, refine, singular_values
from lep_core.propagation.linear_system import LinearSystem, Sums, empty_sums, gram
from lep_core.propagation.report import CrossValidation, FitReport, fit
from lep_core.propagation.side import FitSettings, Side, transform

FOLDS = 5
ALPHAS = tuple(float(f"1e{power}") for power in range(-8, 3))


def propagated(side: Side, settings: FitSettings, out_VD: Tensor) -> FitReport:
    system, ids = side.spelled_system(settings)
    sums = gram(system)
    table: list[CrossValidation] = []
    alpha = settings.alpha
    if alpha is None:
        table = cross_validate(system, sums)
        alpha = min(table, key=lambda row: row.residual).alpha
    solver = partial(solve_ridge, alpha=alpha, rcond=settings.rcond)
    found = fit(system, ids, side.token_text, solver, sums=sums)
    transform(side, found.matrix_DD, out_VD)
    return replace(found.report, alpha=alpha, cross_validation=table)


def solve_ridge(system: LinearSystem, sums: Sums | None, *, final: bool, alpha: float, rcond: float) -> LinearMap:
    """W = I + (A'A + a I)^-1 A'(B - A); rank and condition number are those of A, without the ridge."""
    sums = sums or gram(system)
    strength = alpha * sums.gram_DD.trace() / system.hidden
    values_D = singular_values(sums) if final else np.ones(1)
    # Below this share the Gram matrix holds rounding only.
    rank = int((values_D > values_D[0] * max(rcond, EPSILON**0.5)).sum()) if values_D[0] else 0
    shifted_DD = sums.gram_DD.copy(order="F")
    np.fill_diagonal(shifted_DD, shifted_DD.diagonal() + (strength or 1.0))
    factor = scipy.linalg.cho_factor(shifted_DD, lower=True, overwrite_a=True, check_finite=False)
    x_DD = scipy.linalg.cho_solve(factor, sums.right_DD, check_finite=False)
    if final and values_D[0] ** 2 + strength > REFINEMENT_CONDITION**2 * (values_D[-1] ** 2 + strength):
        refine(system, factor, x_DD, alpha=strength)
    add_identity(x_DD)
    condition = float(values_D[0] / values_D[rank - 1]) if rank else float("inf")
    return LinearMap(matrix_DD=x_DD, rank=rank, condition_number=condition, singular_values_D=values_D)


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """Squared residuals of a fold's tokens as a function of alpha: f'K f - 2 f'q + c with f = 1 / (eigenvalues + a)."""

    eigenvalues_D: np.ndarray
    quadratic_DD: np.ndarray
    linear_D: np.ndarray
    constant: float

    def squared_residual(self, strength: float) -> float:
        f_D = 1.0 / (np.maximum(self.eigenvalues_D, 0.0) + strength)
        return float(f_D @ self.quadratic_DD @ f_D - 2.0 * f_D @ self.linear_D + self.constant)


def cross_validate(system: LinearSystem, sums: Sums, *, alphas: tuple[float, ...] = ALPHAS, seed: int = 0) -> list[CrossValidation]:
    """Relative residual on unseen tokens for every alpha; each token is left out of one of the folds."""
    unit = sums.gram_DD.trace() / system.hidden or 1.0
    order = np.random.default_rng(seed).permutation(system.tokens)
    squared = np.zeros(len(alphas))
    target = 0.0
    for part in np.array_split(order, min(FOLDS, system.tokens)):
        held = system.take(np.sort(part))
        fold, target_share = _measure(held, sums)
        squared += [max(0.0, fold.squared_residual(alpha * unit)) for alpha in alphas]
        target += target_share
    return [CrossValidation(alpha=a, residual=float(np.sqrt(s / target)) if target else 0.0) for a, s in zip(alphas, squared, strict=True)]


def _measure(held: LinearSystem, sums: Sums) -> tuple[_Fold, float]:
    """A fold's residual as a function of alpha, and the squared length of its instruct rows.

    With A'A = Q S Q' of the other tokens and Y = Q' A'(B - A), the map is X = Q f Y, f diagonal.
    """
    held_sums = empty_sums(held.hidden)
    held_sums.add(held)
    constant = target = 0.0
    for _, a_BD, difference_BD in held.blocks():
        constant += float(np.square(difference_BD).sum())
        target += float(np.square(a_BD + difference_BD).sum())
    eigenvalues_D, q_DD = scipy.linalg.eigh(sums.gram_DD - held_sums.gram_DD, lower=True, overwrite_a=True, check_finite=False)
    y_DD = q_DD.T @ (sums.right_DD - held_sums.right_DD)
    quadratic_DD = (q_DD.T @ held_sums.symmetric_gram() @ q_DD) * (y_DD @ y_DD.T)
    linear_D = np.einsum("ij,ij->i", q_DD.T @ held_sums.right_DD, y_DD)
    return _Fold(eigenvalues_D=eigenvalues_D, quadratic_DD=quadratic_DD, linear_D=linear_D, constant=constant), target
