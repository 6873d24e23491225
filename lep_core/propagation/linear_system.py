"""The rows that a map between two embeddings is fitted on, streamed, and their Gram matrices (method, section 4).

    A_ND = C_NU base_UD,   B_ND = C_NU instruct_UD,   C_NU sparse

Shapes: N fitted tokens, U old tokens that occur in them, D hidden, B a block of rows, P old tokens of a block, K a block of columns.

A_ND is never held whole. Its Gram matrix is summed over blocks, over the N tokens or, when that is cheaper, over the U old tokens:
A'A = base' (C'C) base. Old tokens that spell no fitted token are dropped first: a Russian vocabulary of 32,000 tokens is spelled by some
2,000 tokens of Mistral.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg.blas import dgemm, dsyrk  # ty: ignore[missing-module-member]
from scipy.sparse import csr_matrix
from torch import Tensor

BLOCK_BYTES = 1 << 26
COMPACT_SHARE = 0.5  # below this share of used old tokens their rows are copied out, at most half a matrix


@dataclass(frozen=True, kw_only=True)
class LinearSystem:
    """Rows to be fitted: `combination_NU` mixes old tokens, `base_UD` and `instruct_UD` are the matrices in any float dtype."""

    combination_NU: csr_matrix
    base_UD: Tensor
    instruct_UD: Tensor

    @property
    def tokens(self) -> int:
        return self.combination_NU.shape[0]

    @property
    def old_tokens(self) -> int:
        return self.base_UD.shape[0]

    @property
    def hidden(self) -> int:
        return self.base_UD.shape[1]

    @property
    def may_have_full_rank(self) -> bool:
        return min(self.tokens, self.old_tokens) >= self.hidden

    def compact(self) -> LinearSystem:
        """The same system without old tokens that no row uses."""
        used = np.unique(self.combination_NU.indices)
        if len(used) >= COMPACT_SHARE * self.old_tokens and not self.hidden >= len(used) < self.old_tokens:
            return self
        part_NU = self.combination_NU
        combination = csr_matrix(
            (part_NU.data, np.searchsorted(used, part_NU.indices), part_NU.indptr), shape=(part_NU.shape[0], len(used))
        )
        rows = torch.from_numpy(used.astype(np.int64))
        return LinearSystem(combination_NU=combination, base_UD=self.base_UD[rows], instruct_UD=self.instruct_UD[rows])

    def take(self, rows_N: np.ndarray) -> LinearSystem:
        """The system of some of the rows."""
        return LinearSystem(combination_NU=self.combination_NU[rows_N], base_UD=self.base_UD, instruct_UD=self.instruct_UD)

    def blocks(self, *, dtype: type = np.float64) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Position among the rows, A_BD and (B - A)_BD, row-major, in `dtype`."""
        # Each row of a block needs about as many old rows as it has pieces, and two results.
        pieces = self.combination_NU.nnz / max(1, self.tokens)
        work = torch.float32 if dtype is np.float32 else torch.float64
        size = max(32, int(BLOCK_BYTES / (8 * self.hidden * (pieces + 2))))
        for begin in range(0, self.tokens, size):
            position = slice(begin, min(begin + size, self.tokens))
            part_BU = self.combination_NU[position]
            used, indices = np.unique(part_BU.indices, return_inverse=True)
            part_BP = csr_matrix((part_BU.data.astype(dtype), indices, part_BU.indptr), shape=(part_BU.shape[0], len(used)))
            used = torch.from_numpy(used.astype(np.int64))
            base_PD = self.base_UD[used].to(work).numpy()
            difference_PD = self.instruct_UD[used].to(work).numpy() - base_PD
            yield position, part_BP @ base_PD, part_BP @ difference_PD


@dataclass(frozen=True, kw_only=True)
class Sums:
    """A'A, of which only the lower triangle counts, and A'(B - A), both D x D, column-major, float64; and ||B - A||^2, of shape ()."""

    gram_DD: np.ndarray
    right_DD: np.ndarray
    difference_squared: np.ndarray

    def add(self, system: LinearSystem, *, sign: float = 1.0) -> None:
        """Add (or with sign -1 take away) the share of a system's rows, in place."""
        for _, a_BD, difference_BD in system.blocks():
            # Row-major blocks seen as column-major transposes: BLAS works on them without a copy.
            dsyrk(sign, a_BD.T, beta=1.0, c=self.gram_DD, lower=1, overwrite_c=1)
            dgemm(sign, a_BD.T, difference_BD.T, beta=1.0, c=self.right_DD, trans_b=1, overwrite_c=1)
            self.difference_squared[...] += sign * np.vdot(difference_BD, difference_BD)

    @property
    def target_squared(self) -> float:
        """||B||^2."""
        return float(self.gram_DD.trace() + 2.0 * self.right_DD.trace() + self.difference_squared)

    def symmetric_gram(self) -> np.ndarray:
        """A'A in full, as a copy."""
        gram_DD = np.tril(self.gram_DD)
        return gram_DD + np.tril(gram_DD, -1).T


def empty_sums(hidden: int) -> Sums:
    gram_DD, right_DD = (np.zeros((hidden, hidden), order="F") for _ in range(2))
    return Sums(gram_DD=gram_DD, right_DD=right_DD, difference_squared=np.zeros(()))


def gram(system: LinearSystem) -> Sums:
    """A'A and A'(B - A), over the tokens or over the old tokens that spell them, whichever are fewer."""
    sums = empty_sums(system.hidden)
    used = np.unique(system.combination_NU.indices)
    if len(used) < 0.9 * system.tokens:
        _add_over_old_tokens(system, used, sums)
    else:
        sums.add(system)
    return sums


def _add_over_old_tokens(system: LinearSystem, used: np.ndarray, sums: Sums) -> None:
    hidden = system.hidden
    part_NU, rows_U = system.combination_NU, torch.from_numpy(used.astype(np.int64))
    part_NU = csr_matrix((part_NU.data, np.searchsorted(used, part_NU.indices), part_NU.indptr), shape=(part_NU.shape[0], len(used)))
    weights_UU = csr_matrix(part_NU.T @ part_NU)
    # Four blocks of columns at a time, in what the two matrices of a later step will take.
    width = max(16, (16 * hidden * hidden + BLOCK_BYTES) // (32 * len(used)))
    # One buffer for all blocks of rows: to get fresh memory for each costs more than to fill it.
    buffer_BD = np.empty((max(64, BLOCK_BYTES // (16 * hidden)), hidden))
    for left in range(0, hidden, width):
        columns = slice(left, min(left + width, hidden))
        base_UK = system.base_UD[:, columns][rows_U].double().numpy()
        plain_UK = system.instruct_UD[:, columns][rows_U].double().numpy() - base_UK
        difference_UK = weights_UU @ plain_UK
        sums.difference_squared[...] += np.vdot(difference_UK, plain_UK)
        del plain_UK
        base_UK = weights_UU @ base_UK
        for top in range(0, len(used), len(buffer_BD)):
            rows = slice(top, min(top + len(buffer_BD), len(used)))
            base_BD = buffer_BD[: rows.stop - top]
            torch.from_numpy(base_BD).copy_(system.base_UD[rows_U[rows]])
            sums.gram_DD[left:, columns] += base_BD[:, left:].T @ base_UK[rows]
            sums.right_DD[:, columns] += base_BD.T @ difference_UK[rows]
