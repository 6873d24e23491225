"""The course of one training: steps, measurements, samples, checkpoints and the model at the end.

Shapes: B sequences of a step, L tokens of a sequence.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lep_core.config import TrainConfig
from lep_core.measuring import peak_memory_gib
from lep_core.models import frozen_sha256, write_model
from lep_core.models.adapters import ADAPTER_FOLDER
from lep_core.progress import Reporter
from lep_core.risk import after_training, large_moves, move_warning, reading_warning, suggested_anchor
from lep_core.training.checkpoint import save_checkpoint
from lep_core.training.lora import save_adapter
from lep_core.training.measure import Heldout, bits_per_byte
from lep_core.training.move import Move, Start
from lep_core.training.order import DataOrder
from lep_core.training.packing import Encoder, PackedText
from lep_core.training.report import TrainReport
from lep_core.training.sample import continue_text
from lep_core.training.schedule import learning_rate_at
from lep_core.training.sharding import body_sha256
from lep_core.training.state import StepResult, TrainingState

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(eq=False)
class Session:
    """One training in this process: the state, and all that it reads but does not change."""

    config: TrainConfig
    steps: int
    state: TrainingState
    start: Start
    text: PackedText
    replay: PackedText | None
    order: DataOrder
    heldout: Heldout
    encoder: Encoder
    tokenizer: PreTrainedTokenizerFast
    settings: dict[str, Any]
    checkpoints: Path
    reporter: Reporter
    frozen_sha256: str
    module_sha256: str
    strategy: str
    recompute: bool
    step_seconds: float = 0.0
    step_tokens: int = 0
    saved_step: int = -1
    warned: set[str] = field(default_factory=set)

    def run(self) -> bool:
        """Train until the last step; True when the user stopped it before. Every way out leaves a checkpoint of the last step."""
        facts = self.state.facts
        if self.state.step == 0:
            self.reporter.stage("measuring the start")
            facts["bits_per_byte_before"] = self.measure()
            facts["sample_before"] = self.sample()
        self.reporter.stage("training")
        while self.state.step < self.steps:
            if self.state.team.any(self.reporter.should_stop()) or not self.advance():
                if self.state.step == 0:
                    raise KeyboardInterrupt("stopped before the first step")
                self.save()
                self.reporter.message(f"stopped after {self.state.step} of {self.steps} steps: resuming goes on from there")
                return True
            if self.state.step % self.config.evaluate_every == 0 and self.state.step < self.steps:
                self.measure()
            if self.state.step % self.config.checkpoint_every == 0:
                self.save()
        # Writing the model may still fail (a full disk): the work of the last steps is safe before it begins.
        self.save()
        return False

    def advance(self) -> bool:
        """One optimizer step; False when the user stopped it half-way."""
        config, state, began = self.config, self.state, time.monotonic()
        rate = learning_rate_at(
            state.step + 1, peak=config.learning_rate, steps=self.steps, warmup_steps=config.warmup_steps, schedule=config.schedule
        )
        inputs_BL, targets_BL = self.rows(state.step)
        result = state.run_step(inputs_BL, targets_BL, learning_rate=rate, reporter=self.reporter)
        if result is None:
            return False
        seconds = time.monotonic() - began
        state.seconds += seconds
        self.step_seconds += seconds
        self.step_tokens += result.tokens
        self.report_step(result, rate, seconds)
        return True

    def rows(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of a step, each B x L."""
        batch = self.order.batch(step)
        inputs_BL, targets_BL = self.text.rows(batch.text)
        if self.replay is None or not len(batch.replay):
            return inputs_BL, targets_BL
        replay_inputs_BL, replay_targets_BL = self.replay.rows(batch.replay)
        return np.concatenate([inputs_BL, replay_inputs_BL]), np.concatenate([targets_BL, replay_targets_BL])

    def report_step(self, result: StepResult, learning_rate: float, seconds: float) -> None:
        state = self.state
        self.reporter.progress(state.step, self.steps, "steps")
        self.reporter.metric(
            {
                "step": state.step,
                "seconds": round(state.seconds, 3),
                "tokens_seen": state.tokens_seen,
                "loss": result.loss,
                "bits_per_byte": result.bits_per_byte,
                "learning_rate": learning_rate,
                "tokens_per_second": round(result.tokens / seconds, 1) if seconds else None,
                "memory_gib": round(peak_memory_gib(state.split.device), 3),
            }
        )

    def measure(self) -> float | None:
        """Bits per byte on the held-out text, also as a metric, together with how far the rows have moved."""
        batch_tokens = self.state.micro_batch_size * self.config.block_size
        value = bits_per_byte(self.state.split, self.heldout, batch_tokens=batch_tokens, team=self.state.team, reporter=self.reporter)
        if value is not None:
            moves = self.moves()
            moved = {f"moved_{move.matrix}_{move.rows}": move.relative for move in moves}
            self.warn_of(moves)
            self.reporter.metric({"step": self.state.step, "heldout_bits_per_byte": value, **moved})
        return value

    def moves(self) -> list[Move]:
        """How far the rows are from where they began; the first process looks for all, which hold the same."""
        return self.start.moves(self.state.split.matrices) if self.state.team.is_first else []

    def warn_of(self, moves: list[Move]) -> list[str]:
        """Sentences about moves that were too large for comfort; each is said once, as soon as it is seen."""
        large = {move.place: move_warning(move) for move in large_moves(move.to_json() for move in moves)}
        for place, warning in large.items():
            if place not in self.warned:
                self.reporter.message(f"step {self.state.step}: {warning}")
        self.warned |= large.keys()
        return list(large.values())

    def sample(self) -> str | None:
        """A continuation of the sample prompt."""
        if self.config.sample_prompt is None:
            return None
        text = continue_text(self.state.split, self.encoder, self.tokenizer, self.config.sample_prompt)
        self.reporter.message(f"after {self.state.step} steps: {text}")
        self.reporter.metric({"step": self.state.step, "sample": text})
        return text

    def save(self) -> None:
        """Write a checkpoint of the present step, unless there is one. One process writes; the others hold the same."""
        if self.saved_step == self.state.step:
            return
        if self.state.team.is_first:
            values = {"settings": self.settings, **self.state.values()}
            save_checkpoint(self.checkpoints, self.state.step, self.state.tensors(), values, keep=self.config.keep_checkpoints)
        self.saved_step = self.state.step

    def finish(self, output: Path, *, stopped: bool, began: float, threads: int) -> TrainReport:
        """Measure, write the model and prove that the body is what it was. A stopped training is not measured again: stopping is quick."""
        state, split, config = self.state, self.state.split, self.config
        moves = self.moves()
        warnings = self.warn_of(moves)
        suggestion = suggested_anchor(move.to_json() for move in moves) if warnings else None
        if suggestion is not None:
            self.reporter.message(after_training(suggestion))
        passes = state.tokens_seen * (1 - (config.replay_share if self.replay else 0.0)) / max(1, len(self.text.tokens))
        if (repeated := reading_warning(passes)) is not None:
            self.reporter.message(repeated)
            warnings.append(repeated)
        self.reporter.stage("writing the model")
        after = None if stopped else self.measure()
        sample_after = None if stopped else self.sample()
        if not stopped and body_sha256(split) != self.module_sha256:
            raise RuntimeError("the frozen body changed during training")
        if state.team.is_first:
            write_model(source=split.folder, embeddings=split.trained_pair(), tokenizer_source=split.folder.path, output=output)
            if split.adapter:
                save_adapter(split, output / ADAPTER_FOLDER)
                self.reporter.message(f"the body is unchanged; what LoRA learned is in {ADAPTER_FOLDER}/, and the measurements include it")
        return TrainReport(
            steps=state.step,
            tokens_seen=state.tokens_seen,
            bits_per_byte_before=state.facts["bits_per_byte_before"],
            bits_per_byte_after=after,
            heldout_bytes=self.heldout.text_bytes,
            tokens_per_second=self.step_tokens / self.step_seconds if self.step_seconds else 0.0,
            peak_memory_gib=peak_memory_gib(split.device),
            frozen_sha256_before=self.frozen_sha256,
            frozen_sha256_after=frozen_sha256(output) if state.team.is_first else self.frozen_sha256,
            stopped=stopped,
            seconds=time.monotonic() - began,
            samples_before=_listed(state.facts["sample_before"]),
            samples_after=_listed(sample_after),
            learning_rate=config.learning_rate,
            batch_size=config.batch_size,
            micro_batch_size=state.micro_batch_size,
            block_size=config.block_size,
            corpus_tokens=len(self.text.tokens),
            corpus_documents=self.text.documents,
            threads=threads,
            precision=str(split.dtype).removeprefix("torch."),
            device=str(split.device),
            processes=state.team.size,
            strategy=self.strategy,
            adapter=ADAPTER_FOLDER if split.adapter else None,
            adapter_parameters=sum(factor.numel() for factor in split.adapter.values()),
            gradient_checkpointing=self.recompute,
            quantize=config.quantize,
            optimizer=config.optimizer,
            anchor=config.anchor,
            moves=tuple(move.to_json() for move in moves),
            passes=passes,
            warnings=tuple(warnings),
            suggested_anchor=suggestion,
        )


def _listed(text: str | None) -> tuple[str, ...]:
    return () if text is None else (text,)
