"""Direct swap: the instruct model takes the trained rows as they are, W = identity (method, section 4; arXiv 2412.21140).

Nothing is fitted; the report says how far base and instruct rows of the shared tokens are apart.
Shapes: V new vocabulary, D hidden.
"""

from __future__ import annotations

from torch import Tensor

from lep_core.propagation.report import FitReport, measure_identity
from lep_core.propagation.side import FitSettings, Side


def propagated(side: Side, settings: FitSettings, out_VD: Tensor) -> FitReport:
    if out_VD.data_ptr() != side.adapted_VD.data_ptr():
        out_VD.copy_(side.adapted_VD)
    return measure_identity(side)
