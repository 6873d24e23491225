"""Continued pre-training on raw text: only the input embedding and the head learn (method section 3).

    python -m lep_core train --model initialized/ --input texts/ --output trained/

Text is packed into blocks (`packing`), each step reads the blocks that the step's number names (`order`), sends them through the
frozen body (`freeze`) and a loss that never holds all logits (`loss`), and moves two float32 matrices (`optimizer`). A killed
training goes on from its newest sound checkpoint to bit-equal weights on a CPU.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
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
    frozen_sha256_of_module,
    inspect_model,
    load_tokenizer,
)
from lep_core.models.metadata import check_named_tokens
from lep_core.progress import SILENT, Reporter
from lep_core.training.checkpoint import check_same_training, latest_sound_checkpoint, load_tensors, prepare_folder
from lep_core.training.freeze import SplitModel, load_split
from lep_core.training.measure import prepare_heldout
from lep_core.training.memory import advice_when_out_of_memory, choose_micro_batch
from lep_core.training.optimizer import RowAdamW
from lep_core.training.order import DataOrder
from lep_core.training.packing import Encoder, PackedText, pack
from lep_core.training.report import TrainReport
from lep_core.training.session import Session
from lep_core.training.state import TrainingState

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
        checkpoints: folder for checkpoints and, while this runs, for the packed text.

    Raises:
        ConfigError: a setting does not fit the model.
        CorpusError: the text has fewer tokens than one block.
        TrainingError: the loss is not finite, or the checkpoint to go on from belongs to another training.
        ResourceError: memory or disk do not suffice; the checkpoints are kept.
        KeyboardInterrupt: the user stopped it before the first step; nothing was written.
    """
    began = time.monotonic()
    folder = inspect_model(config.model)
    check_block_size(config.block_size, folder)
    threads = choose_threads(config.threads, folder.parameters)
    prepare_folder(checkpoints, resume=config.resume, overwrite=config.overwrite)
    with _torch_threads(threads), _scratch_folder(checkpoints) as scratch:
        with advice_when_out_of_memory(micro_batch_size=config.micro_batch_size, block_size=config.block_size):
            sources = _Sources(texts=texts, heldout=heldout, replay=replay)
            session = _prepare(config, folder, sources, checkpoints=checkpoints, scratch=scratch, reporter=reporter)
        with advice_when_out_of_memory(micro_batch_size=session.state.micro_batch_size, block_size=config.block_size):
            stopped = session.run()
        return session.finish(output, stopped=stopped, began=began, threads=threads)


@dataclass(frozen=True)
class _Sources:
    texts: Texts
    heldout: Texts
    replay: Texts | None


def _prepare(
    config: TrainConfig, folder: ModelFolder, sources: _Sources, *, checkpoints: Path, scratch: Path, reporter: Reporter
) -> Session:
    """Pack the text, load the model, and take over a checkpoint when resuming. The text comes first: its faults show before a long load."""
    tokenizer = load_tokenizer(folder.path)
    check_named_tokens(folder.path)
    encoder = Encoder(tokenizer, rows=folder.vocab_size, eos=_first(folder.eos_token_id))
    text = _packed(sources.texts, "text", config, encoder, scratch, reporter)
    replay = _packed(sources.replay, "replay text", config, encoder, scratch, reporter) if sources.replay and config.replay_share else None
    order = DataOrder(
        seed=config.seed,
        batch_size=config.batch_size,
        blocks=len(text),
        replay_blocks=len(replay) if replay else 0,
        replay_share=config.replay_share,
    )
    steps = config.steps or order.steps_of_one_pass()
    heldout = prepare_heldout(sources.heldout(), encoder, block_size=config.block_size, budget_bytes=_heldout_budget(config))
    if not heldout.windows:
        reporter.message("there is no held-out text: bits per byte are not measured")
    frozen_rows_V = _frozen_rows(config, folder, tokenizer)
    reporter.stage("loading the model")
    sha256 = frozen_sha256(folder)
    state = _new_state(config, folder, encoder, frozen_rows_V)
    matrices = state.split.matrices
    check_free_space(checkpoints, _BYTES_PER_PARAMETER_IN_CHECKPOINT * sum(matrix.numel() for matrix in matrices.values()))
    session = Session(
        config=config,
        steps=steps,
        state=state,
        text=text,
        replay=replay,
        order=order,
        heldout=heldout,
        encoder=encoder,
        tokenizer=tokenizer,
        settings=_settings(config, steps, state.split, sha256, text, replay),
        checkpoints=checkpoints,
        reporter=reporter,
        frozen_sha256=sha256,
        module_sha256=frozen_sha256_of_module(state.split.model),
    )
    if config.resume:
        _resume(session)
    return session


