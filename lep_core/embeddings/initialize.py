"""First rows of a new vocabulary, made from the rows that the model has (method, section 2).

    python -m lep_core initialize --base BASE --tokenizer TOKENIZER --output OUTPUT

    mean, weighted-mean   the old tokens that spell the new one
    focus                 shared tokens that occur in alike contexts of a text (`focus`)
    omp                   shared tokens that make up the new one in a donor model (`omp`)
    distillation          trained from the mean on, until the model reads the row as it reads the old tokens (`distillation`)

All but the last are a sparse matrix T of weights on old rows; the product T E is the same for all of them. Where a method knows
nothing of a token, its row of T stays the mean's.

Shapes: V new vocabulary, U old vocabulary, A new tokens that have to be made, N those of them that old tokens spell, D hidden. T_VU is
sparse. Tokens in both vocabularies and special tokens keep their row bit by bit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lep_core.config import InitializeConfig
from lep_core.embeddings.cooccurrence import cooccurrence_embeddings
from lep_core.embeddings.distillation import Distillation, distill
from lep_core.embeddings.focus import focus_weights
from lep_core.embeddings.omp import donor_weights
from lep_core.errors import TokenizerError
from lep_core.measuring import Stopwatch, peak_memory_gib
from lep_core.models import (
    EmbeddingPair,
    ModelFolder,
    check_finite,
    choose_device,
    choose_precision,
    choose_threads,
    frozen_sha256,
    inspect_model,
    load_embeddings,
    load_tokenizer,
    write_model,
)
from lep_core.models.devices import torch_threads
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.encoded import Texts
from lep_core.tokenizer.mapping import VocabularyMapping, build_mapping

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK_BYTES = 1 << 26
COPIED_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """How many rows came from where; together they are all rows of the new vocabulary."""

    shared_tokens: int
    averaged_tokens: int
    special_tokens: int
    missing_tokens: int


@dataclass(frozen=True, kw_only=True)
class InitializeReport:
    """Result of `initialize`; the two hashes cover every tensor but embedding and head, read from the files.

    `uncovered_tokens` counts new tokens for which the method had nothing to go by (not in the text, not in the donor) and that took the
    mean of their pieces. `distillation` says what was trained, None for other methods.
    """

    method: str
    vocab_size: int
    shared_tokens: int
    averaged_tokens: int
    special_tokens: int
    missing_tokens: int
    uncovered_tokens: int
    distillation: dict[str, Any] | None
    frozen_sha256_before: str
    frozen_sha256_after: str
    seconds: float
    peak_memory_gib: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """T for input embedding and head, and how many new tokens have the mean's row because the method did not reach them."""

    input_VU: csr_matrix
    output_VU: csr_matrix
    uncovered_tokens: int = 0


def initialize(config: InitializeConfig, output: Path, reporter: Reporter = SILENT, *, texts: Texts | None = None) -> InitializeReport:
    """Write the base model with the new vocabulary into the empty folder `output`; its body stays as it is.

    Args:
        texts: gives the documents of `config.input`, for the methods that learn from text.
    """
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
    with torch_threads(choose_threads(config.threads, base.parameters)):
        transitions = find_transitions(config, base, mapping, texts=texts, reporter=reporter)
        reporter.stage("averaging rows")
        new_pair, counts = combine_rows(pair, mapping, transitions, head=config.head)
        if not counts.averaged_tokens + counts.missing_tokens:
            reporter.message("the new tokenizer has no token that the base model lacks: no row is made")
        if counts.missing_tokens:
            reporter.message(f"{counts.missing_tokens} tokens have no spelling in old tokens: they begin as the mean of all rows")
        uncovered, distillation = transitions.uncovered_tokens, None
        if config.method == "distillation":
            distillation = _distilled(config, base, mapping, new_pair, texts=texts, reporter=reporter)
            uncovered = distillation.unseen_tokens
    if uncovered:
        where = "in the donor" if config.method == "omp" else "in the text"
        reporter.message(f"{uncovered} new tokens were not found {where}: they begin as the mean of their pieces")
    reporter.stage("writing the model")
    before = frozen_sha256(base)
    write_model(source=base, embeddings=new_pair, tokenizer_source=tokenizer_folder, output=output)
    after = frozen_sha256(output)
    if before != after:
        raise RuntimeError("the body of the written model differs from the base model's")
    return InitializeReport(
        method=config.method,
        vocab_size=mapping.new_size,
        **asdict(counts),
        uncovered_tokens=uncovered,
        distillation=None if distillation is None else asdict(distillation),
        frozen_sha256_before=before,
        frozen_sha256_after=after,
        seconds=watch.seconds,
        peak_memory_gib=peak_memory_gib(),
    )


