"""Propagation: give the instruct model the embeddings that its base learned for a new vocabulary (method, section 4).

    python -m lep_core propagate --base BASE --adapted ADAPTED --instruct INSTRUCT --method conversion --output OUTPUT

Shapes: U old vocabulary, V adapted vocabulary, R rows of the result (V plus the instruct model's own tokens), D hidden. Input embedding
and head are fitted separately; all other weights, config and sampling settings are the instruct model's. One side's matrices are
mapped into memory at a time, and the body passes through to the disk while they are fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from lep_core.config import PropagateConfig
from lep_core.errors import SiblingError, TokenizerError
from lep_core.files import check_apart
from lep_core.measuring import Stopwatch, peak_memory_gib
from lep_core.models import EmbeddingPair, ModelFolder, check_finite, check_same_shape, check_siblings, inspect_model
from lep_core.models.folder import read_slots
from lep_core.models.proof import is_small, prove_written
from lep_core.models.weights import MappedTensor, load_slot
from lep_core.models.writing import ModelWriter, check_space
from lep_core.progress import SILENT, Reporter
from lep_core.propagation import chat_vector, conversion, direct_swap, low_rank, overlap, procrustes, residual_carry, ridge
from lep_core.propagation.adapter import LoraChange, find_adapter, read_adapter
from lep_core.propagation.frequencies import token_weights
from lep_core.propagation.moved import moved_shared_rows
from lep_core.propagation.report import FitReport
from lep_core.propagation.result_tokenizer import ResultTokenizer, merge_tokenizers
from lep_core.propagation.side import FitSettings, Side
from lep_core.risk import AFTER_A_LARGE_MOVE, large_moves, move_warning
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.load import as_tokenizer
from lep_core.tokenizer.mapping import VocabularyMapping, build_mapping


class Method(Protocol):
    """A module of one method."""

    def propagated(self, side: Side, settings: FitSettings, out_VD: Tensor) -> FitReport: ...


FAMILY: dict[str, Method] = {
    "swap": direct_swap,
    "overlap": overlap,
    "conversion": conversion,
    "ridge": ridge,
    "residual-carry": residual_carry,
    "chat-vector": chat_vector,
    "procrustes": procrustes,
    "low-rank": low_rank,
}
DEFAULTS = FitSettings()


@dataclass(frozen=True, kw_only=True)
class AdapterReport:
    """The LoRA adapter that was merged: how many matrices it changed, and with what strength."""

    path: str
    scale: float
    merged_tensors: int


@dataclass(frozen=True, kw_only=True)
class PropagationReport:
    """Result of `propagate`. `output` is None for tied models; `logits_equal` None where the model is too large to be loaded again.

    `seconds` and `peak_memory_gib` cover the propagation itself, `proof_seconds` the check of the written folder. `warnings` is what
    the user was told about the fits.
    """

    method: str
    input: FitReport
    output: FitReport | None
    vocab_size: int
    appended_tokens: list[str]
    special_rows_kept: int
    warnings: list[str]
    adapter: AdapterReport | None
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

    def matrices(self, name: str) -> tuple[MappedTensor, MappedTensor, MappedTensor]:
        """Base, adapted and instruct matrix of one side."""
        base, adapted, instruct = (MappedTensor(folder.slots[name]) for folder in (self.base, self.adapted, self.instruct))
        return base, adapted, instruct


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """What both sides have in common."""

    config: PropagateConfig
    models: _Models
    mapping: VocabularyMapping
    tokenizer: ResultTokenizer
    token_text: Callable[[int], str]
    settings: FitSettings

    def propagated(self, slot: str) -> tuple[tuple[Tensor, Tensor], FitReport]:
        """Rows of the adapted vocabulary and of the tokens that the instruct model appends to it, and the fit's report."""
        base, adapted, instruct = self.models.matrices(slot)
        moved = moved_shared_rows(base.tensor, adapted.tensor, self.mapping)

        def release() -> None:
            base.release()
            instruct.release()

        if FAMILY[self.config.method] is direct_swap:
            # The mapping is private: rows that change there take memory of their own, the others remain pages of the file.
            result_VD = adapted.tensor[: self.mapping.new_size]
        else:
            result_VD = torch.empty((self.mapping.new_size, instruct.tensor.shape[1]), dtype=instruct.tensor.dtype)
        result_VD, report = propagate_matrix(
            base.tensor,
            adapted.tensor,
            instruct.tensor,
            self.mapping,
            method=self.config.method,
            settings=self.settings,
            token_text=self.token_text,
            out_VD=result_VD,
            release=release,
        )
        return with_special_rows(result_VD, instruct.tensor, self.tokenizer), replace(report, moved_shared=moved)


