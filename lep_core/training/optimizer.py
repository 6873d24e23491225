"""AdamW over rows: what received no gradient is not decayed, and what never received one does not move (method section 3).

Plain AdamW decays every row at every step; at 0.1 over 50,000 steps rows of tokens that never occur shrink to 0.6 of their length. Here
decay touches a row only in a step in which the row has a gradient. A row that once had a gradient keeps moving for some steps on
its momentum, as in any Adam; a row that never had one stays bit-equal. The head has a gradient in every row at every step.
An anchor pulls rows back toward where they began (see `move`), before the update as weight decay does.

Factors of a LoRA adapter are matrices like the others, without rows to freeze. The moments may be kept in 8 bits (bitsandbytes).
Shapes: V vocabulary rows, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lep_core.training.move import Anchor

BETAS = (0.9, 0.95)
EPSILON = 1e-8
EMBEDDINGS = frozenset({"input", "output"})
"""Names of the matrices whose rows are tokens."""


class RowAdamW:
    """Gradient buffers, clipping and updates of the matrices that learn.

    Args:
        matrices: float32 masters by name ("input", "output", "lora..."), updated in place. What is a parameter of the model already
            gets its gradient from autograd, straight into the buffer here.
        frozen_rows_V: bool, rows of the embedding and the head that must not change; None = all rows learn.
        eight_bit: keep the moments in 8 bits.
        anchor: pulls the rows of the embedding and the head toward their start; None = nothing does.
    """

    def __init__(
        self,
        matrices: Mapping[str, Tensor],
        *,
        weight_decay: float,
        gradient_clip: float,
        frozen_rows_V: Tensor | None = None,
        eight_bit: bool = False,
        anchor: Anchor | None = None,
    ) -> None:
        self.gradients: dict[str, Tensor] = {name: torch.zeros_like(matrix) for name, matrix in matrices.items()}
        self._parameters = {
            name: matrix if isinstance(matrix, torch.nn.Parameter) else torch.nn.Parameter(matrix, requires_grad=True)
            for name, matrix in matrices.items()
        }
        for name, parameter in self._parameters.items():
            parameter.grad = self.gradients[name]
        self._weight_decay = weight_decay
        self._gradient_clip = gradient_clip
        self._frozen_rows_V = frozen_rows_V
        self._anchor = anchor
        self.learning_rows = _range_of(~frozen_rows_V) if frozen_rows_V is not None else slice(None)
        options: dict[str, Any] = {"lr": 0.0, "betas": BETAS, "eps": EPSILON, "weight_decay": 0.0}
        self._adam = (
            _adam_8bit(self._parameters, options) if eight_bit else torch.optim.AdamW(self._parameters.values(), fused=True, **options)
        )

    def zero_gradients(self) -> None:
        """Empty the buffers for the next step."""
        for gradient_VD in self.gradients.values():
            gradient_VD.zero_()

    @torch.no_grad()
    def gradient_norm(self) -> float:
        """Norm of all gradients together, after those of rows that must not change were cleared."""
        if self._frozen_rows_V is not None:
            for name in EMBEDDINGS & self.gradients.keys():
                self.gradients[name][self._frozen_rows_V] = 0
        return math.hypot(*(float(torch.linalg.vector_norm(gradient_VD)) for gradient_VD in self.gradients.values()))

    @torch.no_grad()
    def step(self, learning_rate: float, *, norm: float) -> None:
        """One update from the buffers, whose norm is `norm`."""
        if self._gradient_clip and norm > self._gradient_clip:
            for gradient_VD in self.gradients.values():
                gradient_VD *= self._gradient_clip / norm
        if self._weight_decay:
            for name, parameter in self._parameters.items():
                if parameter.ndim < 2:
                    continue  # scales of norms and biases have no reason to be small
                reached_V = self.gradients[name].any(dim=1)
                parameter.data[reached_V] *= 1 - learning_rate * self._weight_decay
        if self._anchor is not None:
            for name in EMBEDDINGS & self._parameters.keys():
                self._anchor.pull(name, self._parameters[name].data, learning_rate)
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()

    def state(self) -> dict[str, Tensor]:
        """The moments by name ("input.exp_avg"), for a checkpoint."""
        return {
            f"{name}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
            for name, parameter in self._parameters.items()
            for key, value in self._adam.state.get(parameter, {}).items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over the moments of a checkpoint."""
        for name, parameter in self._parameters.items():
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            # bitsandbytes counts steps in a plain number.
            self._adam.state[parameter] = {
                key: int(value) if value.dtype == torch.int64 else value.to(parameter.device) for key, value in own.items()
            }


def _range_of(chosen_V: Tensor) -> slice:
    """The smallest range that holds all chosen rows."""
    rows = chosen_V.nonzero()
    return slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)


def _adam_8bit(parameters: Mapping[str, torch.nn.Parameter], options: Mapping[str, Any]) -> Any:
    from bitsandbytes.optim import AdamW8bit  # ty: ignore[import-not-found]

    return AdamW8bit(list(parameters.values()), **options)
