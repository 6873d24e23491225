"""What a fit is worth: residuals on fitted and on held-out tokens beside the identity map, distance from it, worst tokens.

Shapes: N fitted tokens, H held-out tokens, D hidden. All residuals are Frobenius norms relative to the instruct rows B_ND.
A small residual on fitted tokens alone says little: with as many tokens as dimensions it is zero. Held-out tokens tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import scipy.linalg

from lep_core.propagation.least_squares import LinearMap, LinearSystem, add_rows, gram, solve_gram, solve_rows

HELDOUT_SHARE = 0.1
WORST_TOKENS = 20
SINGULAR_VALUES = 256
FLOAT64_MEASUREMENT_LIMIT = 1e10  # tokens times hidden size squared


@dataclass(frozen=True, kw_only=True)
class WorstToken:
    """A token whose instruct row the map misses most, relative to the row's length."""

    token_id: int
    token: str
    relative_residual: float


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """One side's fit (input embedding or head). The direct swap fits nothing: rank and condition number are then None."""

    tokens: int
    rank: int | None = None
    hidden_size: int
    condition_number: float | None = None
    relative_residual: float | None = None
    heldout_residual: float | None = None
    identity_residual: float | None = None
    heldout_identity_residual: float | None = None
    distance_from_identity: float = 0.0
    singular_values: list[float] = field(default_factory=list)
    worst_tokens: list[WorstToken] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Fit:
    matrix_DD: np.ndarray
    report: FitReport


def fit(system: LinearSystem, token_ids_N: np.ndarray, token_text: Callable[[int], str], *, rcond: float, seed: int = 0) -> Fit:
    """Solve for the map and measure it.

    Args:
        token_ids_N: id of each fitted token in the new vocabulary, for the list of worst tokens.
        token_text: text of a token by that id.
        rcond: singular values below this share of the largest count as zero.
        seed: which tenth of the tokens is held out for the second fit that is only measured.
    """
    held_H, others_N = _held_out(system.tokens, seed)
    sums: tuple[np.ndarray, np.ndarray] | None = None
    solution: LinearMap | None = None
    if system.tokens >= system.hidden:
        sums = gram(system)
        solution = solve_gram(system, *sums, rcond=rcond)
    if solution is None:
        sums = None  # the Gram matrix has lost digits that both fits need
        solution = solve_rows(system, rcond=rcond)
    error_N, identity_N, target_N = _row_norms(system, solution.matrix_DD)
    heldout, heldout_identity = _measure_held_out(system, held_H, others_N, rcond, sums)
    distance_DD = solution.matrix_DD - np.eye(system.hidden)
    report = FitReport(
        tokens=system.tokens,
        rank=solution.rank,
        hidden_size=system.hidden,
        condition_number=solution.condition_number if solution.rank else None,
        relative_residual=_ratio(error_N, target_N),
        heldout_residual=heldout,
        identity_residual=_ratio(identity_N, target_N),
        heldout_identity_residual=heldout_identity,
        distance_from_identity=float(np.linalg.norm(distance_DD) / np.sqrt(system.hidden)),
        singular_values=[float(value) for value in solution.singular_values_D[:SINGULAR_VALUES]],
        worst_tokens=_worst(error_N, target_N, token_ids_N, token_text),
    )
    return Fit(matrix_DD=solution.matrix_DD, report=report)


def measure_identity(system: LinearSystem, *, seed: int = 0) -> FitReport:
    """The report of the direct swap: how far the instruct rows are from the base rows; held out as in `fit`, though nothing is fitted."""
    _, identity_N, target_N = _row_norms(system, None)
    held_H = _held_out(system.tokens, seed)[0]
    share, held_share = _ratio(identity_N, target_N), _ratio(identity_N[held_H], target_N[held_H])
    return FitReport(
        tokens=system.tokens,
        hidden_size=system.hidden,
        relative_residual=share,
        heldout_residual=held_share,
        identity_residual=share,
        heldout_identity_residual=held_share,
    )


def _held_out(tokens: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the held-out tokens and of the others, both sorted."""
    order = np.random.default_rng(seed).permutation(tokens)
    count = int(tokens * HELDOUT_SHARE)
    return np.sort(order[:count]), np.sort(order[count:])


def _measure_held_out(
    system: LinearSystem, held_H: np.ndarray, others_N: np.ndarray, rcond: float, sums: tuple[np.ndarray, np.ndarray] | None
) -> tuple[float | None, float | None]:
    """Residual of a second fit on the tokens that it has not seen, and the identity's there; uses up `sums`."""
    if not len(held_H):
        return None, None
    map_DD = None if sums is None else _solve_without(system, held_H, *sums)
    if map_DD is None:
        map_DD = solve_rows(system, rcond=rcond, rows_N=others_N).matrix_DD
    error_H, identity_H, target_H = _row_norms(system, map_DD, held_H)
    return _ratio(error_H, target_H), _ratio(identity_H, target_H)


def _solve_without(system: LinearSystem, held_H: np.ndarray, gram_DD: np.ndarray, right_DD: np.ndarray) -> np.ndarray | None:
    """The map fitted on all but the held-out tokens; uses up both matrices. None when the other tokens do not determine it."""
    add_rows(system, held_H, gram_DD, right_DD, sign=-1.0)
    try:
        factor = scipy.linalg.cho_factor(gram_DD, lower=True, overwrite_a=True, check_finite=False)
    except scipy.linalg.LinAlgError:
        return None
    diagonal_D = np.abs(factor[0].diagonal())
    if diagonal_D.min() < 1e-6 * diagonal_D.max():
        return None
    x_DD = scipy.linalg.cho_solve(factor, right_DD, overwrite_b=True, check_finite=False)
    np.fill_diagonal(x_DD, x_DD.diagonal() + 1.0)
    return x_DD


def _row_norms(
    system: LinearSystem, map_DD: np.ndarray | None, rows_N: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per token: length of A W - B, of A - B, and of B. Without a map the first is the second."""
    count = system.tokens if rows_N is None else len(rows_N)
    error_N, identity_N, target_N = (np.zeros(count) for _ in range(3))
    # A report needs few digits: large systems are measured in float32, which halves the time. The map itself stays in float64.
    dtype = np.float32 if count * system.hidden**2 > FLOAT64_MEASUREMENT_LIMIT else np.float64
    x_DD = None if map_DD is None else (map_DD - np.eye(system.hidden)).astype(dtype)
    for position, a_BD, difference_BD in system.blocks(rows_N, dtype=dtype):
        identity_N[position] = np.linalg.norm(difference_BD, axis=1)
        target_N[position] = np.linalg.norm(a_BD + difference_BD, axis=1)
        error_N[position] = identity_N[position] if x_DD is None else np.linalg.norm(a_BD @ x_DD - difference_BD, axis=1)
    return error_N, identity_N, target_N


def _ratio(error_N: np.ndarray, target_N: np.ndarray) -> float | None:
    whole = float(np.linalg.norm(target_N))
    return float(np.linalg.norm(error_N)) / whole if whole else None


def _worst(error_N: np.ndarray, target_N: np.ndarray, token_ids_N: np.ndarray, token_text: Callable[[int], str]) -> list[WorstToken]:
    relative_N = np.divide(error_N, target_N, out=np.zeros_like(error_N), where=target_N > 0)
    worst = np.argsort(-relative_N, kind="stable")[:WORST_TOKENS]
    return [
        WorstToken(token_id=int(token_ids_N[n]), token=token_text(int(token_ids_N[n])), relative_residual=float(relative_N[n]))
        for n in worst
    ]
