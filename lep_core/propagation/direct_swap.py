"""Direct swap: the instruct model takes the trained rows as they are, W = identity (method, section 4).

Nothing is fitted; the report says how far base and instruct rows of the shared tokens are apart.
Shapes: V new vocabulary, D hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor


def propagated(adapted_VD: Tensor, *, dtype: torch.dtype) -> Tensor:
    """The adapted model's rows in the instruct model's dtype."""
    return adapted_VD.to(dtype)
