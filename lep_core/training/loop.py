"""Continued pre-training on raw text: only the input embedding and the head learn (method section 3).

    python -m lep_core train --model initialized/ --input texts/ --output trained/

Text is packed into blocks (`packing`), each step reads the blocks that the step's number names (`order`), sends them through the
frozen body (`freeze`) and a loss that never holds all logits (`loss`), and moves two float32 matrices (`optimizer`). A killed
training goes on from its newest sound checkpoint to bit-equal weights on a CPU. Several processes under torchrun share each step
(`team`); the first of them packs the text and writes all files.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lep_core.config import TrainConfig
from lep_core.errors import ConfigError
from lep_core.files import PARTIAL_PREFIX, check_free_space
from lep_core.models import (
    ModelFolder,
    choose_device,
    choose_precision,
    choose_threads,
    frozen_sha256,
    inspect_model,
    load_tokenizer,
)
from lep_core.models.devices import torch_threads
from lep_core.models.metadata import check_named_tokens
from lep_core.progress import SILENT, Reporter
from lep_core.ranks import check_world_size
from lep_core.training.checkpoint import NO_ANCHOR, check_same_training, latest_sound_checkpoint, load_tensors, prepare_folder
from lep_core.training.freeze import SplitModel, load_split
from lep_core.training.layers import check_compiler, prepare_layers
from lep_core.training.lora import add_lora
from lep_core.training.measure import prepare_heldout
from lep_core.training.memory import advice_when_out_of_memory, choose_checkpointing, choose_micro_batch, kept_allocations
from lep_core.training.move import NEW, SHARED, Anchor, Start, on_device
from lep_core.training.optimizer import RowAdamW
from lep_core.training.order import DataOrder
from lep_core.training.packing import Encoder, PackedText, pack
from lep_core.training.quantize import check_bitsandbytes
from lep_core.training.report import TrainReport
from lep_core.training.schedule import large_rate_warning
from lep_core.training.session import Session
from lep_core.training.sharding import body_sha256, choose_strategy, load_sharded
from lep_core.training.state import TrainingState
from lep_core.training.team import Team, join

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Texts = Callable[[], Iterable[str]]

_HELDOUT_MOST_BYTES, _HELDOUT_LEAST_BYTES = 200_000, 20_000
_HELDOUT_BYTES_PER_TRAINED_TOKEN = 0.5  # keeps measuring below a tenth of the time of training
_BYTES_PER_PARAMETER_IN_CHECKPOINT = 12  # the matrix and two moments, float32


def train(
    config: TrainConfig,
    *,
    texts: Texts,
    heldout: Texts,
    replay: Texts | None,
    output: Path,
    checkpoints: Path,
    reporter: Reporter = SILENT,
) -> TrainReport:
    """Train the model in `config.model` on `texts` and write it to the existing empty folder `output`.

    Args:
        texts, heldout, replay: give the documents to learn from, to measure on, and those mixed in; called once each.
        checkpoints: folder for checkpoints and, while this runs, for the packed text. All processes of a training see it.

    Raises:
        ConfigError: a setting does not fit the model.
        CorpusError: the text has fewer tokens than one block.
        TrainingError: the loss is not finite, or the checkpoint to go on from belongs to another training.
        ResourceError: memory or disk do not suffice; the checkpoints are kept.
        PeerLost: another process of this training has ended.
        KeyboardInterrupt: the user stopped it before the first step; nothing was written.
    """
    began = time.monotonic()
    check_world_size(config.processes)
    folder = inspect_model(config.model)
    check_block_size(config.block_size, folder)
    check_hardware(config, choose_device(config.device))
    if (warning := large_rate_warning(config.learning_rate)) is not None:
        reporter.message(warning)
    team = join(config.device)
    threads = choose_threads(config.threads, folder.parameters)
    if config.threads is None:
        threads = max(1, threads // team.local_size)
    with team.named_losses(), torch_threads(threads):
        if team.is_first:
            prepare_folder(checkpoints, resume=config.resume, overwrite=config.overwrite)
        sources = _Sources(texts=texts, heldout=heldout, replay=replay)
        return _train(
            config, folder, sources, team, output=output, checkpoints=checkpoints, reporter=reporter, began=began, threads=threads
        )


def _train(
    config: TrainConfig,
    folder: ModelFolder,
    sources: _Sources,
    team: Team,
    *,
    output: Path,
    checkpoints: Path,
    reporter: Reporter,
    began: float,
    threads: int,
) -> TrainReport:
    with _scratch_folder(checkpoints, team) as scratch:
        device = team.device or choose_device(config.device)
        with advice_when_out_of_memory(config, device=device, micro_batch_size=config.micro_batch_size):
            session = _prepare(config, folder, sources, team, checkpoints=checkpoints, scratch=scratch, reporter=reporter)
        micro, recompute = session.state.micro_batch_size, session.recompute
        with advice_when_out_of_memory(config, device=device, micro_batch_size=micro, checkpointing=recompute), kept_allocations(device):
            stopped = session.run()
        return session.finish(output, stopped=stopped, began=began, threads=threads)


@dataclass(frozen=True)
class _Sources:
    texts: Texts
    heldout: Texts
    replay: Texts | None


def _prepare(
    config: TrainConfig, folder: ModelFolder, sources: _Sources, team: Team, *, checkpoints: Path, scratch: Path, reporter: Reporter
) -> Session:
    """Pack the text, load the model, and take over a checkpoint when resuming. The quickest comes first: faults show before long work."""
    tokenizer = load_tokenizer(folder.path)
    check_named_tokens(folder.path)
    start = Start.of(folder, _row_groups(config, folder, tokenizer))
    frozen_rows_V = _frozen_rows(config, folder, start)
    encoder = Encoder(tokenizer, rows=folder.vocab_size, eos=folder.eos_token_id)
    text = _packed(sources.texts, "text", config, encoder, scratch, team, reporter)
    with_replay = sources.replay if config.replay_share else None
    replay = _packed(with_replay, "replay text", config, encoder, scratch, team, reporter) if with_replay else None
    order = DataOrder(
        seed=config.seed,
        batch_size=config.batch_size,
        blocks=len(text),
        replay_blocks=len(replay) if replay else 0,
        replay_share=config.replay_share,
    )
    steps = config.steps or order.steps_of_one_pass()
    budget = heldout_budget(config)
    heldout = team.from_first(lambda: prepare_heldout(sources.heldout(), encoder, block_size=config.block_size, budget_bytes=budget))
    if not heldout.windows:
        reporter.message("there is no held-out text: bits per byte are not measured")
    reporter.stage("loading the model")
    sha256 = team.from_first(lambda: frozen_sha256(folder))
    state, strategy, recompute = _new_state(config, folder, encoder, start, frozen_rows_V, team)
    matrices = state.split.matrices
    check_free_space(checkpoints, _BYTES_PER_PARAMETER_IN_CHECKPOINT * sum(matrix.numel() for matrix in matrices.values()))
    session = Session(
        config=config,
        steps=steps,
        state=state,
        start=start,
        text=text,
        replay=replay,
        order=order,
        heldout=heldout,
        encoder=encoder,
        tokenizer=tokenizer,
        settings=_settings(config, steps, state.split, sha256, frozen_rows_V, text, replay),
        checkpoints=checkpoints,
        reporter=reporter,
        frozen_sha256=sha256,
        module_sha256=body_sha256(state.split),
        strategy=strategy,
        recompute=recompute,
    )
    if config.resume:
        _resume(session)
    return session


def _new_state(
    config: TrainConfig, folder: ModelFolder, encoder: Encoder, start: Start, frozen_rows_V: torch.Tensor | None, team: Team
) -> tuple[TrainingState, str, bool]:
    device = team.device or choose_device(config.device)
    dtype = choose_precision(config.precision, device, parameters=folder.parameters)
    whole = config.lora or config.quantize != "none"
    strategy = choose_strategy("ddp" if whole else config.strategy, folder, team=team, device=device, dtype=dtype)
    if strategy == "fsdp":
        split = load_sharded(folder, team, device=device, dtype=dtype)
    else:
        split = load_split(folder, device=device, dtype=dtype, quantize=config.quantize)
    if config.lora:
        add_lora(split, rank=config.lora_rank, alpha=config.lora_alpha, seed=config.seed)
    # Also a sharded body must take the same way through its layers everywhere.
    recompute = team.any(
        choose_checkpointing(config.gradient_checkpointing, folder, block_size=config.block_size, device=device, dtype=dtype)
    )
    prepare_layers(split.body, folder, recompute=recompute, compiled=config.compile)
    optimizer = RowAdamW(
        split.matrices,
        weight_decay=config.weight_decay,
        gradient_clip=config.gradient_clip,
        frozen_rows_V=None if frozen_rows_V is None else frozen_rows_V.to(device),
        eight_bit=config.optimizer == "adamw-8bit",
        anchor=_anchor(config, start, device),
    )
    micro = config.micro_batch_size or choose_micro_batch(
        folder, block_size=config.block_size, batch_size=config.batch_size, device=device, dtype=dtype, checkpointing=recompute
    )
    state = TrainingState(
        split=split,
        optimizer=optimizer,
        micro_batch_size=team.smallest(min(micro, config.batch_size)),
        token_bytes_V=encoder.token_bytes_V,
        team=team,
    )
    return state, strategy, recompute


def _resume(session: Session) -> None:
    """Take over the newest sound checkpoint; without any the training begins at step 0."""
    state = session.state
    # The first process checks the hashes and decides; the others must not find another one.
    checkpoint = state.team.from_first(lambda: latest_sound_checkpoint(session.checkpoints, session.reporter))
    if checkpoint is None:
        session.reporter.message(f"there is no checkpoint in {session.checkpoints}: training begins at step 0")
        return
    check_same_training(checkpoint.state["settings"], session.settings)
    state.load_tensors(load_tensors(checkpoint, {name: matrix.shape for name, matrix in state.split.matrices.items()}))
    state.step, state.tokens_seen, state.seconds = checkpoint.step, checkpoint.state["tokens_seen"], checkpoint.state["seconds"]
    state.facts = checkpoint.state["facts"]
    if session.config.micro_batch_size is None:
        # Sums over micro-batches round differently: the size found then is kept, so that the result is bit-equal.
        state.micro_batch_size = checkpoint.state["micro_batch_size"]
    session.saved_step = checkpoint.step
    session.reporter.message(f"going on from {checkpoint.path.name}")


def _settings(
    config: TrainConfig,
    steps: int,
    split: SplitModel,
    body_sha256: str,
    frozen_rows_V: torch.Tensor | None,
    text: PackedText,
    replay: PackedText | None,
) -> dict[str, Any]:
    """What the further course depends on: a resumed training must agree in all of it."""
    names = (
        "batch_size",
        "block_size",
        "learning_rate",
        "schedule",
        "warmup_steps",
        "weight_decay",
        "gradient_clip",
        "new_rows_only",
        "lora",
        "lora_rank",
        "lora_alpha",
        "quantize",
        "optimizer",
        "seed",
    )
    return {
        "corpus_fingerprint": text.fingerprint,
        "replay_fingerprint": replay.fingerprint if replay else None,
        "replay_share": config.replay_share if replay else None,
        **{name: getattr(config, name) for name in names},
        "anchor": config.anchor,
        "anchor_rows": config.anchor_rows if config.anchor else NO_ANCHOR["anchor_rows"],
        "steps": steps,
        "frozen_sha256": body_sha256,
        "frozen_rows_sha256": None if frozen_rows_V is None else hashlib.sha256(frozen_rows_V.numpy().tobytes()).hexdigest(),
        "vocabulary": len(split.input_VD),
        "tied": split.tied,
    }


def _packed(texts: Texts, what: str, config: TrainConfig, encoder: Encoder, scratch: Path, team: Team, reporter: Reporter) -> PackedText:
    reporter.stage(f"packing the {what}")
    path = scratch / f"{what.replace(' ', '-')}.tokens"
    packed: PackedText | None = None
    if team.is_first:
        packed = pack(texts(), encoder, path, block_size=config.block_size, what=what, reporter=reporter)
    # The tokens stay in their file, which all processes map; only where the blocks begin is sent.
    shared = team.from_first(lambda: None if packed is None else replace(packed, tokens=np.empty(0)))
    if not team.is_first and shared is not None:
        packed = replace(shared, tokens=np.memmap(path, dtype=encoder.dtype, mode="r"))
    if packed is None:
        raise KeyboardInterrupt("stopped before the first step")
    reporter.message(
        f"{what}: {packed.documents:,} documents, {len(packed.tokens):,} tokens, {len(packed):,} sequences of {config.block_size};"
        f" {packed.begins_share:.0%} of them begin at a document or paragraph start, and {packed.repeated_share:.1%} of the positions"
        " repeat what the sequence before cut"
    )
    return packed


def _row_groups(config: TrainConfig, folder: ModelFolder, tokenizer: PreTrainedTokenizerFast) -> dict[str, torch.Tensor]:
    """Ids of ordinary tokens that the old vocabulary has as well, and of those that it lacks; empty where no old vocabulary is named.

    Where they are only for the report, a model that is not on this machine is not fetched for them.
    """
    needed = config.new_rows_only or (config.anchor and config.anchor_rows == "shared")
    if config.initial is None or not (needed or Path(config.initial).expanduser().is_dir()):
        return {}
    from lep_core.tokenizer.mapping import build_mapping

    mapping = build_mapping(load_tokenizer(config.initial), tokenizer)
    is_new_V = np.zeros(folder.vocab_size, dtype=bool)
    is_new_V[: folder.tokenizer_size] = True
    is_new_V[mapping.shared_new_ids] = False
    is_new_V[mapping.special_new_ids] = False
    return {SHARED: torch.from_numpy(mapping.shared_new_ids), NEW: torch.from_numpy(is_new_V).nonzero()[:, 0]}


def _frozen_rows(config: TrainConfig, folder: ModelFolder, start: Start) -> torch.Tensor | None:
    """Bool of shape V, True for rows that must stay: all but those of tokens that the old vocabulary lacks."""
    if not config.new_rows_only:
        return None
    if not len(start.groups[NEW]):
        raise ConfigError(
            "new_rows_only",
            f"all {folder.tokenizer_size} tokens of {config.model} are tokens of {config.initial} too, so no row would learn",
            "Give a model with a new vocabulary, or leave --new-rows-only out",
        )
    return ~_marked(start.groups[NEW], folder.vocab_size)


def _anchor(config: TrainConfig, start: Start, device: torch.device) -> Anchor | None:
    if not config.anchor:
        return None
    rows_V = _marked(start.groups[SHARED], len(start.matrices["input"])).to(device) if config.anchor_rows == "shared" else None
    return Anchor(on_device(start, device), config.anchor, rows_V=rows_V)


def _marked(ids: torch.Tensor, rows: int) -> torch.Tensor:
    marked_V = torch.zeros(rows, dtype=torch.bool)
    marked_V[ids] = True
    return marked_V


def check_hardware(config: TrainConfig, device: torch.device) -> None:
    """Raise `ConfigError` when a setting needs a device or a package that is not here."""
    if config.quantize != "none":
        check_bitsandbytes("quantize", config.quantize, device)
    if config.optimizer == "adamw-8bit":
        check_bitsandbytes("optimizer", config.optimizer, device)
    if config.compile:
        check_compiler(device)


def check_block_size(block_size: int, folder: ModelFolder) -> None:
    """Raise `ConfigError` when the model cannot read sequences of that many tokens."""
    most = folder.config.get("max_position_embeddings")
    if isinstance(most, int) and block_size > most:
        raise ConfigError(
            "block_size", f"--block-size is {block_size}, the model reads at most {most} tokens", f"Give --block-size {most} or less"
        )


def heldout_budget(config: TrainConfig) -> int:
    """Bytes of held-out text that are measured each time."""
    trained_tokens = config.evaluate_every * config.batch_size * config.block_size
    return max(_HELDOUT_LEAST_BYTES, min(_HELDOUT_MOST_BYTES, int(_HELDOUT_BYTES_PER_TRAINED_TOKEN * trained_tokens)))


@contextmanager
def _scratch_folder(parent: Path, team: Team) -> Generator[Path, None, None]:
    """A folder for the packed text beside the checkpoints; one left by a killed training goes at the next start."""
    scratch = Path(team.from_first(lambda: tempfile.mkdtemp(prefix=f"{PARTIAL_PREFIX}text-", dir=parent)))
    try:
        yield scratch
    finally:
        if team.is_first:
            shutil.rmtree(scratch, ignore_errors=True)
