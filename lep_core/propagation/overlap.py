"""Overlap: the map is fitted on the rows of ordinary tokens that both vocabularies have (method, section 4).

    W = argmin || base[shared] W - instruct[shared] ||

Tokens are shared when their canonical bytes are equal; special and added tokens take no part.
Shapes: S shared tokens, U old vocabulary.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from lep_core.tokenizer.mapping import VocabularyMapping


def fitted_rows(mapping: VocabularyMapping) -> tuple[csr_matrix, np.ndarray]:
    """The selection matrix S x U and the new ids of its rows."""
    shared = len(mapping.shared_new_ids)
    indptr = np.arange(shared + 1)
    selection_SU = csr_matrix((np.ones(shared), np.asarray(mapping.shared_old_ids), indptr), shape=(shared, mapping.old_size))
    return selection_SU, np.asarray(mapping.shared_new_ids)
