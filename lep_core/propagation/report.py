"""What a fit is worth: residuals on fitted and on held-out tokens beside the identity map, distance from it, worst tokens.

Shapes: N fitted tokens, H held-out tokens, D hidden. All residuals are Frobenius norms relative to the instruct rows B_ND.
A small residual on fitted tokens alone says little: with as many tokens as dimensions it is zero. Held-out tokens tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from scipy.linalg.blas import dsymm  # ty: ignore[missing-module-member]

from lep_core.errors import TokenizerError
from lep_core.propagation.least_squares import LinearMap, solve
from lep_core.propagation.linear_system import BLOCK_BYTES, LinearSystem, Sums, gram

if TYPE_CHECKING:
    from torch import Tensor

    from lep_core.propagation.side import FitSettings, Side

HELDOUT_SHARE = 0.1
HELDOUT_TOKENS = 1024  # so many tell a residual to a few hundredths; more would only take time
WORST_TOKENS = 20
SINGULAR_VALUES = 256
COLUMNS = 512
SKETCH = 64  # random directions that tell large residuals from small ones to about a tenth
CANDIDATES = 1000  # rows with a large residual in the sketch, to be measured
FLOAT64_MEASUREMENT_LIMIT = 1e10  # tokens times hidden size squared


@dataclass(frozen=True, kw_only=True)
class WorstToken:
    """A token whose instruct row the map misses most, relative to the row's length."""

    token_id: int
    token: str
    relative_residual: float


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """Relative residual on unseen tokens with one strength of the ridge."""

    alpha: float
    residual: float


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """One side's fit (input embedding or head). Methods that fit nothing have no rank and no condition number.

    Attributes:
        tokens: fitted tokens; `old_tokens`: different old tokens that spell them, which bounds the rank.
        rank, condition_number: of the fitted base rows, at `rcond`.
        relative_residual, heldout_residual: on fitted tokens, and on a tenth of them (at most 1,024) with a map fitted on the others; beside each
            the residual of the identity. With `gamma` all four are weighted like the fit.
        distance_from_identity: ||W - I|| / sqrt(hidden size).
        alpha, cross_validation: of ridge; the latter is empty when alpha was given.
        correction_rank: of low-rank.
        moved_shared: how far training had moved the rows of shared tokens, relative to their length (on up to 4,096 of them).
        untouched_tokens: tokens that got exactly the instruct model's row because training had not moved them (residual-carry, chat-vector).
    """

    tokens: int
    old_tokens: int
    rank: int | None = None
    hidden_size: int
    condition_number: float | None = None
    relative_residual: float | None = None
    heldout_residual: float | None = None
    identity_residual: float | None = None
    heldout_identity_residual: float | None = None
    distance_from_identity: float = 0.0
    alpha: float | None = None
    cross_validation: list[CrossValidation] = field(default_factory=list)
    correction_rank: int | None = None
    moved_shared: float | None = None
    untouched_tokens: int | None = None
    singular_values: list[float] = field(default_factory=list)
    worst_tokens: list[WorstToken] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Fit:
    matrix_DD: np.ndarray
    report: FitReport


class Solver(Protocol):
    """A method's map for a system; `sums` are its Gram matrices where they are of use.

    With `final` False the map is only measured: few digits do, and `sums` may be used up.
    """

    def __call__(self, system: LinearSystem, sums: Sums | None, *, final: bool) -> LinearMap: ...


def least_squares_fit(system: LinearSystem, token_ids_N: np.ndarray, token_text: Callable[[int], str], settings: FitSettings) -> Fit:
    """The plain least-squares map and its report."""
    if not system.tokens:
        raise TokenizerError("base and adapted tokenizer share no token, so no map can be fitted", "Use --method conversion or swap")
    return fit(system, token_ids_N, token_text, partial(solve, rcond=settings.rcond), sums=sums_if_useful(system))


def sums_if_useful(system: LinearSystem) -> Sums | None:
    """The Gram matrices, unless the rank cannot be full: then they would have lost the small singular values anyway."""
    return gram(system) if system.may_have_full_rank else None


