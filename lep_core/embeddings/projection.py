"""One map for the embedding rows of several models: principal components of the first one's rows, applied to all (no refit, no rotation).

A token that lies elsewhere in another model has therefore really moved in the plane that the first model spreads along most.

Shapes: T tokens on the map, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Plane:
    """A centre D and two orthonormal axes D x 2, in float64."""

    centre_D: Tensor
    axes_D2: Tensor

    def project(self, rows_TD: Tensor) -> Tensor:
        """Coordinates T x 2."""
        return (rows_TD.double() - self.centre_D) @ self.axes_D2


def principal_plane(rows_TD: Tensor) -> Plane:
    """The plane through the rows' mean along their two directions of largest variance; each axis points to its largest entry."""
    rows_TD = rows_TD.double()
    centre_D = rows_TD.mean(dim=0)
    centred_TD = rows_TD - centre_D
    # The smaller of the two Gram matrices has the same leading directions.
    if len(rows_TD) < rows_TD.shape[1]:
        _, vectors_TT = torch.linalg.eigh(centred_TD @ centred_TD.T)
        axes_D2 = centred_TD.T @ vectors_TT.flip(1)[:, :2]
    else:
        axes_D2 = torch.linalg.eigh(centred_TD.T @ centred_TD)[1].flip(1)[:, :2]
    axes_D2 = torch.nn.functional.pad(axes_D2, (0, 2 - axes_D2.shape[1]))
    axes_D2 = axes_D2 / torch.linalg.vector_norm(axes_D2, dim=0).clamp(min=1e-300)
    signs_2 = axes_D2.gather(0, axes_D2.abs().argmax(dim=0, keepdim=True)).sign()
    return Plane(centre_D, axes_D2 * torch.where(signs_2 == 0, torch.ones_like(signs_2), signs_2))
