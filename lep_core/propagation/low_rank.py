"""Low rank: the identity plus a correction of small rank, between direct swap and conversion (reduced-rank regression, Izenman 1975).

    W = I + X,   X = argmin || T base (I + X) - T instruct ||  over rank(X) <= r

The minimiser is the least-squares correction followed by a projection on the r largest principal directions of what it adds to the rows.
Shapes: V new vocabulary, D hidden, R rank of the correction.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import scipy.linalg
from torch import Tensor

from lep_core.propagation.least_squares import LinearMap, add_identity, solve
from lep_core.propagation.linear_system import LinearSystem, Sums
from lep_core.propagation.report import FitReport, fit, sums_if_useful
from lep_core.propagation.side import FitSettings, Side, transform

DEFAULT_SHARE = 8  # the rank is an eighth of the hidden size unless it is given


def propagated(side: Side, settings: FitSettings, out_VD: Tensor) -> FitReport:
    system, ids = side.spelled_system(settings)
    rank = min(settings.rank or max(1, side.hidden // DEFAULT_SHARE), side.hidden)
    solver = partial(solve_low_rank, rcond=settings.rcond, correction_rank=rank)
    found = fit(system, ids, side.token_text, solver, sums=sums_if_useful(system))
    transform(side, found.matrix_DD, out_VD)
    return replace(found.report, correction_rank=rank)


def solve_low_rank(system: LinearSystem, sums: Sums | None, *, final: bool, rcond: float, correction_rank: int) -> LinearMap:
    """The full correction X, cut to its rank in the metric of the fitted rows."""
    full = solve(system, sums, rcond=rcond, final=final, toward_identity=True)
    x_DD = full.matrix_DD
    np.fill_diagonal(x_DD, x_DD.diagonal() - 1.0)
    added_DD = np.zeros((system.hidden, system.hidden))
    for _, a_BD, _ in system.blocks():
        added_BD = a_BD @ x_DD
        added_DD += added_BD.T @ added_BD
    first = system.hidden - correction_rank
    _, basis_DR = scipy.linalg.eigh(added_DD, subset_by_index=(first, system.hidden - 1), overwrite_a=True, check_finite=False)
    x_DD = (x_DD @ basis_DR) @ basis_DR.T
    add_identity(x_DD)
    return replace(full, matrix_DD=x_DD)
