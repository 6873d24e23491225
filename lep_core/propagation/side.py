"""What every method of propagation gets: one side of the models (input embedding or head) and the settings of the fit (method, section 4).

    E_new = E_ru W + lam (C_i - C_b W),   C_x = T E_x

A method is a module with one function `propagated(side, settings, out_VD)` that fills in the rows of the new vocabulary and returns the
report of its fit. `transform` and `carry_residual` below are the two forms of the formula, lam = 0 and lam = 1.
Shapes: V new vocabulary, U old vocabulary, D hidden, B a block of rows, P old tokens of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags
from torch import Tensor

from lep_core.propagation.least_squares import apply_map
from lep_core.propagation.linear_system import BLOCK_BYTES, LinearSystem
from lep_core.tokenizer.mapping import VocabularyMapping


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """See `PropagateConfig` for the meaning of each; `weights_V` is what each token counts in the fit, None for all alike."""

    rcond: float = 1e-6
    alpha: float | None = None
    rank: int | None = None
    leave_out_special: bool = False
    weights_V: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Side:
    """One matrix of the three models without padded rows, and how the new vocabulary is spelled in the old one.

    `release` gives back the memory that base and instruct matrix take, where these are mapped files.
    """

    base_UD: Tensor
    instruct_UD: Tensor
    adapted_VD: Tensor
    mapping: VocabularyMapping
    token_text: Callable[[int], str] = str
    release: Callable[[], None] = lambda: None

    @property
    def hidden(self) -> int:
        return self.base_UD.shape[1]

    def shared_system(self, settings: FitSettings) -> tuple[LinearSystem, np.ndarray]:
        """Rows of the ordinary tokens that both vocabularies have, and their new ids."""
        shared = len(self.mapping.shared_new_ids)
        selection_NU = csr_matrix(
            (np.ones(shared), np.asarray(self.mapping.shared_old_ids), np.arange(shared + 1)), shape=(shared, self.mapping.old_size)
        )
        return self._system(selection_NU, np.asarray(self.mapping.shared_new_ids), settings)

    def spelled_system(self, settings: FitSettings) -> tuple[LinearSystem, np.ndarray]:
        """Rows of T that have a spelling, and their new ids.

        Special tokens that base and instruct share are rows of T in the paper's formula. The instruct model may have moved them far
        (role tokens have no meaning in the base), and none of them gets its row from the map: `leave_out_special` fits without them.
        """
        transition_VU = self.mapping.matrix("mean")
        spelled = np.diff(transition_VU.indptr) > 0
        if settings.leave_out_special:
            spelled[self.mapping.special_new_ids] = False
        ids = np.flatnonzero(spelled)
        return self._system(csr_matrix(transition_VU[ids]), ids, settings)

    def _system(self, combination_NU: csr_matrix, ids: np.ndarray, settings: FitSettings) -> tuple[LinearSystem, np.ndarray]:
        if settings.weights_V is not None:
            # Rows by the roots of their weights: the plain squares of the system are then the weighted ones.
            combination_NU = csr_matrix(diags(np.sqrt(settings.weights_V[ids])) @ combination_NU)
        return LinearSystem(combination_NU=combination_NU, base_UD=self.base_UD, instruct_UD=self.instruct_UD).compact(), ids


def transform(side: Side, map_DD: np.ndarray, out_VD: Tensor) -> None:
    """E_ru W: lam = 0."""
    side.release()
    apply_map(side.adapted_VD, map_DD, out_VD=out_VD)


def carry_residual(side: Side, map_DD: np.ndarray | None, out_VD: Tensor) -> int:
    """E_ru W + C_i - C_b W = C_i + (E_ru - C_b) W: lam = 1; without a map W = I. Returns how many tokens training left untouched.

    These get exactly C_i: the instruct model's own row for a shared token, and for a new one the average of the instruct rows that
    initialisation would have given it.
    """
    map_tensor_DD = None if map_DD is None else torch.from_numpy(np.ascontiguousarray(map_DD))
    transition_VU = side.mapping.matrix("mean")
    system = LinearSystem(combination_NU=transition_VU, base_UD=side.base_UD, instruct_UD=side.instruct_UD)
    untouched = 0
    for rows, start_BD, difference_BD in system.blocks():
        start_BD, trained_BD = torch.from_numpy(start_BD), side.adapted_VD[rows].double()
        moved_BD = trained_BD - start_BD
        still_B = _is_rounding(moved_BD, start_BD, side.adapted_VD.dtype)
        moved_BD[still_B] = 0.0
        untouched += int(still_B.sum())
        target_BD = start_BD.add_(torch.from_numpy(difference_BD))
        out_VD[rows] = target_BD.add_(moved_BD if map_tensor_DD is None else moved_BD @ map_tensor_DD)
    _restore_untouched(side, out_VD)
    return untouched


def _is_rounding(moved_BD: Tensor, start_BD: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows whose every entry lies within one unit in the last place of `dtype` from where initialisation began."""
    allowed_BD = start_BD.abs() * torch.finfo(dtype).eps
    if dtype.itemsize == 2:
        # Sixteen-bit rows are averaged in float32, whose rounding is relative to the largest piece.
        allowed_BD += start_BD.abs().amax(dim=1, keepdim=True) * 2.0**-20
    return (moved_BD.abs() <= allowed_BD).all(dim=1)


def _restore_untouched(side: Side, out_VD: Tensor) -> None:
    """Copy the instruct rows of untouched shared tokens bit by bit."""
    new_ids, old_ids = (torch.from_numpy(np.asarray(ids)) for ids in (side.mapping.shared_new_ids, side.mapping.shared_old_ids))
    size = max(64, BLOCK_BYTES // (8 * side.hidden))
    for new_B, old_B in zip(new_ids.split(size), old_ids.split(size), strict=True):
        still_B = (side.adapted_VD[new_B] == side.base_UD[old_B].to(side.adapted_VD.dtype)).all(dim=1)
        out_VD[new_B[still_B]] = side.instruct_UD[old_B[still_B]].to(out_VD.dtype)
