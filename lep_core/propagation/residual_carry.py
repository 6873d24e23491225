"""Residual carry: conversion's map for what training changed, and the instruct rows for the rest (method, section 4: alpha 0, lam 1).

    E_new = E_ru W + (T instruct - T base W) = T instruct + (E_ru - T base) W

What the linear map misses of a token's instruct row is carried over unchanged. A token that training left untouched returns exactly
to the instruct model's row. The idea of adding a difference of fine-tuned weights: task arithmetic (arXiv 2212.04089).
Shapes: V new vocabulary, D hidden.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from lep_core.propagation.report import FitReport, least_squares_fit
from lep_core.propagation.side import FitSettings, Side, carry_residual


def propagated(side: Side, settings: FitSettings, out_VD: Tensor) -> FitReport:
    fit = least_squares_fit(*side.spelled_system(settings), side.token_text, settings)
    return replace(fit.report, untouched_tokens=carry_residual(side, fit.matrix_DD, out_VD))