def propagate(
    config: PropagateConfig, output: Path, reporter: Reporter = SILENT, *, texts: Callable[[], Iterable[str]] = tuple
) -> PropagationReport:
    """Write the instruct model with the adapted model's vocabulary into the empty folder `output`.

    `texts` gives the text in which tokens are counted when `config.gamma` weights them.

    Raises:
        CorpusError: that text is empty.
        SiblingError: the three models do not belong together.
        ModelError: a matrix holds NaN or infinity, a folder is not sound, or the adapter does not fit.
        ResourceError: the disk is too small.
    """
    watch = Stopwatch()
    reporter.stage("checking the models")
    models = _inspect(config, output)
    adapted_tokenizer = as_tokenizer(models.adapted.path)
    mapping = build_mapping(as_tokenizer(models.base.path), adapted_tokenizer, spelled=FAMILY[config.method] is not direct_swap)
    if mapping.new_size > models.adapted.vocab_size:
        raise TokenizerError(
            f"the adapted tokenizer has {mapping.new_size} tokens, its model {models.adapted.vocab_size} rows", "Give matching files"
        )
    tokenizer = merge_tokenizers(models.adapted.path, models.instruct.path)
    changes, adapter = _adapter(config, models, reporter)
    check_space(output, models.instruct, rows=tokenizer.size, tensor_changes=changes)
    _check_finite(models)
    weights_V = None
    if config.gamma:
        reporter.stage("counting tokens")
        weights_V = token_weights(texts(), adapted_tokenizer, size=mapping.new_size, gamma=config.gamma, reporter=reporter)
    sides = _Sides(
        config=config,
        models=models,
        mapping=mapping,
        tokenizer=tokenizer,
        token_text=_token_texts(adapted_tokenizer),
        settings=_settings(config, weights_V),
    )
    writer = ModelWriter(
        source=models.instruct, output=output, rows=tokenizer.size, tied=models.instruct.output_name is None, tensor_changes=changes
    )
    reports: list[FitReport] = []
    warnings: list[str] = []
    computed: list[Tensor] = []
    with writer:
        writer.write_small_files(
            tokenizer_source=models.adapted.path, tokenizer_json=tokenizer.definition, tokenizer_config_source=models.instruct.path
        )
        writer.begin()
        for slot, name in ((models.instruct.input_name, "input embedding"), (models.instruct.output_name, "head")):
            if slot is None:
                continue
            reporter.stage(f"{config.method}: {name}")
            rows, report = sides.propagated(slot)
            writer.put(slot, *rows)
            if is_small(models.instruct):
                computed.append(torch.cat(rows).to(rows[1].dtype))
            del rows  # the writer has them as long as it needs them
            reports.append(report)
            warnings += (found := fit_warnings(config.method, name, report))
            for warning in found:
                reporter.message(warning)
        reporter.stage("writing the model")
        written = writer.finish()
    kept = _count_kept_rows(output, models.instruct, tokenizer)
    seconds, peak = watch.seconds, peak_memory_gib()
    reporter.stage("checking the written model")
    proof_watch = Stopwatch()
    pair = EmbeddingPair(input_VD=computed[0], output_VD=computed[1] if computed[1:] else None) if computed else None
    proof = prove_written(output, body=models.instruct, embeddings=pair, tensor_changes=changes)
    return PropagationReport(
        method=config.method,
        input=reports[0],
        output=reports[1] if reports[1:] else None,
        vocab_size=tokenizer.size,
        appended_tokens=tokenizer.appended,
        special_rows_kept=kept,
        warnings=warnings,
        adapter=adapter,
        seconds=seconds,
        peak_memory_gib=peak,
        **asdict(written),
        **asdict(proof),
        proof_seconds=proof_watch.seconds,
    )


def _settings(config: PropagateConfig, weights_V: np.ndarray | None) -> FitSettings:
    return FitSettings(
        rcond=config.rcond, alpha=config.alpha, rank=config.rank, leave_out_special=config.leave_out_special, weights_V=weights_V
    )


def fit_warnings(method: str, name: str, report: FitReport) -> list[str]:
    """What a user should know about a fit: undetermined directions, a map that was drawn toward the identity, rows that moved far."""
    found = []
    if report.rank is not None and report.rank < report.hidden_size:
        rest = "stay as they are" if method in ("ridge", "low-rank", "procrustes") else "are lost to the minimum-norm map"
        advice = "" if method in ("ridge", "low-rank", "procrustes") else ". Compare with swap or ridge, or use a larger vocabulary"
        condition = "" if report.condition_number is None else f" (condition number {report.condition_number:.3g})"
        found.append(
            f"{name}: {report.tokens} tokens, spelled by {report.old_tokens} old ones, determine only {report.rank} of "
            f"{report.hidden_size} directions{condition}; the others {rest}{advice}"
        )
    if report.alpha is not None:
        how = "chosen by cross-validation over tokens" if report.cross_validation else "as given"
        found.append(f"{name}: the map is drawn toward the identity by a ridge of {report.alpha:g}, {how}")
    move = {"matrix": "output" if name == "head" else "input", "rows": "shared", "relative": report.moved_shared}
    return found + [f"{move_warning(large)}. {AFTER_A_LARGE_MOVE}" for large in large_moves([move])]


