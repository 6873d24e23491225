"""Chat vector: add the difference between instruct and base to the trained rows (method, section 4: W = I, lam 1; arXiv 2310.04799).

    E_new = E_ru + (T instruct - T base)

Nothing is fitted. A token that training left untouched returns exactly to the instruct model's row.
Shapes: V new vocabulary, D hidden.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from lep_core.propagation.report import FitReport, measure_identity
from lep_core.propagation.side import FitSettings, Side, carry_residual


def propagated(side: Side, settings: FitSettings, out_VD: Tensor) -> FitReport:
    return replace(measure_identity(side), untouched_tokens=carry_residual(side, None, out_VD))