def fit(
    system: LinearSystem, token_ids_N: np.ndarray, token_text: Callable[[int], str], solver: Solver, *, sums: Sums | None, seed: int = 0
) -> Fit:
    """Solve for the map and measure it.

    Args:
        token_ids_N: id of each fitted token in the new vocabulary, for the list of worst tokens.
        token_text: text of a token by that id.
        sums: the system's Gram matrices, used up.
        seed: which of the tokens are held out for the second fit that is only measured.
    """
    solution = solver(system, sums, final=True)
    if not solution.by_gram:
        sums = None  # the Gram matrix has lost digits that both fits need
    x_DD = without_identity(solution.matrix_DD)
    measured = _measure_fitted(system, x_DD, sums)
    distance = float(np.linalg.norm(x_DD) / np.sqrt(system.hidden))
    del x_DD
    heldout, heldout_identity = _measure_held_out(system, solver, sums, seed)
    report = FitReport(
        tokens=system.tokens,
        old_tokens=_distinct(system),
        rank=solution.rank,
        hidden_size=system.hidden,
        condition_number=solution.condition_number if solution.rank else None,
        relative_residual=measured.residual,
        heldout_residual=heldout,
        identity_residual=measured.identity_residual,
        heldout_identity_residual=heldout_identity,
        distance_from_identity=distance,
        singular_values=[float(value) for value in solution.singular_values_D[:SINGULAR_VALUES]],
        worst_tokens=[
            WorstToken(token_id=int(token_ids_N[n]), token=token_text(int(token_ids_N[n])), relative_residual=share)
            for n, share in measured.worst
        ],
    )
    return Fit(matrix_DD=solution.matrix_DD, report=report)


