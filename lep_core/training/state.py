"""A training between two steps: the matrices, the optimizer and the counters, and one optimizer step over them.

Gradients are not accumulated by autograd but added into two float32 buffers: the head's by the loss, chunk by chunk, and the input
embedding's from the gradient that leaves the frozen body. So nothing of the size of a matrix is made per micro-batch, and a
distributed run has exactly these buffers to sum over its processes.

Shapes: V vocabulary rows, D hidden size, B sequences of a step, M of a micro-batch, L tokens of a sequence, N = M x L.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lep_core.errors import TrainingError
from lep_core.progress import Reporter
from lep_core.training.freeze import SplitModel
from lep_core.training.loss import IGNORED, loss_and_gradients
from lep_core.training.optimizer import RowAdamW


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
    step: int = 0
    tokens_seen: int = 0
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def run_step(self, inputs_BL: np.ndarray, targets_BL: np.ndarray, *, learning_rate: float, reporter: Reporter) -> StepResult | None:
        """One update from B sequences; None when the user asked to stop before it was complete: nothing has changed then.

        Raises:
            TrainingError: the loss or its gradient is not finite; no update was made.
        """
        tokens = int((targets_BL != IGNORED).sum())
        self.optimizer.zero_gradients()
        nll_sum = torch.zeros((), dtype=torch.float64, device=self.split.device)
        for start in range(0, len(inputs_BL), self.micro_batch_size):
            if start and reporter.should_stop():
                return None
            part = slice(start, start + self.micro_batch_size)
            nll_sum += self._add_gradients(self._on_device(inputs_BL[part]), self._on_device(targets_BL[part]), scale=1 / tokens)
        loss, norm = float(nll_sum) / tokens, self.optimizer.gradient_norm()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradient became {norm}"
            raise TrainingError(f"{what} at step {self.step + 1}", "Lower --learning-rate; the last checkpoint was kept")
        self.optimizer.step(learning_rate, norm=norm)
        self.split.refresh_head()
        self.step += 1
        self.tokens_seen += tokens
        return StepResult(loss=loss, tokens=tokens, text_bytes=int(self.token_bytes_V[targets_BL[targets_BL != IGNORED]].sum()))

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
        )
        hidden_MLD.backward(result.hidden_gradient_ND.view_as(hidden_MLD))
        assert embedded_MLD.grad is not None
        gradients["input"].index_add_(0, inputs_ML.flatten(), embedded_MLD.grad.flatten(0, 1).to(torch.float32))
        return result.nll_sum

    def tensors(self) -> dict[str, Tensor]:
        """Everything of a checkpoint that is a tensor."""
        return {**self.split.matrices, **self.optimizer.state()}

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
