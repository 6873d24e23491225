"""Cross-entropy of hidden states against a head, without ever holding tokens x vocabulary logits (method section 3).

With a large vocabulary the logits are the largest tensor of a training step by far. Here they exist for a chunk of tokens at a
time, and the gradients of the chunk are taken while its probabilities are still at hand: three matrix products a chunk, nothing
recomputed, nothing kept. Logits, probabilities and errors of a chunk are one and the same buffer where the dtype allows. The head's
gradient is added straight into one float32 buffer that lives as long as the training, so gradient accumulation needs no second matrix
of that size.

Shapes: N tokens, V vocabulary rows, D hidden size, C tokens of a chunk, R head rows of a slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
"""Target of a position that has no loss."""

# Below about 200 tokens the product with a large head is slower than its arithmetic; above, only the memory grows.
_CHUNK_BYTES = {"cpu": 128 * 2**20, "cuda": 1024 * 2**20}
_BYTES_PER_LOGIT = 6  # float32: one buffer of 4; bfloat16: logits of 2, which become errors, and log-probabilities of 4
_SLICE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class LossAndGradient:
    """`nll_sum`: summed negative log-likelihood in nats, unscaled, float64 scalar; `hidden_gradient_ND`: in the dtype of the hidden states."""

    nll_sum: Tensor
    hidden_gradient_ND: Tensor


def chunk_tokens(vocabulary: int, device: torch.device, *, tokens: int | None = None) -> int:
    """How many tokens' logits are held at a time; of a known number of `tokens` all chunks get about the same."""
    most = max(128, _CHUNK_BYTES.get(device.type, 2**28) // (_BYTES_PER_LOGIT * vocabulary) // 8 * 8)
    if not tokens:
        return most
    return min(most, -(-tokens // (8 * -(-tokens // most))) * 8)


@torch.no_grad()
def token_nll(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, *, chunk: int | None = None) -> Tensor:
    """Negative log-likelihood of each target in nats, float32 (float64 for float64 input), shape N; 0 where the target is `IGNORED`."""
    buffers = _Buffers.of(hidden_ND, head_VD, chunk)
    nll_N = torch.zeros(len(targets_N), dtype=_wide(hidden_ND.dtype), device=hidden_ND.device)
    for part in buffers.parts(len(targets_N)):
        log_probabilities_CV, _ = buffers.log_probabilities(hidden_ND[part], head_VD)
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
    rows: slice = slice(None),
    chunk: int | None = None,
) -> LossAndGradient:
    """The loss, its gradient in the hidden states, and its gradient in the head, added to `head_gradient_VD`.

    Args:
        hidden_ND, head_VD: in the dtype of the computation; the head has no bias.
        targets_N: int64 ids, or `IGNORED`.
        scale: factor of the loss that is differentiated: 1 / tokens of the whole optimizer step for a mean over the step.
        head_gradient_VD: float32 buffer (float64 for float64 input); the head's gradient is added to it.
        rows: the rows of the head whose gradient is wanted; those of the others is not computed.
    """
    hidden_gradient_ND = torch.empty_like(hidden_ND)
    nll_sum = torch.zeros((), dtype=torch.float64, device=hidden_ND.device)
    buffers = _Buffers.of(hidden_ND, head_VD, chunk)
    for part in buffers.parts(len(targets_N)):
        hidden_CD, targets_C = hidden_ND[part], targets_N[part]
        error_CV, narrow_CV = buffers.log_probabilities(hidden_CD, head_VD)
        nll_sum += _picked_nll(error_CV, targets_C).sum(dtype=torch.float64)
        # Gradient of the loss in the logits: probability minus one at the target, times the scale, nothing where ignored. The row
        # factors go to the C x D side of both products, which is far smaller than C x V.
        kept_C = targets_C != IGNORED
        error_CV.exp_()
        error_CV[torch.arange(len(targets_C), device=targets_C.device), targets_C.clamp(min=0)] -= 1
        if narrow_CV is not error_CV:
            error_CV = narrow_CV.copy_(error_CV)
        factor_C1 = (kept_C * scale)[:, None]
        torch.mm(error_CV, head_VD, out=hidden_gradient_ND[part])
        hidden_gradient_ND[part] *= factor_C1
        _add_product(head_gradient_VD[rows], error_CV[:, rows], (hidden_CD * factor_C1).to(hidden_CD.dtype))
    return LossAndGradient(nll_sum, hidden_gradient_ND)


@dataclass(frozen=True)
class _Buffers:
    """Memory for the logits of one chunk, used by all chunks: fresh pages cost more than the softmax.

    `narrow_CV` is in the dtype of the computation, `wide_CV` in that of the softmax; they are one where these agree.
    """

    narrow_CV: Tensor
    wide_CV: Tensor

    @classmethod
    def of(cls, hidden_ND: Tensor, head_VD: Tensor, chunk: int | None) -> _Buffers:
        vocabulary, tokens = head_VD.shape[0], max(1, len(hidden_ND))
        chunk = min(chunk or chunk_tokens(vocabulary, head_VD.device, tokens=tokens), tokens)
        narrow_CV = hidden_ND.new_empty(chunk, vocabulary)
        wide = _wide(narrow_CV.dtype)
        return cls(narrow_CV, narrow_CV if wide == narrow_CV.dtype else torch.empty_like(narrow_CV, dtype=wide))

    def parts(self, tokens: int) -> list[slice]:
        chunk = len(self.narrow_CV)
        return [slice(start, min(start + chunk, tokens)) for start in range(0, tokens, chunk)]

    def log_probabilities(self, hidden_CD: Tensor, head_VD: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities, and room of their shape in the dtype of the computation."""
        narrow_CV, wide_CV = self.narrow_CV[: len(hidden_CD)], self.wide_CV[: len(hidden_CD)]
        torch.mm(hidden_CD, head_VD.T, out=narrow_CV)
        if wide_CV.dtype == narrow_CV.dtype:
            return torch.log_softmax(narrow_CV, dim=-1, out=narrow_CV), narrow_CV
        return torch.log_softmax(narrow_CV, dim=-1, dtype=wide_CV.dtype, out=wide_CV), narrow_CV


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


def _picked_nll(log_probabilities_CV: Tensor, targets_C: Tensor) -> Tensor:
    picked_C = log_probabilities_CV.gather(1, targets_C.clamp(min=0)[:, None]).squeeze(1)
    return torch.where(targets_C == IGNORED, torch.zeros_like(picked_C), -picked_C)
