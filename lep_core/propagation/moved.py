"""How far training has moved the rows that the adapted vocabulary shares with the old one: a sign of risk (see `lep_core.risk`).

Shapes: U old vocabulary, V adapted vocabulary, N sampled shared tokens, D hidden.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lep_core.tokenizer.mapping import VocabularyMapping

SAMPLED_TOKENS = 4096  # so many tell the move to about a hundredth, and reading more would slow down a swap


def moved_shared_rows(base_UD: Tensor, adapted_VD: Tensor, mapping: VocabularyMapping) -> float | None:
    """||E_adapted - E_base|| / ||E_base|| over the shared tokens, evenly sampled by id; None without any."""
    chosen = (
        np.unique(np.linspace(0, len(mapping.shared_new_ids) - 1, SAMPLED_TOKENS).astype(np.int64)) if len(mapping.shared_new_ids) else []
    )
    if not len(chosen):
        return None
    order = np.argsort(mapping.shared_new_ids)[chosen]
    base_ND = base_UD[torch.from_numpy(mapping.shared_old_ids[order])].double()
    adapted_ND = adapted_VD[torch.from_numpy(mapping.shared_new_ids[order])].double()
    length = float(torch.linalg.vector_norm(base_ND))
    return float(torch.linalg.vector_norm(adapted_ND - base_ND)) / length if length else None
