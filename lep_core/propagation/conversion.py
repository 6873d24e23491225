"""Conversion: the map is fitted on all new tokens, spelled in old ones (method, section 4; arXiv 2412.21140).

    W = argmin || T base W - T instruct ||

T has one row per new token: the mean of the old tokens that spell it. T itself is never inverted.
Shapes: V new vocabulary, D hidden.
"""

from __future__ import annotations

from torch import Tensor

from lep_core.propagation.report import FitReport, least_squares_fit
from lep_core.propagation.side import FitSettings, Side, transform


def propagated(side: Side, settings: FitSettings, out_VD: Tensor) -> FitReport:
    fit = least_squares_fit(*side.spelled_system(settings), side.token_text, settings)
    transform(side, fit.matrix_DD, out_VD)
    return fit.report
