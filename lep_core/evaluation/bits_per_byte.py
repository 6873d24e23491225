"""Bits per byte: how well a model predicts text, comparable between vocabularies.

    bits_per_byte = total negative log-likelihood in nats / ln 2 / UTF-8 bytes of the text

What is scored, exactly:
- Every token of a document's text is scored once. The document is encoded without control tokens inside the text and is preceded
  by the token that the tokenizer itself puts first; if it puts none, by bos, else by eos. That opening token is context, it is not scored.
- A model with none of these cannot predict a document's first token: it is left out, and so are its bytes.
- Windows hold at most `block_size` input tokens and do not overlap but for one token: the last token of a window is the first context
  of the next, so each token is predicted from 1 to `block_size` tokens before it.
- The probability is the model's own over all rows of its head, padded rows included.

Units of the bootstrap are documents, and pieces of 1,024 characters of longer documents: a token belongs to the piece where it begins. So
units are the same text for every vocabulary, and a single long book has an interval too. Cutting the text into units changes no score.

Logits are computed for a bounded number of positions at a time (a prefill in pieces over the key-value cache), so a vocabulary of
128k rows needs no more memory than a small one. Shapes: B windows, L positions, V vocabulary rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from lep_core.errors import CorpusError, ModelError
from lep_core.evaluation.measurement import Measurement
from lep_core.evaluation.partial import Batches
from lep_core.inference.generator import Generator

TASK = "bits-per-byte"
UNIT_CHARACTERS = 1024
LOGIT_ELEMENTS = 16_000_000  # 64 MB of float32 logits at a time
_ENCODE_DOCUMENTS = 64


class _Window(NamedTuple):
    """Inputs and targets of one forward pass; `units` says to which unit each target belongs, -1 = not scored."""

    inputs: np.ndarray
    targets: np.ndarray
    units: np.ndarray


def measure_bits_per_byte(
    generator: Generator,
    texts: Sequence[str],
    *,
    block_size: int,
    batch_size: int,
    batches: Batches | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measurement | None:
    """Bits per byte of `texts`; None when `should_stop` became true.

    Raises:
        CorpusError: there is no text.
        ModelError: the model computes NaN.
    """
    batches = batches or Batches()
    texts = [text for text in texts if text]
    if not texts:
        raise CorpusError("there is no text to measure bits per byte on", "Give --input files with text")
    if generator.context is not None:
        block_size = min(block_size, generator.context)
    windows, unit_bytes = _windows(generator, texts, block_size)
    nats = np.zeros(len(unit_bytes))
    windows.sort(key=lambda window: len(window.inputs))
    for start in range(0, len(windows), batch_size):
        if should_stop():
            return None
        batch = windows[start : start + batch_size]
        read = ["bits", *([window.inputs.tolist(), int(window.targets[-1]), window.units.tolist()] for window in batch)]
        for unit, value in batches.of(read, lambda batch=batch: _sums(generator, batch)):
            nats[unit] += value
        progress(start + len(batch), len(windows))
    if not np.isfinite(nats).all():
        raise ModelError("the model computes NaN or infinite losses", "Check its weights, or compute in float32 with --precision float32")
    scored = [unit for unit, count in enumerate(unit_bytes) if count > 0]
    return Measurement(
        task=TASK,
        metric="bits_per_byte",
        numerators=[nats[unit] / math.log(2) for unit in scored],
        denominators=[unit_bytes[unit] for unit in scored],
        is_share=False,
    )


def _windows(generator: Generator, texts: Sequence[str], block_size: int) -> tuple[list[_Window], list[int]]:
    """Windows over all documents, and the scored bytes of each unit."""
    tokenizer = generator.tokenizer
    own = tokenizer("", add_special_tokens=True)["input_ids"]
    opening = own[:1] or generator.prompts.opening()
    windows: list[_Window] = []
    unit_bytes: list[int] = []
    for start in range(0, len(texts), _ENCODE_DOCUMENTS):
        part = list(texts[start : start + _ENCODE_DOCUMENTS])
        encoded = tokenizer(part, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False)
        for text, ids, offsets in zip(part, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            first_unit = len(unit_bytes)
            unit_bytes += [len(text[at : at + UNIT_CHARACTERS].encode("utf-8")) for at in range(0, len(text), UNIT_CHARACTERS)]
            units = np.array([first_unit + begin // UNIT_CHARACTERS for begin, _ in offsets], dtype=np.int64)
            units = np.minimum(units, len(unit_bytes) - 1)
            if not opening and len(ids):
                unit_bytes[first_unit] -= _first_token_bytes(generator, text, ids)
                units[0] = -1
            windows += _cut(np.array([*opening, *ids], dtype=np.int64), np.concatenate([np.full(len(opening), -1), units]), block_size)
    return windows, unit_bytes


def _cut(ids: np.ndarray, units: np.ndarray, block_size: int) -> list[_Window]:
    return [
        _Window(ids[at : at + block_size][: len(ids) - 1 - at], ids[at + 1 : at + 1 + block_size], units[at + 1 : at + 1 + block_size])
        for at in range(0, len(ids) - 1, block_size)
    ]


def _first_token_bytes(generator: Generator, text: str, ids: Sequence[int]) -> int:
    """Bytes of the text that the first token stands for: what the other tokens do not spell."""
    return max(0, len(text.encode("utf-8")) - sum(len(generator.pieces[token_id]) for token_id in ids[1:]))


def _sums(generator: Generator, batch: Sequence[_Window]) -> list[tuple[int, float]]:
    """Nats of each unit in each window of a batch."""
    found: list[tuple[int, float]] = []
    for window, losses in zip(batch, _losses(generator, batch), strict=True):
        units, places = np.unique(window.units, return_inverse=True)
        sums = np.bincount(places, weights=losses)
        found += [(int(unit), float(value)) for unit, value in zip(units, sums, strict=True) if unit >= 0]
    return found


@torch.inference_mode()
def _losses(generator: Generator, batch: Sequence[_Window]) -> list[np.ndarray]:
    """Negative log-likelihoods in nats of each window's targets.

    Windows are padded on the right: with causal attention nothing before the padding can see it, so no mask is needed.
    """
    longest = max(len(window.inputs) for window in batch)
    inputs_BL = torch.zeros((len(batch), longest), dtype=torch.long)
    targets_BL = torch.zeros((len(batch), longest), dtype=torch.long)
    for row, window in enumerate(batch):
        inputs_BL[row, : len(window.inputs)] = torch.from_numpy(window.inputs)
        targets_BL[row, : len(window.targets)] = torch.from_numpy(window.targets)
    inputs_BL, targets_BL = inputs_BL.to(generator.device), targets_BL.to(generator.device)
    step = max(1, LOGIT_ELEMENTS // (len(batch) * generator.rows))
    cache: Any = None
    losses: list[torch.Tensor] = []
    for at in range(0, longest, step):
        chunked = longest > step
        result = generator.model(input_ids=inputs_BL[:, at : at + step], past_key_values=cache, use_cache=chunked)
        cache = result.past_key_values if chunked else None
        logits_NV = result.logits.flatten(0, 1).float()
        loss_N = F.cross_entropy(logits_NV, targets_BL[:, at : at + step].flatten(), reduction="none")
        losses.append(loss_N.view(len(batch), -1))
    loss_BL = torch.cat(losses, dim=1).double().cpu().numpy()
    return [loss_BL[row, : len(window.inputs)] for row, window in enumerate(batch)]
