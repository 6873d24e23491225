"""Cross-entropy of hidden states against a head, without ever holding tokens x vocabulary logits (method section 3).

With a large vocabulary the logits are the largest tensor of a training step by far. Here they exist for a chunk of tokens at a
time, and the gradients of the chunk are taken while its probabilities are still at hand: three matrix products a chunk, nothing
recomputed, nothing kept. The head's gradient is added straight into one float32 buffer that lives as long as the training, so
gradient accumulation needs no second matrix of that size.

Shapes: N tokens, V vocabulary rows, D hidden size, C tokens of a chunk, R head rows of a slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
"""Target of a position that has no loss."""

_CHUNK_BYTES = {"cpu": 96 * 2**20, "cuda": 1024 * 2**20}
_BYTES_PER_LOGIT = 8  # logits and probabilities in float32, or logits, probabilities and their cast in bfloat16
_SLICE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class LossAndGradient:
    """`nll_sum`: summed negative log-likelihood in nats, unscaled, float64 scalar; `hidden_gradient_ND`: in the dtype of the hidden states."""

    nll_sum: Tensor
    hidden_gradient_ND: Tensor


def chunk_tokens(vocabulary: int, device: torch.device) -> int:
    """How many tokens' logits are held at a time."""
    return max(128, _CHUNK_BYTES.get(device.type, 2**28) // (_BYTES_PER_LOGIT * vocabulary) // 8 * 8)


@torch.no_grad()
def token_nll(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, *, chunk: int | None = None) -> Tensor:
    """Negative log-likelihood of each target in nats, float32 (float64 for float64 input), shape N; 0 where the target is `IGNORED`."""
    chunk = chunk or chunk_tokens(head_VD.shape[0], head_VD.device)
    nll_N = torch.zeros(len(targets_N), dtype=_wide(hidden_ND.dtype), device=hidden_ND.device)
    for start in range(0, len(targets_N), chunk):
        part = slice(start, start + chunk)
        log_probabilities_CV = _log_softmax(hidden_ND[part] @ head_VD.T)
        nll_N[part] = _picked_nll(log_probabilities_CV, targets_N[part])
    return nll_N


@torch.no_grad()
def loss_and_gradients(
    hidden_ND: Tensor,
    head_VD: Tensor,
    targets_N: Tensor,
    *,
    scale: float | Tensor,
    head_gradient_VD: Tensor,
    chunk: int | None = None,
) -> LossAndGradient:
    """The loss, its gradient in the hidden states, and its gradient in the head, added to `head_gradient_VD`.

    Args:
        hidden_ND, head_VD: in the dtype of the computation; the head has no bias.
        targets_N: int64 ids, or `IGNORED`.
        scale: factor of the loss that is differentiated: 1 / tokens of the whole optimizer step for a mean over the step.
        head_gradient_VD: float32 buffer (float64 for float64 input); the head's gradient is added to it.
    """
    vocabulary = head_VD.shape[0]
    chunk = min(chunk or chunk_tokens(vocabulary, head_VD.device), max(1, len(targets_N)))
    hidden_gradient_ND = torch.empty_like(hidden_ND)
    nll_sum = torch.zeros((), dtype=torch.float64, device=hidden_ND.device)
    logits_CV = hidden_ND.new_empty(chunk, vocabulary)  # one buffer for all chunks: fresh pages cost as much as the softmax
    for start in range(0, len(targets_N), chunk):
        part = slice(start, start + chunk)
        hidden_CD, targets_C = hidden_ND[part], targets_N[part]
        out_CV = logits_CV[: len(targets_C)]
        torch.mm(hidden_CD, head_VD.T, out=out_CV)
        error_CV = _log_softmax(out_CV)
        nll_sum += _picked_nll(error_CV, targets_C).sum(dtype=torch.float64)
        # Gradient of the loss in the logits: probability minus one at the target, times the scale, nothing where ignored. The row
        # factors go to the C x D side of both products, which is far smaller than C x V.
        kept_C = targets_C != IGNORED
        error_CV.exp_()
        error_CV[torch.arange(len(targets_C), device=targets_C.device), targets_C.clamp(min=0)] -= 1
        if error_CV.dtype != out_CV.dtype:
            error_CV = out_CV.copy_(error_CV)
        factor_C1 = (kept_C * scale)[:, None]
        torch.mm(error_CV, head_VD, out=hidden_gradient_ND[part])
        hidden_gradient_ND[part] *= factor_C1
        _add_product(head_gradient_VD, error_CV, (hidden_CD * factor_C1).to(hidden_CD.dtype))
    return LossAndGradient(nll_sum, hidden_gradient_ND)


def _add_product(sum_VD: Tensor, left_CV: Tensor, right_CD: Tensor) -> None:
    """sum += left.T @ right, with the sum over chunks in the buffer's own, wider dtype."""
    if left_CV.dtype == sum_VD.dtype:
        sum_VD.addmm_(left_CV.T, right_CD)
        return
    rows = max(1024, _SLICE_BYTES // (sum_VD.shape[1] * left_CV.element_size()))
    for start in range(0, sum_VD.shape[0], rows):
        product_RD = left_CV[:, start : start + rows].T @ right_CD
        sum_VD[start : start + rows] += product_RD


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _log_softmax(logits_CV: Tensor) -> Tensor:
    return torch.log_softmax(logits_CV, dim=-1, dtype=_wide(logits_CV.dtype))


def _picked_nll(log_probabilities_CV: Tensor, targets_C: Tensor) -> Tensor:
    picked_C = log_probabilities_CV.gather(1, targets_C.clamp(min=0)[:, None]).squeeze(1)
    return torch.where(targets_C == IGNORED, torch.zeros_like(picked_C), -picked_C)
