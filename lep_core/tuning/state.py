"""The changing part of an instruction tuning, and what one optimizer step does to it.

The loss is the mean over all answer tokens of the step, whatever conversations and micro-batches they stand in. The head multiplies
only hidden states that predict an answer token: no logits of prompts exist.

Shapes: B rows of a micro-batch, L tokens of a row, N answer tokens of a micro-batch, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lep_core.errors import DivergedError
from lep_core.progress import SILENT, Reporter
from lep_core.training.loss import IGNORED, loss_and_gradients, token_nll
from lep_core.training.optimizer import RowAdamW
from lep_core.tuning.learner import INPUT, OUTPUT, Learner
from lep_core.tuning.packing import MicroBatch, micro_batches
from lep_core.tuning.rendering import Row


@dataclass(frozen=True)
class StepResult:
    """One optimizer step: mean loss in nats an answer token, answer tokens, all tokens, and tokens with padding."""

    loss: float
    answer_tokens: int
    tokens: int
    computed_tokens: int


@dataclass(frozen=True)
class AnswerLoss:
    """Loss on held-out answers: nats a token, and bits a byte of the answers' text."""

    nats_per_token: float
    bits_per_byte: float | None


@dataclass(eq=False)
class TuningState:
    """What a checkpoint must hold, and the step that changes it."""

    learner: Learner
    optimizer: RowAdamW
    micro_batch_tokens: int
    step: int = 0
    seconds: float = 0.0
    facts: dict[str, float | None] | None = None

    def __post_init__(self) -> None:
        self.learner.send_gradients_to(self.optimizer.gradients)

    def run_step(self, rows: Sequence[Row], *, learning_rate: float, reporter: Reporter) -> StepResult | None:
        """One update from these rows; None when the user asked to stop before it was complete: nothing has changed then.

        Raises:
            DivergedError: the loss or its gradient is not finite; no update was made.
        """
        answer_tokens = sum(row.answer_tokens for row in rows)
        batches = micro_batches(rows, most_tokens=self.micro_batch_tokens)
        self.optimizer.zero_gradients()
        nll_sum = 0.0
        for number, batch in enumerate(batches):
            if number and reporter.should_stop():
                return None
            nll_sum += self.add_gradients(batch, scale=1 / answer_tokens)
        loss, norm = nll_sum / answer_tokens, self.optimizer.gradient_norm()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradient became {norm}"
            raise DivergedError(f"{what} at step {self.step + 1}", "Lower --learning-rate; the last checkpoint was kept")
        self.optimizer.step(learning_rate, norm=norm)
        self.learner.refresh()
        self.step += 1
        computed = sum(batch.inputs_BL.size for batch in batches)
        return StepResult(loss=loss, answer_tokens=answer_tokens, tokens=sum(batch.tokens for batch in batches), computed_tokens=computed)

    def add_gradients(self, batch: MicroBatch, *, scale: float) -> float:
        """Add the gradients of a micro-batch's loss times `scale` to the buffers; returns its summed loss in nats."""
        split, gradients = self.learner.split, self.optimizer.gradients
        inputs_BL, targets_BL = self._on_device(batch)
        is_learned_BL = targets_BL != IGNORED
        with torch.enable_grad():
            embedded_BLD = split.embed(inputs_BL).requires_grad_(INPUT in gradients)
            hidden_BLD = split.hidden(embedded_BLD)
        learns_head = OUTPUT in gradients or (split.tied and INPUT in gradients)
        head_gradient_VD = gradients.get(OUTPUT, gradients.get(INPUT)) if learns_head else None
        result = loss_and_gradients(
            hidden_BLD.detach()[is_learned_BL],
            split.head_VD,
            targets_BL[is_learned_BL],
            scale=scale,
            head_gradient_VD=split.head_VD.new_empty(0, split.head_VD.shape[1]) if head_gradient_VD is None else head_gradient_VD,
            rows=slice(0, 0) if head_gradient_VD is None else slice(None),
        )
        if hidden_BLD.requires_grad:
            gradient_BLD = torch.zeros_like(hidden_BLD)
            gradient_BLD[is_learned_BL] = result.hidden_gradient_ND
            hidden_BLD.backward(gradient_BLD)
        if embedded_BLD.grad is not None:
            gradients[INPUT].index_add_(0, inputs_BL.flatten(), embedded_BLD.grad.flatten(0, 1).to(torch.float32))
        return float(result.nll_sum)

    @torch.no_grad()
    def answer_loss(self, rows: Sequence[Row], reporter: Reporter = SILENT) -> AnswerLoss | None:
        """The loss on answers that are not learned from; None without any, or when the user stopped the measurement."""
        split = self.learner.split
        nll_sum = 0.0
        for batch in micro_batches(rows, most_tokens=self.micro_batch_tokens):
            if reporter.should_stop():
                return None
            inputs_BL, targets_BL = self._on_device(batch)
            is_learned_BL = targets_BL != IGNORED
            hidden_ND = split.hidden(split.embed(inputs_BL))[is_learned_BL]
            nll_sum += float(token_nll(hidden_ND, split.head_VD, targets_BL[is_learned_BL]).sum(dtype=torch.float64))
        tokens, text_bytes = sum(row.answer_tokens for row in rows), sum(row.answer_bytes for row in rows)
        if not tokens:
            return None
        return AnswerLoss(nll_sum / tokens, nll_sum / math.log(2) / text_bytes if text_bytes else None)

    def tensors(self) -> dict[str, Tensor]:
        """Everything of a checkpoint that is a tensor."""
        return {**self.learner.masters, **self.optimizer.state()}

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint."""
        for name, master in self.learner.masters.items():
            master.copy_(tensors[name])
        self.learner.refresh()
        self.optimizer.load_state(tensors)

    def _on_device(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        device = self.learner.split.device
        return torch.from_numpy(batch.inputs_BL).to(device), torch.from_numpy(batch.targets_BL).to(device)