def _adapter(config: PropagateConfig, models: _Models, reporter: Reporter) -> tuple[dict[str, LoraChange], AdapterReport | None]:
    folder = find_adapter(models.adapted.path, config.adapter)
    if folder is None:
        return {}, None
    if config.adapter_scale == 0:
        reporter.message(f"the adapter {folder} is left out (adapter scale 0)")
        return {}, None
    changes = read_adapter(folder, models.instruct, scale=config.adapter_scale)
    reporter.message(f"the adapter {folder} changes {len(changes)} matrices of the instruct model (scale {config.adapter_scale:g})")
    return changes, AdapterReport(path=str(folder), scale=config.adapter_scale, merged_tensors=len(changes))


def propagate_matrix(
    base_UD: Tensor,
    adapted_VD: Tensor,
    instruct_UD: Tensor,
    mapping: VocabularyMapping,
    *,
    method: str,
    settings: FitSettings = DEFAULTS,
    token_text: Callable[[int], str] = str,
    out_VD: Tensor | None = None,
    release: Callable[[], None] = lambda: None,
) -> tuple[Tensor, FitReport]:
    """Rows of the adapted vocabulary for the instruct model, in its dtype (padding dropped), and what the fit was worth.

    `out_VD` takes the rows where it is given; `release` gives back what base and instruct matrix take once the map is fitted.
    """
    side = Side(
        base_UD=base_UD[: mapping.old_size],
        instruct_UD=instruct_UD[: mapping.old_size],
        adapted_VD=adapted_VD[: mapping.new_size],
        mapping=mapping,
        token_text=token_text,
        release=release,
    )
    if out_VD is None:
        out_VD = torch.empty(side.adapted_VD.shape, dtype=instruct_UD.dtype)
    return out_VD, FAMILY[method].propagated(side, settings, out_VD)


def with_special_rows(result_VD: Tensor, instruct_UD: Tensor, tokenizer: ResultTokenizer) -> tuple[Tensor, Tensor]:
    """The instruct model's own row for each of its special and added tokens: in place, and as further rows for appended ones."""
    new_ids, old_ids = _special_ids(tokenizer)
    present = new_ids < len(result_VD)
    result_VD[new_ids[present]] = instruct_UD[old_ids[present]].to(result_VD.dtype)
    appended_UD = torch.empty((tokenizer.size - len(result_VD), result_VD.shape[1]), dtype=instruct_UD.dtype)
    appended_UD[new_ids[~present] - len(result_VD)] = instruct_UD[old_ids[~present]]
    return result_VD, appended_UD


def _special_ids(tokenizer: ResultTokenizer) -> tuple[Tensor, Tensor]:
    new_ids, old_ids = (torch.tensor(list(ids), dtype=torch.long) for ids in (tokenizer.special_ids.keys(), tokenizer.special_ids.values()))
    return new_ids, old_ids


def _inspect(config: PropagateConfig, output: Path) -> _Models:
    models = _Models(base=inspect_model(config.base), adapted=inspect_model(config.adapted), instruct=inspect_model(config.instruct))
    adapters = [] if config.adapter is None else [Path(config.adapter)]
    for target in (output, Path(config.output)):
        check_apart(target, models.base.path, models.adapted.path, models.instruct.path, *adapters)
    check_siblings(models.base, models.instruct)
    check_same_shape(models.base, models.adapted, "base", "adapted")
    if not models.adapted.tokenizer_size:
        raise SiblingError(
            f"the adapted model {models.adapted.path} has no tokenizer.json", "Give the folder that initialize or train wrote"
        )
    return models


def _token_texts(tokenizer: Tokenizer) -> Callable[[int], str]:
    """Text of a token by id; bytes that are only a part of a character are written as escapes."""
    table = cache(partial(token_bytes, tokenizer))

    def text(token_id: int) -> str:
        data = table()[token_id]
        return str(tokenizer.id_to_token(token_id)) if data is None else data.decode("utf-8", "backslashreplace")

    return text


def _check_finite(models: _Models) -> None:
    """Look at every matrix before the first fit: a fault in the last one would show after minutes."""
    for folder in (models.base, models.adapted, models.instruct):
        for name in (folder.input_name, folder.output_name):
            if name is not None:
                check_finite(MappedTensor(folder.slots[name]).tensor, f"{name} of {folder.path}")


def _count_kept_rows(output: Path, instruct: ModelFolder, tokenizer: ResultTokenizer) -> int:
    """Read the written rows of special tokens back and compare them bit by bit with the instruct model's."""
    written = read_slots(output)
    new_ids, old_ids = _special_ids(tokenizer)
    for name in (instruct.input_name, instruct.output_name):
        if name is not None and not torch.equal(load_slot(written[name])[new_ids], load_slot(instruct.slots[name])[old_ids]):
            raise RuntimeError("rows of special tokens differ from the instruct model's in the written file")
    return len(new_ids)