def _new_state(config: TrainConfig, folder: ModelFolder, encoder: Encoder, frozen_rows_V: torch.Tensor | None) -> TrainingState:
    device = choose_device(config.device)
    dtype = choose_precision(config.precision, device, parameters=folder.parameters)
    split = load_split(folder, device=device, dtype=dtype)
    optimizer = RowAdamW(
        split.matrices,
        weight_decay=config.weight_decay,
        gradient_clip=config.gradient_clip,
        frozen_rows_V=None if frozen_rows_V is None else frozen_rows_V.to(device),
    )
    micro = config.micro_batch_size or choose_micro_batch(
        folder, block_size=config.block_size, batch_size=config.batch_size, device=device, dtype=dtype
    )
    return TrainingState(
        split=split, optimizer=optimizer, micro_batch_size=min(micro, config.batch_size), token_bytes_V=encoder.token_bytes_V
    )


def _resume(session: Session) -> None:
    """Take over the newest sound checkpoint; without any the training begins at step 0."""
    state = session.state
    checkpoint = latest_sound_checkpoint(session.checkpoints, session.reporter)
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
    config: TrainConfig, steps: int, split: SplitModel, frozen: str, text: PackedText, replay: PackedText | None
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
        "seed",
    )
    return {
        "corpus_fingerprint": text.fingerprint,
        "replay_fingerprint": replay.fingerprint if replay else None,
        "replay_share": config.replay_share if replay else None,
        **{name: getattr(config, name) for name in names},
        "steps": steps,
        "frozen_sha256": frozen,
        "vocabulary": len(split.input_VD),
        "tied": split.tied,
    }


def _packed(texts: Texts, what: str, config: TrainConfig, encoder: Encoder, scratch: Path, reporter: Reporter) -> PackedText:
    reporter.stage(f"packing the {what}")
    packed = pack(
        texts(), encoder, scratch / f"{what.replace(' ', '-')}.tokens", block_size=config.block_size, what=what, reporter=reporter
    )
    if packed is None:
        raise KeyboardInterrupt("stopped before the first step")
    reporter.message(
        f"{what}: {packed.documents:,} documents, {len(packed.tokens):,} tokens, {len(packed):,} sequences of {config.block_size};"
        f" {packed.repeated_share:.1%} of the positions repeat the paragraph that the sequence before cut"
    )
    return packed


def _frozen_rows(config: TrainConfig, folder: ModelFolder, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor | None:
    """Bool of shape V, True for rows that must stay: all but those of tokens that the old vocabulary lacks."""
    if not config.new_rows_only or config.initial is None:
        return None
    from lep_core.tokenizer.mapping import build_mapping

    mapping = build_mapping(load_tokenizer(config.initial), tokenizer)
    is_new_V = np.zeros(folder.vocab_size, dtype=bool)
    is_new_V[: folder.tokenizer_size] = True
    is_new_V[mapping.shared_new_ids] = False
    is_new_V[mapping.special_new_ids] = False
    if not is_new_V.any():
        raise ConfigError(
            "new_rows_only",
            f"all {folder.tokenizer_size} tokens of {config.model} are tokens of {config.initial} too, so no row would learn",
            "Give a model with a new vocabulary, or leave --new-rows-only out",
        )
    return torch.from_numpy(~is_new_V)


def check_block_size(block_size: int, folder: ModelFolder) -> None:
    """Raise `ConfigError` when the model cannot read sequences of that many tokens."""
    most = folder.config.get("max_position_embeddings")
    if isinstance(most, int) and block_size > most:
        raise ConfigError(
            "block_size", f"--block-size is {block_size}, the model reads at most {most} tokens", f"Give --block-size {most} or less"
        )


def _heldout_budget(config: TrainConfig) -> int:
    trained_tokens = config.evaluate_every * config.batch_size * config.block_size
    return max(_HELDOUT_LEAST_BYTES, min(_HELDOUT_MOST_BYTES, int(_HELDOUT_BYTES_PER_TRAINED_TOKEN * trained_tokens)))


def _first(token: int | list[int] | None) -> int | None:
    return token[0] if isinstance(token, list) else token


@contextmanager
def _scratch_folder(parent: Path) -> Generator[Path, None, None]:
    """A folder for the packed text beside the checkpoints; one left by a killed training goes at the next start."""
    scratch = Path(tempfile.mkdtemp(prefix=f"{PARTIAL_PREFIX}text-", dir=parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _torch_threads(threads: int) -> Generator[None, None, None]:
    """Let torch compute on `threads` CPU threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
