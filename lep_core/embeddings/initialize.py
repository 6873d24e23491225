"""First rows of a new vocabulary: weighted averages of the old tokens that spell each new token (method, section 2).

    python -m lep_core initialize --base BASE --tokenizer TOKENIZER --output OUTPUT

Shapes: V new vocabulary, U old vocabulary, A new tokens that have to be averaged, D hidden. T_VU is sparse, its rows sum to 1, and
row n weighs the old tokens that spell token n. Tokens in both vocabularies and special tokens keep their row bit by bit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lep_core.config import InitializeConfig
from lep_core.errors import TokenizerError
from lep_core.measuring import Stopwatch, peak_memory_gib
from lep_core.models import EmbeddingPair, check_finite, frozen_sha256, inspect_model, load_embeddings, load_tokenizer, write_model
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.mapping import VocabularyMapping, build_mapping

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK_BYTES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """How many rows came from where; together they are all rows of the new vocabulary."""

    shared_tokens: int
    averaged_tokens: int
    special_tokens: int
    missing_tokens: int


@dataclass(frozen=True, kw_only=True)
class InitializeReport:
    """Result of `initialize`; the two hashes cover every tensor but embedding and head, read from the files."""

    vocab_size: int
    shared_tokens: int
    averaged_tokens: int
    special_tokens: int
    missing_tokens: int
    frozen_sha256_before: str
    frozen_sha256_after: str
    seconds: float
    peak_memory_gib: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def initialize(config: InitializeConfig, output: Path, reporter: Reporter = SILENT) -> InitializeReport:
    """Write the base model with the new vocabulary into the empty folder `output`; its body stays as it is."""
    watch = Stopwatch()
    reporter.stage("reading the base model")
    base = inspect_model(config.base)
    tokenizer_folder = Path(config.tokenizer)
    mapping = build_mapping(load_tokenizer(base.path), load_tokenizer(tokenizer_folder))
    if mapping.old_size > base.vocab_size:
        raise TokenizerError(
            f"the base tokenizer has {mapping.old_size} tokens and the embedding {base.vocab_size} rows", "Give matching files"
        )
    pair = load_embeddings(base)
    for matrix_UD, name in ((pair.input_VD, base.input_name), (pair.output_VD, base.output_name)):
        if matrix_UD is not None:
            check_finite(matrix_UD, f"{name} of {base.path}")
    reporter.stage("averaging rows")
    new_pair, counts = initialize_embeddings(pair, mapping, method=config.method, head=config.head, decay=config.decay)
    if counts.missing_tokens:
        reporter.message(f"{counts.missing_tokens} tokens have no spelling in old tokens: they begin as the mean of all rows")
    reporter.stage("writing the model")
    before = frozen_sha256(base)
    write_model(source=base, embeddings=new_pair, tokenizer_source=tokenizer_folder, output=output)
    after = frozen_sha256(output)
    if before != after:
        raise RuntimeError("the body of the written model differs from the base model's")
    return InitializeReport(
        vocab_size=mapping.new_size,
        **asdict(counts),
        frozen_sha256_before=before,
        frozen_sha256_after=after,
        seconds=watch.seconds,
        peak_memory_gib=peak_memory_gib(),
    )


def initialize_embeddings(
    base: EmbeddingPair, mapping: VocabularyMapping, *, method: str = "mean", head: str = "own", decay: float = 1.0
) -> tuple[EmbeddingPair, RowCounts]:
    """Rows of the new vocabulary, in the base's dtype.

    Args:
        base: matrices of U rows (or more, when padded).
        method: "mean" weighs all pieces alike; "weighted-mean" weighs piece k by exp(-decay * k).
        head: "own" averages head rows too; "tie" copies the input row. A tied model has no head either way.
    """
    transition_VU = mapping.matrix(method, decay=decay)
    input_VD, missing = initialize_matrix(base.input_VD, mapping, transition_VU)
    output_VD = None
    if base.output_VD is not None:
        output_VD = input_VD.clone() if head == "tie" else initialize_matrix(base.output_VD, mapping, transition_VU)[0]
    shared, special = len(mapping.shared_new_ids), len(mapping.special_new_ids)
    counts = RowCounts(
        shared_tokens=shared,
        special_tokens=special,
        missing_tokens=missing,
        averaged_tokens=mapping.new_size - shared - special - missing,
    )
    return EmbeddingPair(input_VD=input_VD, output_VD=output_VD), counts


def initialize_matrix(old_UD: Tensor, mapping: VocabularyMapping, transition_VU: csr_matrix) -> tuple[Tensor, int]:
    """One matrix of V rows, and the number of rows that had to take the mean row."""
    new_VD = torch.empty((mapping.new_size, old_UD.shape[1]), dtype=old_UD.dtype)
    new_ids = np.concatenate([mapping.shared_new_ids, mapping.special_new_ids])
    old_ids = np.concatenate([mapping.shared_old_ids, mapping.special_old_ids])
    new_VD[torch.from_numpy(new_ids)] = old_UD[torch.from_numpy(old_ids)]
    averaged = np.setdiff1d(np.arange(mapping.new_size), new_ids)
    missing = _average(old_UD, transition_VU[averaged], mapping.old_size, torch.from_numpy(averaged), new_VD)
    return new_VD, missing


def _average(old_UD: Tensor, transition_AU: csr_matrix, old_size: int, ids_A: Tensor, new_VD: Tensor) -> int:
    """Fill rows `ids_A` of `new_VD` with T_AU old_UD, a block of columns at a time; empty and zero rows become the mean row."""
    # Sixteen-bit rows are exact in float32; wider ones are averaged in float64 and rounded once.
    work = torch.float32 if old_UD.dtype in (torch.float16, torch.bfloat16) else torch.float64
    transition_AU = transition_AU[:, :old_size].astype(np.float32 if work == torch.float32 else np.float64)
    width = max(16, BLOCK_BYTES // (work.itemsize * (old_size + len(ids_A) + 1)))
    zero_A = np.ones(len(ids_A), dtype=bool)
    mean_D = torch.empty(old_UD.shape[1], dtype=old_UD.dtype)
    for begin in range(0, old_UD.shape[1], width):
        columns = slice(begin, begin + width)
        block_UC = old_UD[:old_size, columns].to(work).contiguous()
        mean_D[columns] = block_UC.mean(dim=0, dtype=torch.float64).to(old_UD.dtype)
        block_AC = torch.from_numpy(transition_AU @ block_UC.numpy()).to(old_UD.dtype)
        zero_A &= (block_AC == 0).all(dim=1).numpy()
        new_VD[ids_A, columns] = block_AC
    new_VD[ids_A[torch.from_numpy(zero_A)]] = mean_D
    return int(zero_A.sum())
