"""Rows from a donor model by orthogonal matching pursuit (Pati et al. 1993; for vocabularies: Goddard & Fernandes Neto 2025).

The donor knows the new token. Its row there is written as a combination of a few rows of tokens that donor and base share, chosen
one after the other: each time the one nearest to what is still missing, then all coefficients anew by least squares. The same
coefficients on the base's rows of these tokens give the new row, so donor and base may differ in hidden size.

Shapes: V new vocabulary, U base vocabulary, N new tokens, S tokens that base and donor share, K chosen ones, D donor's hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lep_core.errors import ConfigError
from lep_core.models import EmbeddingPair, ModelFolder, load_embeddings, load_tokenizer
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.mapping import build_mapping

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from transformers import PreTrainedTokenizerFast

_BLOCK_BYTES = 1 << 28
_RIDGE = 1e-9


def donor_weights(
    base_tokenizer: PreTrainedTokenizerFast,
    new_tokenizer: PreTrainedTokenizerFast,
    donor: ModelFolder,
    ids_N: NDArray[np.int64],
    *,
    sparsity: int,
    device: torch.device,
    reporter: Reporter = SILENT,
) -> tuple[csr_matrix, csr_matrix]:
    """N x U coefficients on the base's rows for input embedding and head; empty rows for tokens that the donor lacks.

    Raises:
        ConfigError: base and donor share no token, or the donor has none of the new ones.
    """
    donor_tokenizer = load_tokenizer(donor.path)
    donor_ids = {data: index for index, data in enumerate(token_bytes(donor_tokenizer)) if data is not None}
    new_bytes = token_bytes(new_tokenizer)
    found = np.array([donor_ids.get(data, -1) if (data := new_bytes[index]) is not None else -1 for index in ids_N], dtype=np.int64)
    shared = build_mapping(base_tokenizer, donor_tokenizer)
    if not (found >= 0).any() or not len(shared.shared_new_ids):
        what = "none of the new tokens" if len(shared.shared_new_ids) else "no token in common with the base"
        raise ConfigError("donor", f"the donor {donor.path} has {what}", "Give a --donor whose tokenizer has the new tokens")
    pair: EmbeddingPair = load_embeddings(donor)
    size = int(shared.old_size)

    def weights(matrix_VD: Tensor) -> csr_matrix:
        return _weights(matrix_VD, found, shared.shared_new_ids, shared.shared_old_ids, size, sparsity, device, reporter)

    input_NU = weights(pair.input_VD)
    return input_NU, input_NU if pair.output_VD is None else weights(pair.output_VD)


def _weights(
    matrix_VD: Tensor,
    found_N: NDArray[np.int64],
    donor_S: NDArray[np.int64],
    base_S: NDArray[np.int64],
    size: int,
    sparsity: int,
    device: torch.device,
    reporter: Reporter,
) -> csr_matrix:
    from scipy.sparse import coo_matrix

    wanted = np.flatnonzero(found_N >= 0)
    atoms_SD = matrix_VD[torch.from_numpy(donor_S)].to(device, torch.float32)
    block = max(1, _BLOCK_BYTES // (4 * len(donor_S) + 8 * sparsity * atoms_SD.shape[1]))
    rows, columns, values = [], [], []
    for begin in range(0, len(wanted), block):
        if reporter.should_stop():
            raise KeyboardInterrupt("stopped while matching rows of the donor")
        part = wanted[begin : begin + block]
        targets_BD = matrix_VD[torch.from_numpy(found_N[part])].to(device, torch.float32)
        chosen_BK, weights_BK = matching_pursuit(targets_BD, atoms_SD, sparsity=sparsity)
        rows.append(np.repeat(part, chosen_BK.shape[1]))
        columns.append(base_S[chosen_BK.cpu().numpy().ravel()])
        values.append(weights_BK.cpu().numpy().ravel())
        reporter.progress(begin + len(part), len(wanted), "tokens")
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return coo_matrix(entries, shape=(len(found_N), size)).tocsr()


@torch.no_grad()
def matching_pursuit(targets_BD: Tensor, atoms_SD: Tensor, *, sparsity: int) -> tuple[Tensor, Tensor]:
    """For each target the atoms chosen, B x K, and their float64 coefficients, B x K.

    All targets advance together: one product with all atoms and one small batched solve for each atom that is added.
    """
    norms_S = torch.linalg.vector_norm(atoms_SD, dim=1).clamp(min=1e-30)
    residual_BD = targets_BD.clone()
    chosen_BK = torch.empty((len(targets_BD), 0), dtype=torch.long, device=targets_BD.device)
    weights_BK = torch.empty((len(targets_BD), 0), dtype=torch.float64, device=targets_BD.device)
    for _ in range(min(sparsity, len(atoms_SD))):
        nearness_BS = (residual_BD @ atoms_SD.T).abs_().div_(norms_S)
        nearness_BS.scatter_(1, chosen_BK, -1.0)  # no atom twice
        chosen_BK = torch.cat([chosen_BK, nearness_BS.argmax(dim=1, keepdim=True)], dim=1)
        basis_BKD = atoms_SD[chosen_BK].double()
        gram_BKK = basis_BKD @ basis_BKD.mT
        # The ridge keeps equal atoms solvable; it is far below float32's rounding.
        gram_BKK.diagonal(dim1=1, dim2=2).add_(_RIDGE * gram_BKK.diagonal(dim1=1, dim2=2).amax(dim=1, keepdim=True).clamp(min=1e-30))
        weights_BK = torch.linalg.solve(gram_BKK, (basis_BKD @ targets_BD.double()[:, :, None])).squeeze(2)
        residual_BD = (targets_BD.double() - (weights_BK[:, None] @ basis_BKD).squeeze(1)).float()
    return chosen_BK, weights_BK
