"""The course of one tuning: steps, measurements, checkpoints and the model at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lep_core.config import CalibrateConfig
from lep_core.measuring import peak_memory_gib
from lep_core.progress import Reporter
from lep_core.training.checkpoint import save_checkpoint
from lep_core.training.order import DataOrder
from lep_core.training.schedule import learning_rate_at
from lep_core.tuning.prepare import PreparedRows
from lep_core.tuning.rendering import Row
from lep_core.tuning.report import TuneReport
from lep_core.tuning.state import AnswerLoss, StepResult, TuningState
from lep_core.tuning.template import ChatTokenizer


@dataclass(eq=False)
class Session:
    """One tuning in this process: the state, and all that it reads but does not change. `config` has every setting decided."""

    config: CalibrateConfig
    steps: int
    state: TuningState
    data: PreparedRows
    order: DataOrder
    chat: ChatTokenizer
    settings: dict[str, Any]
    checkpoints: Path
    reporter: Reporter
    saved_step: int = -1
    step_seconds: float = 0.0
    step_tokens: int = 0
    computed_tokens: int = 0

    def run(self) -> bool:
        """Tune until the last step; True when the user stopped it before. Every way out leaves a checkpoint of the last step."""
        state = self.state
        if state.facts is None:
            self.reporter.stage("measuring the start")
            state.facts = _facts(self.measure())
        self.reporter.stage("tuning")
        while state.step < self.steps:
            if self.reporter.should_stop() or not self.advance():
                if state.step == 0:
                    raise KeyboardInterrupt("stopped before the first step")
                self.save()
                self.reporter.message(f"stopped after {state.step} of {self.steps} steps: resuming goes on from there")
                return True
            if state.step % self.config.evaluate_every == 0 and state.step < self.steps:
                self.measure()
            if state.step % self.config.checkpoint_every == 0:
                self.save()
        # Writing the model may still fail (a full disk): the work of the last steps is safe before it begins.
        self.save()
        return False

    def advance(self) -> bool:
        """One optimizer step; False when the user stopped it half-way."""
        config, state, began = self.config, self.state, time.monotonic()
        rate = learning_rate_at(
            state.step + 1,
            peak=float(config.learning_rate or 0),
            steps=self.steps,
            warmup_steps=config.warmup_steps,
            schedule=config.schedule,
        )
        result = state.run_step(self.rows(state.step), learning_rate=rate, reporter=self.reporter)
        if result is None:
            return False
        seconds = time.monotonic() - began
        state.seconds += seconds
        self.step_seconds += seconds
        self.step_tokens += result.tokens
        self.computed_tokens += result.computed_tokens
        self.report_step(result, rate, seconds)
        return True

    def rows(self, step: int) -> Sequence[Row]:
        """The rows of a step."""
        return [self.data.rows[number] for number in self.order.batch(step).text]

    def report_step(self, result: StepResult, learning_rate: float, seconds: float) -> None:
        self.reporter.progress(self.state.step, self.steps, "steps")
        self.reporter.metric(
            {
                "step": self.state.step,
                "seconds": round(self.state.seconds, 3),
                "loss": result.loss,
                "answer_tokens": result.answer_tokens,
                "learning_rate": learning_rate,
                "tokens_per_second": round(result.tokens / seconds, 1) if seconds else None,
                "memory_gib": round(peak_memory_gib(self.state.learner.split.device), 3),
            }
        )

    def measure(self) -> AnswerLoss | None:
        """The loss on held-out answers, also as a metric."""
        loss = self.state.answer_loss(self.data.heldout_rows, self.reporter)
        if loss is not None:
            self.reporter.metric(
                {"step": self.state.step, "heldout_loss": loss.nats_per_token, "heldout_answer_bits_per_byte": loss.bits_per_byte}
            )
        return loss

    def save(self) -> None:
        """Write a checkpoint of the present step, unless there is one."""
        if self.saved_step == self.state.step:
            return
        state = self.state
        values = {
            "settings": self.settings,
            "seconds": state.seconds,
            "micro_batch_tokens": state.micro_batch_tokens,
            "facts": state.facts or {},
        }
        save_checkpoint(self.checkpoints, state.step, state.tensors(), values, keep=self.config.keep_checkpoints)
        self.saved_step = state.step

    def report(
        self, after: AnswerLoss | None, *, stopped: bool, unusable: int, began: float, threads: int, merged: str | None
    ) -> TuneReport:
        """What the tuning was; `after` is the last measurement."""
        state, config, data = self.state, self.config, self.data
        learner = state.learner
        has_lora = learner.lora_scaling is not None
        before = state.facts or {}
        return TuneReport(
            conversations=data.conversations,
            heldout_conversations=data.heldout_conversations,
            unusable=unusable + data.unusable,
            cut=data.cut,
            dropped=data.dropped,
            sequences=len(data.rows),
            answer_tokens=sum(row.answer_tokens for row in data.rows),
            prompt_tokens=sum(len(row.ids_L) - row.answer_tokens for row in data.rows),
            steps=state.step,
            loss_before=before.get("loss"),
            loss_after=None if after is None else after.nats_per_token,
            answer_bits_per_byte_before=before.get("bits_per_byte"),
            answer_bits_per_byte_after=None if after is None else after.bits_per_byte,
            seconds=time.monotonic() - began,
            tokens_per_second=self.step_tokens / self.step_seconds if self.step_seconds else 0.0,
            padding_share=1 - self.step_tokens / self.computed_tokens if self.computed_tokens else 0.0,
            peak_memory_gib=peak_memory_gib(learner.split.device),
            stopped=stopped,
            preset=config.preset,
            scope=str(config.scope),
            full_parts=() if config.scope == "full" or config.full_parts == ("none",) else config.full_parts,
            lora_rank=config.lora_rank if has_lora else None,
            lora_alpha=config.lora_alpha if has_lora else None,
            learned_parameters=learner.learned_parameters,
            learning_rate=float(config.learning_rate or 0),
            batch_size=self.order.batch_size,
            max_length=data.max_length,
            template=self.chat.name,
            appended_tokens=tuple(self.chat.appended),
            merged_adapter=merged,
            threads=threads,
            precision=str(learner.split.dtype).removeprefix("torch."),
            device=str(learner.split.device),
        )


def _facts(loss: AnswerLoss | None) -> dict[str, float | None]:
    return {} if loss is None else {"loss": loss.nats_per_token, "bits_per_byte": loss.bits_per_byte}
