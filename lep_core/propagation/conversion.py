"""Conversion: the map is fitted on all new tokens, spelled in old ones (method, section 4).

    W = argmin || T base W - T instruct ||

T has one row per new token: the mean of the old tokens that spell it. T itself is never inverted.
Shapes: N new tokens that have a spelling, U old vocabulary.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from lep_core.tokenizer.mapping import VocabularyMapping


def fitted_rows(mapping: VocabularyMapping) -> tuple[csr_matrix, np.ndarray]:
    """T without its empty rows, N x U, and the new ids of its rows."""
    transition_VU = csr_matrix(mapping.matrix("mean"))
    spelled = np.flatnonzero(np.diff(transition_VU.indptr))
    return transition_VU[spelled], spelled