def measure_identity(side: Side, *, seed: int = 0) -> FitReport:
    """Without a map: how far the instruct rows of shared tokens are from the base rows; held out as in `fit`, though nothing is fitted."""
    ids_N = torch.from_numpy(np.asarray(side.mapping.shared_old_ids))
    dtype = torch.promote_types(side.base_UD.dtype, torch.float32)
    norms: list[tuple[Tensor, Tensor]] = []
    for ids_B in ids_N.split(max(64, BLOCK_BYTES // (32 * side.hidden))):
        instruct_BD, difference_BD = side.instruct_UD[ids_B], side.base_UD[ids_B].to(dtype)
        difference_BD -= instruct_BD
        norms.append((torch.linalg.vector_norm(difference_BD, dim=1), torch.linalg.vector_norm(instruct_BD, dim=1, dtype=dtype)))
    identity_N, target_N = (torch.cat(part).double().numpy() for part in zip(*norms, strict=True)) if norms else (np.zeros(0),) * 2
    held_H = _held_out(len(ids_N), seed)[0]
    share, held_share = _ratio(identity_N, target_N), _ratio(identity_N[held_H], target_N[held_H])
    return FitReport(
        tokens=len(ids_N),
        old_tokens=len(ids_N),
        hidden_size=side.hidden,
        relative_residual=share,
        heldout_residual=held_share,
        identity_residual=share,
        heldout_identity_residual=held_share,
    )


def _distinct(system: LinearSystem) -> int:
    return len(np.unique(system.combination_NU.indices))


def _held_out(tokens: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the held-out tokens and of the others, both sorted."""
    order = np.random.default_rng(seed).permutation(tokens)
    count = min(int(tokens * HELDOUT_SHARE), HELDOUT_TOKENS)
    return np.sort(order[:count]), np.sort(order[count:])


def _measure_held_out(system: LinearSystem, solver: Solver, sums: Sums | None, seed: int) -> tuple[float | None, float | None]:
    """Residual of a second fit on the tokens that it has not seen, and the identity's there; uses up `sums`."""
    held_H, others_N = _held_out(system.tokens, seed)
    if not len(held_H):
        return None, None
    held = system.take(held_H)
    if sums is not None:
        sums.add(held, sign=-1.0)
    solution = solver(system.take(others_N), sums, final=False)
    error_H, identity_H, target_H = _row_norms(held, without_identity(solution.matrix_DD))
    return _ratio(error_H, target_H), _ratio(identity_H, target_H)


def without_identity(map_DD: np.ndarray) -> np.ndarray:
    """X of W = I + X, as a copy."""
    x_DD = map_DD.copy(order="K")
    np.fill_diagonal(x_DD, x_DD.diagonal() - 1.0)
    return x_DD


def _row_norms(system: LinearSystem, x_DD: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per token: length of A W - B with W = I + X, of A - B, and of B."""
    error_N, identity_N, target_N = (np.zeros(system.tokens) for _ in range(3))
    # A report needs few digits: large systems are measured in float32, which halves the time. The map itself stays in float64.
    dtype = np.float32 if system.tokens * system.hidden**2 > FLOAT64_MEASUREMENT_LIMIT else np.float64
    x_DD = x_DD.astype(dtype)
    for position, a_BD, difference_BD in system.blocks(dtype=dtype):
        identity_N[position] = np.linalg.norm(difference_BD, axis=1)
        target_N[position] = np.linalg.norm(a_BD + difference_BD, axis=1)
        error_N[position] = np.linalg.norm(a_BD @ x_DD - difference_BD, axis=1)
    return error_N, identity_N, target_N


def _ratio(error_N: np.ndarray, target_N: np.ndarray) -> float | None:
    whole = float(np.linalg.norm(target_N))
    return float(np.linalg.norm(error_N)) / whole if whole else None


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Relative residuals of a map and of the identity, and the rows that the map misses most with their own."""

    residual: float | None
    identity_residual: float | None
    worst: list[tuple[int, float]]


def _measure_fitted(system: LinearSystem, x_DD: np.ndarray, sums: Sums | None) -> _Measured:
    """For large systems a pass over the rows would cost as much as the Gram matrices: there all comes from these and a sketch."""
    if sums is not None and system.tokens * system.hidden**2 > FLOAT64_MEASUREMENT_LIMIT:
        return _measure_by_sums(system, x_DD, sums)
    error_N, identity_N, target_N = _row_norms(system, x_DD)
    return _Measured(residual=_ratio(error_N, target_N), identity_residual=_ratio(identity_N, target_N), worst=_worst(error_N, target_N))


def _measure_by_sums(system: LinearSystem, x_DD: np.ndarray, sums: Sums) -> _Measured:
    """With W = I + X: ||A X - (B - A)||^2 = ||B - A||^2 + <X, A'A X - 2 A'(B - A)>; the worst rows are looked for in a sketch."""
    squared = float(sums.difference_squared)
    for begin in range(0, system.hidden, COLUMNS):
        columns = slice(begin, begin + COLUMNS)
        part_DK = np.asfortranarray(x_DD[:, columns])
        change_DK = dsymm(1.0, sums.gram_DD, part_DK, beta=-2.0, c=sums.right_DD[:, columns], lower=1)
        squared += float(np.vdot(part_DK.T, change_DK.T))
    whole = sums.target_squared
    candidates = np.sort([n for n, _ in _worst(*_sketched_norms(system, x_DD), CANDIDATES)])
    error_C, _, target_C = _row_norms(system.take(candidates), x_DD)
    return _Measured(
        residual=(max(0.0, squared) / whole) ** 0.5 if whole > 0 else None,
        identity_residual=(float(sums.difference_squared) / whole) ** 0.5 if whole > 0 else None,
        worst=[(int(candidates[n]), share) for n, share in _worst(error_C, target_C)],
    )


def _sketched_norms(system: LinearSystem, x_DD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """About the length of A W - B and of B per token, seen through a few random directions: these pass through the old tokens alone."""
    directions_DK = np.random.default_rng(0).standard_normal((system.hidden, SKETCH)) / np.sqrt(SKETCH)
    base_DK, instruct_DK = (torch.from_numpy(part_DK).float() for part_DK in (x_DD @ directions_DK + directions_DK, directions_DK))
    error_UK, target_UK = (torch.zeros((system.old_tokens, SKETCH)) for _ in range(2))
    # Only rows that take part: of mapped files the others would be read for nothing.
    used_U = torch.from_numpy(np.unique(system.combination_NU.indices).astype(np.int64))
    for used_B in used_U.split(max(64, BLOCK_BYTES // (16 * system.hidden))):
        target_UK[used_B] = system.instruct_UD[used_B].float() @ instruct_DK
        error_UK[used_B] = system.base_UD[used_B].float() @ base_DK - target_UK[used_B]
    error_N, target_N = (np.linalg.norm(system.combination_NU @ part_UK.numpy(), axis=1) for part_UK in (error_UK, target_UK))
    return error_N, target_N


def _worst(error_N: np.ndarray, target_N: np.ndarray, count: int = WORST_TOKENS) -> list[tuple[int, float]]:
    relative_N = np.divide(error_N, target_N, out=np.zeros_like(error_N), where=target_N > 0)
    return [(int(n), float(relative_N[n])) for n in np.argsort(-relative_N, kind="stable")[:count]]
