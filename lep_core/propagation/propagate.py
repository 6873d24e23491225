"""Propagation: give the instruct model the embeddings that its base learned for a new vocabulary (method, section 4).

    python -m lep_core propagate --base BASE --adapted ADAPTED --instruct INSTRUCT --method conversion --output OUTPUT

Shapes: V adapted vocabulary, R rows of the result (V plus the instruct model's own tokens), D hidden. Input embedding and head are
fitted separately; all other weights, config and sampling settings are the instruct model's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lep_core.config import PropagateConfig
from lep_core.errors import SiblingError, TokenizerError
from lep_core.files import check_apart
from lep_core.measuring import Stopwatch, peak_memory_gib
from lep_core.models import (
    EmbeddingPair,
    ModelFolder,
    check_finite,
    check_same_shape,
    check_siblings,
    inspect_model,
    load_embeddings,
    load_tokenizer,
    write_model,
)
from lep_core.models.proof import prove_written
from lep_core.progress import SILENT, Reporter
from lep_core.propagation import conversion, direct_swap, overlap
from lep_core.propagation.least_squares import LinearSystem, apply_map
from lep_core.propagation.report import FitReport, fit, measure_identity
from lep_core.propagation.result_tokenizer import ResultTokenizer, merge_tokenizers
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.mapping import VocabularyMapping, build_mapping

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class PropagationReport:
    """Result of `propagate`. `output` is None for tied models; `logits_equal` None where the model is too large to be loaded again.

    `seconds` and `peak_memory_gib` cover the propagation itself, `proof_seconds` the check of the written folder.
    """

    method: str
    input: FitReport
    output: FitReport | None
    vocab_size: int
    appended_tokens: list[str]
    special_rows_kept: int
    seconds: float
    peak_memory_gib: float
    shards_linked: int
    shards_copied: int
    shards_rewritten: int
    bytes_written: int
    logits_equal: bool | None
    max_logit_difference: float | None
    proof_seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Models:
    base: ModelFolder
    adapted: ModelFolder
    instruct: ModelFolder


def propagate(config: PropagateConfig, output: Path, reporter: Reporter = SILENT) -> PropagationReport:
    """Write the instruct model with the adapted model's vocabulary into the empty folder `output`.

    Raises:
        SiblingError: the three models do not belong together.
        ModelError: a matrix holds NaN or infinity, or a folder is not sound.
    """
    watch = Stopwatch()
    reporter.stage("checking the models")
    models = _inspect(config, output)
    adapted_tokenizer = load_tokenizer(models.adapted.path)
    mapping = build_mapping(load_tokenizer(models.base.path), adapted_tokenizer)
    if mapping.new_size > models.adapted.vocab_size:
        raise TokenizerError(
            f"the adapted tokenizer has {mapping.new_size} tokens, its model {models.adapted.vocab_size} rows", "Give matching files"
        )
    tokenizer = merge_tokenizers(models.adapted.path, models.instruct.path)
    base, adapted, instruct = (_finite_embeddings(folder) for folder in (models.base, models.adapted, models.instruct))

    token_text = _token_texts(adapted_tokenizer)

    def side(name: str, base_UD: Tensor, adapted_VD: Tensor, instruct_UD: Tensor) -> tuple[Tensor, FitReport]:
        reporter.stage(f"{config.method}: {name}")
        rows_VD, report = propagate_matrix(
            base_UD, adapted_VD, instruct_UD, mapping, method=config.method, rcond=config.rcond, token_text=token_text
        )
        if report.rank is not None and report.rank < report.hidden_size:
            reporter.message(
                f"{name}: {report.tokens} tokens determine only {report.rank} of {report.hidden_size} directions; "
                "the others are lost to the minimum-norm map. Compare with swap, or use a larger vocabulary"
            )
        return with_special_rows(rows_VD, instruct_UD, tokenizer), report

    input_RD, input_report = side("input embedding", base.input_VD, adapted.input_VD, instruct.input_VD)
    output_RD, output_report = None, None
    if base.output_VD is not None and adapted.output_VD is not None and instruct.output_VD is not None:
        output_RD, output_report = side("head", base.output_VD, adapted.output_VD, instruct.output_VD)
    pair = EmbeddingPair(input_VD=input_RD, output_VD=output_RD)
    reporter.stage("writing the model")
    written = write_model(
        source=models.instruct,
        embeddings=pair,
        tokenizer_source=models.adapted.path,
        tokenizer_json=tokenizer.definition,
        tokenizer_config_source=models.instruct.path,
        output=output,
    )
    kept = _count_kept_rows(output, instruct, tokenizer)
    seconds, peak = watch.seconds, peak_memory_gib()
    reporter.stage("checking the written model")
    proof_watch = Stopwatch()
    proof = prove_written(output, body=models.instruct, embeddings=pair)
    return PropagationReport(
        method=config.method,
        input=input_report,
        output=output_report,
        vocab_size=tokenizer.size,
        appended_tokens=tokenizer.appended,
        special_rows_kept=kept,
        seconds=seconds,
        peak_memory_gib=peak,
        **asdict(written),
        **asdict(proof),
        proof_seconds=proof_watch.seconds,
    )


def propagate_matrix(
    base_UD: Tensor,
    adapted_VD: Tensor,
    instruct_UD: Tensor,
    mapping: VocabularyMapping,
    *,
    method: str,
    rcond: float = 1e-6,
    token_text: Callable[[int], str] = str,
) -> tuple[Tensor, FitReport]:
    """Rows of the adapted vocabulary for the instruct model, in its dtype (padding dropped), and what the fit was worth."""
    combination_NU, token_ids_N = (conversion if method == "conversion" else overlap).fitted_rows(mapping)
    if not len(token_ids_N) and method != "swap":
        raise TokenizerError("base and adapted tokenizer share no token, so no map can be fitted", "Use --method conversion or swap")
    old = mapping.old_size
    system = LinearSystem(combination_NU=combination_NU, base_UD=base_UD[:old], instruct_UD=instruct_UD[:old])
    adapted_VD = adapted_VD[: mapping.new_size]
    if method == "swap":
        return direct_swap.propagated(adapted_VD, dtype=instruct_UD.dtype), measure_identity(system)
    fitted = fit(system, token_ids_N, token_text, rcond=rcond)
    return apply_map(adapted_VD, fitted.matrix_DD, dtype=instruct_UD.dtype), fitted.report


def with_special_rows(rows_VD: Tensor, instruct_UD: Tensor, tokenizer: ResultTokenizer) -> Tensor:
    """Rows of the result: the propagated ones, and the instruct model's own for each of its special and added tokens."""
    result_RD = torch.empty((tokenizer.size, rows_VD.shape[1]), dtype=rows_VD.dtype)
    result_RD[: len(rows_VD)] = rows_VD[: tokenizer.size]
    new_ids, old_ids = (torch.tensor(list(ids), dtype=torch.long) for ids in (tokenizer.special_ids.keys(), tokenizer.special_ids.values()))
    result_RD[new_ids] = instruct_UD[old_ids]
    return result_RD