def initialize_embeddings(
    base: EmbeddingPair,
    mapping: VocabularyMapping,
    *,
    method: str = "mean",
    head: str = "own",
    decay: float = 1.0,
    space_penalty: float = 1.0,
) -> tuple[EmbeddingPair, RowCounts]:
    """Rows of the new vocabulary as averages of pieces, in the base's dtype.

    Args:
        base: matrices of U rows (or more, when padded).
        method: "mean" weighs all pieces alike; "weighted-mean" weighs piece k by exp(-decay * k).
        head: "own" averages head rows too; "tie" copies the input row. A tied model has no head either way.
        space_penalty: factor of pieces of nothing but white space in tokens of several pieces.
    """
    transition_VU = mapping.matrix(method, decay=decay, space_penalty=space_penalty)
    return combine_rows(base, mapping, Transitions(input_VU=transition_VU, output_VU=transition_VU), head=head)


def find_transitions(
    config: InitializeConfig, base: ModelFolder, mapping: VocabularyMapping, *, texts: Texts | None = None, reporter: Reporter = SILENT
) -> Transitions:
    """T as the configured method has it; distillation begins with the mean."""
    weights = "weighted-mean" if config.method == "weighted-mean" else "mean"
    mean_VU = mapping.matrix(weights, decay=config.decay, space_penalty=config.space_penalty)
    spelled_N = spelled_tokens(mapping)
    if config.method == "focus" and len(spelled_N):
        reporter.stage("counting which tokens occur together")
        new_tokenizer = load_tokenizer(Path(config.tokenizer))
        vectors_VE = cooccurrence_embeddings(_given(texts)(), new_tokenizer, mapping.new_size, reporter=reporter)
        found_NU = focus_weights(mapping, spelled_N, vectors_VE)
        transition_VU, uncovered = replaced_rows(mean_VU, spelled_N, found_NU)
        return Transitions(input_VU=transition_VU, output_VU=transition_VU, uncovered_tokens=uncovered)
    if config.method == "omp" and len(spelled_N):
        assert config.donor is not None  # the config has checked it
        reporter.stage("matching rows of the donor")
        input_NU, output_NU = donor_weights(
            load_tokenizer(base.path),
            load_tokenizer(Path(config.tokenizer)),
            inspect_model(config.donor),
            spelled_N,
            sparsity=config.sparsity,
            device=choose_device(config.device),
            reporter=reporter,
        )
        input_VU, uncovered = replaced_rows(mean_VU, spelled_N, input_NU)
        output_VU = input_VU if output_NU is input_NU else replaced_rows(mean_VU, spelled_N, output_NU)[0]
        return Transitions(input_VU=input_VU, output_VU=output_VU, uncovered_tokens=uncovered)
    return Transitions(input_VU=mean_VU, output_VU=mean_VU)


def spelled_tokens(mapping: VocabularyMapping) -> NDArray[np.int64]:
    """New ids that are neither shared nor special and that old tokens spell."""
    is_made = np.diff(mapping.pieces_indptr) > 0
    is_made[mapping.shared_new_ids] = False
    is_made[mapping.special_new_ids] = False
    return np.flatnonzero(is_made)


def replaced_rows(transition_VU: csr_matrix, ids_N: NDArray[np.int64], rows_NU: csr_matrix) -> tuple[csr_matrix, int]:
    """T with the rows `ids_N` replaced where the replacement is not empty, and how many were empty."""
    from scipy.sparse import csr_matrix, diags_array

    is_found_N = np.diff(rows_NU.indptr) > 0
    kept_V = np.ones(transition_VU.shape[0])
    kept_V[ids_N[is_found_N]] = 0
    entries = rows_NU.tocoo()
    placed_VU = csr_matrix((entries.data, (ids_N[entries.row], entries.col)), shape=transition_VU.shape)
    result_VU = csr_matrix(diags_array(kept_V) @ transition_VU + placed_VU)
    result_VU.eliminate_zeros()
    return result_VU, int((~is_found_N).sum())


