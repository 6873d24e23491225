"""Procrustes: the best rotation, so that lengths and angles of the trained rows survive (Schönemann 1966; for embeddings arXiv 1702.03859).

    W = argmin || T base W - T instruct ||  over W'W = I;   W = U V' where (T base)'(T instruct) = U S V'

Directions that no fitted token determines are turned as little as possible.
Shapes: V new vocabulary, D hidden, K undetermined directions.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import scipy.linalg
from torch import Tensor

from lep_core.propagation.least_squares import EPSILON, LinearMap, singular_values
from lep_core.propagation.linear_system import LinearSystem, Sums, gram
from lep_core.propagation.report import FitReport, fit
from lep_core.propagation.side import FitSettings, Side, transform


def propagated(side: Side, settings: FitSettings, out_VD: Tensor) -> FitReport:
    system, ids = side.spelled_system(settings)
    found = fit(system, ids, side.token_text, partial(solve_procrustes, rcond=settings.rcond), sums=gram(system))
    transform(side, found.matrix_DD, out_VD)
    return found.report


def solve_procrustes(system: LinearSystem, sums: Sums | None, *, final: bool, rcond: float) -> LinearMap:
    """The orthogonal map from the cross-covariance A'B = A'A + A'(B - A)."""
    sums = sums or gram(system)
    values_D = singular_values(sums) if final else np.ones(1)
    share = max(rcond, EPSILON**0.5)
    rank = int((values_D > values_D[0] * share).sum()) if values_D[0] else 0
    condition = float(values_D[0] / values_D[rank - 1]) if rank else float("inf")
    matrix_DD = _nearest_rotation(sums, rcond) if sums.right_DD.any() else np.eye(system.hidden)
    return LinearMap(matrix_DD=matrix_DD, rank=rank, condition_number=condition, singular_values_D=values_D)


def _nearest_rotation(sums: Sums, rcond: float) -> np.ndarray:
    hidden = len(sums.gram_DD)
    cross_DD = sums.symmetric_gram()
    cross_DD += sums.right_DD
    u_DD, cross_D, v_DD = scipy.linalg.svd(cross_DD, overwrite_a=True, check_finite=False)
    known = int((cross_D > cross_D[0] * max(rcond**2, EPSILON * hidden)).sum()) if cross_D[0] else 0
    matrix_DD = u_DD[:, :known] @ v_DD[:known]
    if known < hidden:
        # Any rotation of the undetermined directions fits alike; the nearest to the identity is unique and changes least.
        u_DK, v_KD = u_DD[:, known:], v_DD[known:]
        turn_u, _, turn_v = scipy.linalg.svd(u_DK.T @ v_KD.T, check_finite=False)
        matrix_DD += u_DK @ (turn_u @ turn_v) @ v_KD
    return matrix_DD
