"""A training between two steps: the matrices, the optimizer and the counters, and one optimizer step over them.

Gradients are not accumulated by autograd but added into two float32 buffers: the head's by the loss, chunk by chunk, and the input
embedding's from the gradient that leaves the frozen body. So nothing of the size of a matrix is made per micro-batch, and several
processes have exactly these buffers to sum: each adds its share of the step's sequences, all scaled by the tokens of the whole step.

Shapes: V vocabulary rows, D hidden size, B sequences of a step, S of one process, M of a micro-batch, L tokens of a sequence, N = M x L.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lep_core.errors import DivergedError
from lep_core.progress import Reporter
from lep_core.training.freeze import SplitModel
from lep_core.training.loss import IGNORED, loss_and_gradients
from lep_core.training.optimizer import RowAdamW
from lep_core.training.team import ALONE, Team


@dataclass(frozen=True)
class StepResult:
    """One optimizer step: mean loss in nats a token, the tokens and the UTF-8 bytes that they spell (0 = unknown)."""

    loss: float
    tokens: int
    text_bytes: int

    @property
    def bits_per_byte(self) -> float | None:
        return self.loss * self.tokens / math.log(2) / self.text_bytes if self.text_bytes else None


@dataclass(eq=False)
class TrainingState:
    """What a checkpoint must hold, and the step that changes it."""

    split: SplitModel
    optimizer: RowAdamW
    micro_batch_size: int
    token_bytes_V: np.ndarray
    team: Team = ALONE
    step: int = 0
    tokens_seen: int = 0
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def run_step(self, inputs_BL: np.ndarray, targets_BL: np.ndarray, *, learning_rate: float, reporter: Reporter) -> StepResult | None:
        """One update from B sequences, of which this process computes its share; None when the user asked to stop before it was complete:
        nothing has changed then.

        Raises:
            DivergedError: the loss or its gradient is not finite; no update was made.
        """
        tokens = int((targets_BL != IGNORED).sum())
        self.optimizer.zero_gradients()
        nll_sum = torch.zeros((), dtype=torch.float64, device=self.split.device)
        own_inputs_SL, own_targets_SL = self._share(inputs_BL, targets_BL)
        for start in range(0, len(own_inputs_SL), self.micro_batch_size):
            if start and self.team.any(reporter.should_stop()):
                return None
            part = slice(start, start + self.micro_batch_size)
            nll_sum += self._add_gradients(self._on_device(own_inputs_SL[part]), self._on_device(own_targets_SL[part]), scale=1 / tokens)
        self.team.sum(nll_sum, *self.optimizer.gradients.values())
        loss, norm = float(nll_sum) / tokens, self.optimizer.gradient_norm()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradient became {norm}"
            raise DivergedError(f"{what} at step {self.step + 1}", "Lower --learning-rate; the last checkpoint was kept")
        self.optimizer.step(learning_rate, norm=norm)
        self.split.refresh_head()
        self.step += 1
        self.tokens_seen += tokens
        return StepResult(loss=loss, tokens=tokens, text_bytes=int(self.token_bytes_V[targets_BL[targets_BL != IGNORED]].sum()))

    def _share(self, inputs_BL: np.ndarray, targets_BL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sequences that this process computes, S x L; sequences without loss fill up a share that is smaller than the others'."""
        own, missing = self.team.share(len(inputs_BL))
        inputs_SL, targets_SL = inputs_BL[own], targets_BL[own]
        if not missing:
            return inputs_SL, targets_SL
        # A sharded body computes in all processes at once, so all must make the same number of micro-batches.
        empty_SL = np.zeros((missing, inputs_BL.shape[1]), dtype=inputs_BL.dtype)
        return np.concatenate([inputs_SL, empty_SL]), np.concatenate([targets_SL, np.full_like(empty_SL, IGNORED)])

    def _add_gradients(self, inputs_ML: Tensor, targets_ML: Tensor, *, scale: float) -> Tensor:
        gradients = self.optimizer.gradients
        with torch.enable_grad():
            embedded_MLD = self.split.embed(inputs_ML).requires_grad_()
            hidden_MLD = self.split.hidden(embedded_MLD)
        result = loss_and_gradients(
            hidden_MLD.detach().flatten(0, 1),
            self.split.head_VD,
            targets_ML.flatten(),
            scale=scale,
            head_gradient_VD=gradients.get("output", gradients["input"]),
            rows=self.optimizer.learning_rows,
        )
        hidden_MLD.backward(result.hidden_gradient_ND.view_as(hidden_MLD))
        assert embedded_MLD.grad is not None
        gradients["input"].index_add_(0, inputs_ML.flatten(), embedded_MLD.grad.flatten(0, 1).to(torch.float32))
        return result.nll_sum

    def tensors(self) -> dict[str, Tensor]:
        """Everything of a checkpoint that is a tensor."""
        return {**self.split.matrices, **self.optimizer.state()}

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint."""
        for name, matrix_VD in self.split.matrices.items():
            matrix_VD.copy_(tensors[name])
        self.split.refresh_head()
        self.optimizer.load_state(tensors)

    def values(self) -> dict[str, Any]:
        """Everything of a checkpoint that is no tensor."""
        return {"tokens_seen": self.tokens_seen, "seconds": self.seconds, "micro_batch_size": self.micro_batch_size, "facts": self.facts}

    def _on_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.split.device)