def _inspect(config: PropagateConfig, output: Path) -> _Models:
    models = _Models(base=inspect_model(config.base), adapted=inspect_model(config.adapted), instruct=inspect_model(config.instruct))
    for target in (output, Path(config.output)):
        check_apart(target, models.base.path, models.adapted.path, models.instruct.path)
    check_siblings(models.base, models.instruct)
    check_same_shape(models.base, models.adapted, "base", "adapted")
    if not models.adapted.tokenizer_size:
        raise SiblingError(
            f"the adapted model {models.adapted.path} has no tokenizer.json", "Give the folder that initialize or train wrote"
        )
    return models


def _token_texts(tokenizer: PreTrainedTokenizerFast) -> Callable[[int], str]:
    """Text of a token by id; bytes that are only a part of a character are written as escapes."""
    table = token_bytes(tokenizer)

    def text(token_id: int) -> str:
        data = table[token_id]
        return str(tokenizer.convert_ids_to_tokens(token_id)) if data is None else data.decode("utf-8", "backslashreplace")

    return text


def _finite_embeddings(folder: ModelFolder) -> EmbeddingPair:
    pair = load_embeddings(folder)
    check_finite(pair.input_VD, f"{folder.input_name} of {folder.path}")
    if pair.output_VD is not None:
        check_finite(pair.output_VD, f"{folder.output_name} of {folder.path}")
    return pair


def _count_kept_rows(output: Path, instruct: EmbeddingPair, tokenizer: ResultTokenizer) -> int:
    """Read the written rows of special tokens back and compare them bit by bit with the instruct model's."""
    written = load_embeddings(inspect_model(output))
    new_ids, old_ids = (torch.tensor(list(ids), dtype=torch.long) for ids in (tokenizer.special_ids.keys(), tokenizer.special_ids.values()))
    for new_RD, old_UD in ((written.input_VD, instruct.input_VD), (written.output_VD, instruct.output_VD)):
        if new_RD is not None and old_UD is not None and not torch.equal(new_RD[new_ids], old_UD[old_ids]):
            raise RuntimeError("rows of special tokens differ from the instruct model's in the written file")
    return len(new_ids)