def combine_rows(
    base: EmbeddingPair, mapping: VocabularyMapping, transitions: Transitions, *, head: str = "own"
) -> tuple[EmbeddingPair, RowCounts]:
    """Both matrices of V rows; see `initialize_embeddings` for `base` and `head`."""
    input_VD, missing = initialize_matrix(base.input_VD, mapping, transitions.input_VU)
    output_VD = None
    if base.output_VD is not None:
        output_VD = input_VD.clone() if head == "tie" else initialize_matrix(base.output_VD, mapping, transitions.output_VU)[0]
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
    for begin in range(0, len(new_ids), COPIED_ROWS):
        part = slice(begin, begin + COPIED_ROWS)
        new_VD[torch.from_numpy(new_ids[part])] = old_UD[torch.from_numpy(old_ids[part])]
    averaged = np.setdiff1d(np.arange(mapping.new_size), new_ids)
    missing = _average(old_UD, transition_VU[averaged], mapping.old_size, torch.from_numpy(averaged), new_VD)
    return new_VD, missing


def _average(old_UD: Tensor, transition_AU: csr_matrix, old_size: int, ids_A: Tensor, new_VD: Tensor) -> int:
    """Fill rows `ids_A` of `new_VD` with T_AU old_UD, a block of columns at a time; empty and zero rows become the mean row.

    Only the old rows that T weighs are read and widened: those that spell new tokens are few of a large vocabulary.
    """
    # Sixteen-bit rows are exact in float32; wider ones are averaged in float64 and rounded once.
    work = torch.float32 if old_UD.dtype in (torch.float16, torch.bfloat16) else torch.float64
    used_W = np.unique(transition_AU.indices)
    transition_AW = transition_AU[:, used_W].astype(np.float32 if work == torch.float32 else np.float64)
    rows_W = torch.from_numpy(used_W.astype(np.int64))
    width = max(16, BLOCK_BYTES // (work.itemsize * (len(used_W) + len(ids_A) + 1)))
    zero = np.arange(len(ids_A))  # rows of zeros so far
    for begin in range(0, old_UD.shape[1], width):
        columns = slice(begin, begin + width)
        block_WC = old_UD[:, columns][rows_W].to(work)
        block_AC = torch.from_numpy(transition_AW @ block_WC.numpy()).to(old_UD.dtype)
        new_VD[ids_A, columns] = block_AC
        zero = zero[(block_AC[torch.from_numpy(zero)] == 0).all(dim=1).numpy()]
    if len(zero):
        new_VD[ids_A[torch.from_numpy(zero)]] = _mean_row(old_UD[:old_size])
    return len(zero)


def _mean_row(old_UD: Tensor) -> Tensor:
    """The mean of all rows, summed in float64."""
    total_D = torch.zeros(old_UD.shape[1], dtype=torch.float64)
    for begin in range(0, len(old_UD), COPIED_ROWS):
        block_BD = old_UD[begin : begin + COPIED_ROWS].double()
        total_D += torch.ones(len(block_BD), dtype=torch.float64) @ block_BD
    return (total_D / len(old_UD)).to(old_UD.dtype)


def _distilled(
    config: InitializeConfig,
    base: ModelFolder,
    mapping: VocabularyMapping,
    pair: EmbeddingPair,
    *,
    texts: Texts | None,
    reporter: Reporter,
) -> Distillation:
    """Distil the input rows of `pair` in place; the head's rows stay averages unless they are to be the input's."""
    device = choose_device(config.device)
    spelled_N = spelled_tokens(mapping)
    rows_ND = pair.input_VD[torch.from_numpy(spelled_N)].float()
    result = distill(
        base,
        rows_ND,
        spelled_N,
        mapping,
        _given(texts)(),
        old_tokenizer=load_tokenizer(base.path),
        new_tokenizer=load_tokenizer(Path(config.tokenizer)),
        steps=config.distillation_steps,
        seed=config.seed,
        device=device,
        dtype=choose_precision(config.precision, device, parameters=base.parameters),
        reporter=reporter,
    )
    pair.input_VD[torch.from_numpy(spelled_N)] = rows_ND.to(pair.input_VD.dtype)
    if pair.output_VD is not None and config.head == "tie":
        pair.output_VD.copy_(pair.input_VD)
    return result


def _given(texts: Texts | None) -> Texts:
    if texts is None:
        raise ValueError("this method needs texts")
    return texts
