"""AdamW over rows: what received no gradient is not decayed, and what never received one does not move (method section 3).

Plain AdamW decays every row at every step; at 0.1 over 50,000 steps rows of tokens that never occur shrink to 0.6 of their length. Here
decay touches a row only in a step in which the row has a gradient. A row that once had a gradient keeps moving for some steps on
its momentum, as in any Adam; a row that never had one stays bit-equal. The head has a gradient in every row at every step.

Shapes: V vocabulary rows, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

BETAS = (0.9, 0.95)
EPSILON = 1e-8


class RowAdamW:
    """Gradient buffers, clipping and updates of the matrices that learn.

    Args:
        matrices: float32 masters by name ("input", "output"), updated in place.
        frozen_rows_V: bool, rows that must not change; None = all rows learn.
    """

    def __init__(
        self, matrices: Mapping[str, Tensor], *, weight_decay: float, gradient_clip: float, frozen_rows_V: Tensor | None = None
    ) -> None:
        self.gradients: dict[str, Tensor] = {name: torch.zeros_like(matrix) for name, matrix in matrices.items()}
        self._parameters = {name: torch.nn.Parameter(matrix, requires_grad=True) for name, matrix in matrices.items()}
        for name, parameter in self._parameters.items():
            parameter.grad = self.gradients[name]
        self._weight_decay = weight_decay
        self._gradient_clip = gradient_clip
        self._frozen_rows_V = frozen_rows_V
        self._adam = torch.optim.AdamW(self._parameters.values(), lr=0.0, betas=BETAS, eps=EPSILON, weight_decay=0.0, fused=True)

    def zero_gradients(self) -> None:
        """Empty the buffers for the next step."""
        for gradient_VD in self.gradients.values():
            gradient_VD.zero_()

    @torch.no_grad()
    def gradient_norm(self) -> float:
        """Norm of all gradients together, after those of rows that must not change were cleared."""
        if self._frozen_rows_V is not None:
            for gradient_VD in self.gradients.values():
                gradient_VD[self._frozen_rows_V] = 0
        return math.hypot(*(float(torch.linalg.vector_norm(gradient_VD)) for gradient_VD in self.gradients.values()))

    @torch.no_grad()
    def step(self, learning_rate: float, *, norm: float) -> None:
        """One update from the buffers, whose norm is `norm`."""
        if self._gradient_clip and norm > self._gradient_clip:
            for gradient_VD in self.gradients.values():
                gradient_VD *= self._gradient_clip / norm
        if self._weight_decay:
            for name, parameter in self._parameters.items():
                reached_V = self.gradients[name].any(dim=1)
                parameter.data[reached_V] *= 1 - learning_rate * self._weight_decay
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()

    def state(self) -> dict[str, Tensor]:
        """The moments by name ("input.exp_avg"), for a checkpoint."""
        return {
            f"{name}.{key}": value
            for name, parameter in self._parameters.items()
            for key, value in self._adam.state.get(parameter, {}).items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over the moments of a checkpoint."""
        for name, parameter in self._parameters.items():
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            self._adam.state[parameter] = {key: value.to(parameter.device) for key, value in own.items()}
