"""Bits per byte on held-out text: the one measure of training that can be compared across vocabularies (method sections 3 and 6).

    bits per byte = total negative log-likelihood in nats / ln 2 / UTF-8 bytes of the text

Each document is scored on its own, behind the token that documents begin with (bos, else the eos that ends the one before), so its
first token counts; a model without either scores neither it nor its bytes. Documents longer than a block go on in windows whose first
token sees no context but one token. The eos behind a document is not part of the text and not scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from lep_core.progress import SILENT, Reporter
from lep_core.training.freeze import SplitModel
from lep_core.training.loss import IGNORED, token_nll
from lep_core.training.packing import Encoder
from lep_core.training.team import ALONE, Team


@dataclass(frozen=True, eq=False)
class Heldout:
    """Held-out text as windows of tokens, longest first; `text_bytes` is the UTF-8 length of the text that is scored."""

    windows: list[np.ndarray]
    text_bytes: int


def prepare_heldout(texts: Iterable[str], encoder: Encoder, *, block_size: int, budget_bytes: int) -> Heldout:
    """Encode documents until `budget_bytes` of text are taken; the last one is cut to fit."""
    windows: list[np.ndarray] = []
    taken = unscored = 0
    for text in texts:
        text = _first_bytes(text, budget_bytes - taken)
        if text:
            taken += len(text.encode("utf-8", "surrogatepass"))
            first = encoder.bos if encoder.bos is not None else encoder.eos
            ids = encoder.encode([text])[0]
            if first is None and ids:
                unscored += int(encoder.token_bytes_V[ids[0]])
            document = np.array(ids if first is None else [first, *ids], dtype=np.int64)
            windows.extend(document[start : start + block_size + 1] for start in range(0, max(1, len(document) - 1), block_size))
        if taken >= budget_bytes:
            break
    windows = [window for window in windows if len(window) > 1]
    return Heldout(sorted(windows, key=len, reverse=True), taken - unscored if windows else 0)


def bits_per_byte(
    split: SplitModel, heldout: Heldout, *, batch_tokens: int, team: Team = ALONE, reporter: Reporter = SILENT
) -> float | None:
    """Bits per byte of the model on the held-out text; None when there is none, or when the user stopped the measurement.

    The processes of a team take the batches in turn.
    """
    if not heldout.windows:
        return None
    total = torch.zeros((), dtype=torch.float64, device=split.device)
    batches = _batches(heldout.windows, batch_tokens)
    for first in range(0, len(batches), team.size):
        if team.any(reporter.should_stop()):
            return None
        own = first + team.rank
        # A sharded body computes in all processes at once: who has no batch left computes the last one again and does not count it.
        nll_sum = _nll_sum(split, batches[min(own, len(batches) - 1)])
        total += nll_sum if own < len(batches) else 0.0
    team.sum(total)
    return float(total) / math.log(2) / heldout.text_bytes


def _batches(windows: list[np.ndarray], batch_tokens: int) -> list[list[np.ndarray]]:
    batches, row = [], 0
    while row < len(windows):
        count = max(1, batch_tokens // len(windows[row]))
        batches.append(windows[row : row + count])
        row += count
    return batches


@torch.no_grad()
def _nll_sum(split: SplitModel, windows: list[np.ndarray]) -> float:
    length = len(windows[0]) - 1
    inputs = np.zeros((len(windows), length), dtype=np.int64)
    targets = np.full((len(windows), length), IGNORED, dtype=np.int64)
    for row, window in enumerate(windows):
        inputs[row, : len(window) - 1] = window[:-1]
        targets[row, : len(window) - 1] = window[1:]
    hidden_BLD = split.hidden(split.embed(torch.from_numpy(inputs).to(split.device)))
    nll_N = token_nll(hidden_BLD.flatten(0, 1), split.head_VD, torch.from_numpy(targets).to(split.device).flatten())
    return float(nll_N.sum(dtype=torch.float64))


def _first_bytes(text: str, limit: int) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return text if len(data) <= limit else data[:limit].decode("utf-8", "ignore")
