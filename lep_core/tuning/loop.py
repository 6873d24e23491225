"""Instruction tuning: continued tuning, self-calibration's last step, and the traditional baseline (method section 5).

    python -m lep_core calibrate --model propagated/ --data conversations.jsonl --output tuned/

Conversations become rows of ids with marked answers (`rendering`), rows of like length are computed together (`packing`), the loss of
the answers moves a LoRA adapter and parts of the model, or all weights (`learner`, `state`), and the result is a plain model folder
(`merge`). A killed tuning goes on from its newest sound checkpoint to bit-equal weights on a CPU.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lep_core.config import CalibrateConfig
from lep_core.errors import ConfigError, ResourceError
from lep_core.files import check_free_space
from lep_core.models import ModelFolder, choose_device, choose_precision, choose_threads, inspect_model
from lep_core.models.devices import torch_threads
from lep_core.models.metadata import check_named_tokens
from lep_core.models.safetensors_files import tensors_sha256
from lep_core.models.writing import check_space
from lep_core.progress import SILENT, Reporter
from lep_core.propagation.adapter import LoraChange, find_adapter, read_adapter
from lep_core.training.checkpoint import check_same_training, latest_sound_checkpoint, load_tensors, prepare_folder
from lep_core.training.memory import choose_checkpointing, choose_micro_batch, is_out_of_memory, kept_allocations
from lep_core.training.optimizer import RowAdamW
from lep_core.training.order import DataOrder
from lep_core.training.quantize import check_bitsandbytes
from lep_core.training.schedule import large_rate_warning
from lep_core.tuning.conversations import Conversation
from lep_core.tuning.learner import load_learner
from lep_core.tuning.merge import check_adapter_can_be_kept, keep_adapter, write_tuned
from lep_core.tuning.prepare import PreparedRows, longest_row, prepare_rows
from lep_core.tuning.report import TuneReport
from lep_core.tuning.session import Session
from lep_core.tuning.state import TuningState
from lep_core.tuning.template import BUILT_IN, OWN, ChatTokenizer, choose_template

_BYTES_PER_PARAMETER_IN_CHECKPOINT = 12  # the master and two moments, float32
_EIGHT_BIT = "adamw-8bit"


def tune(
    config: CalibrateConfig,
    conversations: Sequence[Conversation],
    *,
    model: Path,
    output: Path,
    checkpoints: Path,
    unusable: int = 0,
    reporter: Reporter = SILENT,
) -> TuneReport:
    """Tune `model` on conversations and write the merged result to the existing empty folder `output`.

    Args:
        model: the folder to tune; `config.model` is not looked at.
        checkpoints: folder for checkpoints.
        unusable: records that could not be read as conversations, for the report.

    Raises:
        ConfigError: a setting does not fit the model.
        CorpusError: a conversation cannot be rendered, or none is left to learn from.
        ModelError, TokenizerError: the model, its adapter or the template's model do not fit together.
        TrainingError: the loss is not finite, or the checkpoint to go on from belongs to another tuning.
        ResourceError: memory or disk do not suffice; the checkpoints are kept.
        KeyboardInterrupt: the user stopped it before the first step; nothing was written.
    """
    began = time.monotonic()
    config = config.resolved()
    folder = inspect_model(model)
    device = choose_device(config.device)
    if config.optimizer == _EIGHT_BIT:
        check_bitsandbytes("optimizer", config.optimizer, device)
    if (warning := large_rate_warning(float(config.learning_rate or 0))) is not None:
        reporter.message(warning)
    threads = choose_threads(config.threads, folder.parameters)
    with tempfile.TemporaryDirectory(prefix="lep-tokenizer-") as scratch, torch_threads(threads), _advice_when_out_of_memory():
        prepare_folder(checkpoints, resume=config.resume, overwrite=config.overwrite)
        chat = choose_template(folder, config.template_from, Path(scratch))
        adapter = find_adapter(folder.path, config.adapter)
        session = _prepare(config, folder, conversations, chat, adapter, checkpoints=checkpoints, device=device, reporter=reporter)
        learner = session.state.learner
        check_space(output, folder, rows=chat.rows, tensor_changes=learner.tensor_changes())
        with kept_allocations(device):
            stopped = session.run()
        reporter.stage("writing the model")
        # A stopped tuning is not measured again: stopping is quick.
        after = None if stopped else session.measure()
        write_tuned(learner, folder, chat, output)
        if config.keep_adapter:
            keep_adapter(learner, output)
        merged = None if adapter is None else str(adapter)
        return session.report(after, stopped=stopped, unusable=unusable, began=began, threads=threads, merged=merged)


def _prepare(
    config: CalibrateConfig,
    folder: ModelFolder,
    conversations: Sequence[Conversation],
    chat: ChatTokenizer,
    adapter: Path | None,
    *,
    checkpoints: Path,
    device: torch.device,
    reporter: Reporter,
) -> Session:
    """Render the data, load the model, and take over a checkpoint when resuming. The quickest comes first: faults show before long work."""
    check_named_tokens(chat.folder)
    merged = _merged(adapter, folder, reporter)
    _say_template(chat, reporter)
    data = prepare_rows(config, conversations, chat, folder, reporter)
    if longest_row(config, folder) < int(config.max_length or 0):
        reporter.message(f"the model reads at most {data.max_length:,} tokens: --max-length is lowered to that")
    order = DataOrder(seed=config.seed, batch_size=min(int(config.batch_size or 1), len(data.rows)), blocks=len(data.rows))
    steps = config.steps or max(1, math.ceil(config.epochs * len(data.rows) / order.batch_size))
    reporter.stage("loading the model")
    state = _new_state(config, folder, chat, merged, device=device, longest=max(len(row.ids_L) for row in data.rows))
    if config.keep_adapter:
        check_adapter_can_be_kept(state.learner, chat)
    check_free_space(checkpoints, _BYTES_PER_PARAMETER_IN_CHECKPOINT * state.learner.learned_parameters)
    session = Session(
        config=config,
        steps=steps,
        state=state,
        data=data,
        order=order,
        chat=chat,
        settings=_settings(config, steps, folder, data, chat, adapter),
        checkpoints=checkpoints,
        reporter=reporter,
    )
    if config.resume:
        _resume(session)
    return session


def _merged(adapter: Path | None, folder: ModelFolder, reporter: Reporter) -> Mapping[str, LoraChange]:
    if adapter is None:
        return {}
    reporter.message(f"the LoRA adapter in {adapter} is merged into the model first")
    return read_adapter(adapter, folder, scale=1.0)


def _say_template(chat: ChatTokenizer, reporter: Reporter) -> None:
    if chat.name == BUILT_IN:
        reporter.message("the model has no chat template: a plain one is built in (User: ... Assistant: ...)")
    elif chat.name != OWN:
        appended = f"; {len(chat.appended)} of its tokens are new to the model and were appended" if chat.appended else ""
        reporter.message(f"the chat template and the special tokens are those of {chat.name}{appended}")


def _new_state(
    config: CalibrateConfig,
    folder: ModelFolder,
    chat: ChatTokenizer,
    merged: Mapping[str, LoraChange],
    *,
    device: torch.device,
    longest: int,
) -> TuningState:
    dtype = choose_precision(config.precision, device, parameters=folder.parameters)
    recompute = choose_checkpointing(config.gradient_checkpointing, folder, block_size=longest, device=device, dtype=dtype)
    if chat.appended and config.scope == "lora" and "embeddings" not in config.full_parts:
        raise ConfigError(
            "full_parts",
            f"{len(chat.appended)} tokens are appended to the vocabulary, and their rows must learn",
            "Give --preset traditional, or embeddings and head as --full-parts",
        )
    learner = load_learner(config, folder, chat, merged=merged, device=device, dtype=dtype, recompute=recompute)
    optimizer = RowAdamW(
        learner.masters,
        weight_decay=float(config.weight_decay or 0),
        gradient_clip=config.gradient_clip,
        eight_bit=config.optimizer == _EIGHT_BIT,
    )
    fitting = choose_micro_batch(folder, block_size=1, batch_size=10**9, device=device, dtype=dtype, checkpointing=recompute)
    return TuningState(learner=learner, optimizer=optimizer, micro_batch_tokens=config.micro_batch_tokens or fitting)


def _resume(session: Session) -> None:
    """Take over the newest sound checkpoint; without any the tuning begins at step 0."""
    state = session.state
    checkpoint = latest_sound_checkpoint(session.checkpoints, session.reporter)
    if checkpoint is None:
        session.reporter.message(f"there is no checkpoint in {session.checkpoints}: tuning begins at step 0")
        return
    check_same_training(checkpoint.state["settings"], session.settings)
    state.load_tensors(load_tensors(checkpoint, {name: master.shape for name, master in state.learner.masters.items()}))
    state.step, state.seconds, state.facts = checkpoint.step, checkpoint.state["seconds"], checkpoint.state["facts"]
    if session.config.micro_batch_tokens is None:
        # Sums over micro-batches round differently: the size found then is kept, so that the result is bit-equal.
        state.micro_batch_tokens = checkpoint.state["micro_batch_tokens"]
    session.saved_step = checkpoint.step
    session.reporter.message(f"going on from {checkpoint.path.name}")


def _settings(
    config: CalibrateConfig, steps: int, folder: ModelFolder, data: PreparedRows, chat: ChatTokenizer, adapter: Path | None
) -> dict[str, Any]:
    """What the further course depends on: a resumed tuning must agree in all of it."""
    names = ("learning_rate", "schedule", "warmup_steps", "weight_decay", "gradient_clip", "optimizer", "seed", "too_long", "heldout_share")
    adapted = ("lora_rank", "lora_alpha", "lora_targets", "full_parts") if config.scope == "lora" else ()
    values = config.to_mapping()
    return {
        "data_fingerprint": data.fingerprint,
        # Of all tensors: what learns begins from them too.
        "frozen_sha256": tensors_sha256(folder.slots.values()),
        "adapter": None if adapter is None else tensors_sha256(_adapter_slots(adapter)),
        "scope": config.scope,
        **{name: values[name] for name in (*names, *adapted)},
        "batch_size": int(config.batch_size or 1),
        "max_length": data.max_length,
        "steps": steps,
        "template_from": chat.name,
    }


def _adapter_slots(adapter: Path) -> list[Any]:
    from lep_core.models.safetensors_files import read_header
    from lep_core.propagation.adapter import WEIGHTS_NAME

    return list(read_header(adapter / WEIGHTS_NAME).values())


@contextmanager
def _advice_when_out_of_memory() -> Generator[None, None, None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            "the memory is not enough to tune this model",
            "Give a smaller --micro-batch-tokens or --max-length, --gradient-checkpointing on, or --scope lora with fewer --full-parts",
        ) from error
