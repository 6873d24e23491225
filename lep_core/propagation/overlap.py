"""Overlap: the map is fitted on the rows of ordinary tokens that both vocabularies have (method, section 4; arXiv 2412.21140).

    W = argmin || base[shared] W - instruct[shared] ||

Tokens are shared when their canonical bytes are equal; special and added tokens take no part.
Shapes: V new vocabulary, D hidden.
"""

from __future__ import annotations

from torch import Tensor

from lep_core.propagation.report import FitReport, least_squares_fit
from lep_core.propagation.side import FitSettings, Side, transform


def propagated(side: Side, settings: FitSettings, out_VD: Tensor) -> FitReport:
    fit = least_squares_fit(*side.shared_system(settings), side.token_text, settings)
    transform(side, fit.matrix_DD, out_VD)
    return fit.report
