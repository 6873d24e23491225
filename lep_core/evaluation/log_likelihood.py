"""How likely a model finds given continuations: the ground of minimal pairs and multiple choice.

    log_likelihood = sum over the continuation's tokens of ln p(token | context, tokens before it)

Text is cut into tokens as a whole, and what follows the context's own tokens is the continuation; white space at the end of the
context belongs to the continuation, because most vocabularies keep it in front of a word (the convention of
lm-evaluation-harness, so that scores agree with it). Without a context the model's opening token (bos, else eos) stands there.

Requests that read the same tokens share one row: the letters of a multiple choice cost one forward pass, not four. How rows share
forward passes is planned in `batching.py`, from the requests alone, so that what was computed before a stop serves afterwards.
Shapes: B rows, L positions, M places with a prediction, N scored tokens, V vocabulary.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from lep_core.errors import ConfigError, ModelError
from lep_core.evaluation.batching import PACKED_ROW, Batch, Forest, Row, forest, plan
from lep_core.evaluation.partial import Batches
from lep_core.inference.generator import Generator

SLICE_ELEMENTS = 1_000_000  # 4 MB of logits
PACKED_TOLERANCE = 0.02
# Of each row of a batch its requests: the length of the context, and the last token of the continuation, which no row holds.
Asked = list[list[tuple[int, int]]]


class Request(NamedTuple):
    """Token ids of a context (at least one) and of the continuation that is scored (at least one)."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


class Score(NamedTuple):
    """`log_likelihood` in nats; `is_greedy`: each token of the continuation is the model's first choice; `truncated`: the context lost its beginning."""

    log_likelihood: float
    is_greedy: bool
    truncated: bool


def encode_request(generator: Generator, context: str, continuation: str) -> Request:
    """Cut a plain context and its continuation into tokens.

    Raises:
        ConfigError: the continuation is empty, or there is no context and no token to begin with.
    """
    kept = context.rstrip()
    continuation, context = context[len(kept) :] + continuation, kept
    if context:
        whole, before = generator.prompts.encode_text(context + continuation), generator.prompts.encode_text(context)
    else:
        before = generator.prompts.opening()
        whole = [*before, *encode_plain(generator, continuation)]
    if not before:
        raise ConfigError(
            "model", f"{generator.path.name} has no token that may stand before a text", "Choose a model with a bos or eos token"
        )
    if len(whole) <= len(before):
        raise ConfigError("items", f"the continuation {continuation[:60]!r} adds no token to its context", "Give a longer continuation")
    return Request(tuple(whole[: len(before)]), tuple(whole[len(before) :]))


def encode_plain(generator: Generator, text: str) -> list[int]:
    """Token ids of a text without any opening token; control strings stay text."""
    own = generator.tokenizer("", add_special_tokens=True)["input_ids"]
    return generator.prompts.encode_text(text)[len(own) :]


def score_requests(
    generator: Generator,
    requests: Sequence[Request],
    *,
    batch_size: int,
    batches: Batches | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Score] | None:
    """Scores in the order of the requests; None when `should_stop` became true.

    Raises:
        ModelError: the model computes NaN.
        ConfigError: a continuation alone is longer than the context.
    """
    batches = batches or Batches()
    owners: dict[Row, list[int]] = {}
    cut = [_fitted(generator, request) for request in requests]
    for index, (context, continuation) in enumerate(cut):
        owners.setdefault((*context, *continuation[:-1]), []).append(index)
    starts = {row: min(len(cut[index].context) - 1 for index in indices) for row, indices in owners.items()}
    found: list[Score | None] = [None] * len(requests)
    reader = _Reader(generator)
    done = 0
    for batch in plan(starts, batch_size=batch_size, vocabulary=generator.rows, can_pack=can_pack(generator)):
        if should_stop():
            return None
        asked = [[(len(cut[index].context), cut[index].continuation[-1]) for index in owners[row]] for row in batch.rows]
        values = batches.of(["scores", batch, asked], lambda batch=batch, asked=asked: reader.scores(batch, asked))
        indices = [index for row in batch.rows for index in owners[row]]
        for index, (value, is_greedy) in zip(indices, values, strict=True):
            found[index] = Score(value, is_greedy, truncated=len(cut[index].context) < len(requests[index].context))
        done += len(indices)
        progress(done, len(requests))
    scores = [score for score in found if score is not None]
    if any(math.isnan(score.log_likelihood) for score in scores):
        raise ModelError("the model computes NaN", "Check its weights, or compute in float32 with --precision float32")
    return scores


def _fitted(generator: Generator, request: Request) -> Request:
    """The request with the beginning of its context cut off where it is longer than the model reads (its last token is never read)."""
    context, continuation = request
    most = generator.context
    if most is None or len(context) + len(continuation) - 1 <= most:
        return request
    room = most - len(continuation) + 1
    if room < 1:
        begin = generator.tokenizer.decode(continuation[:16])
        raise ConfigError(
            "items",
            f"the continuation {begin!r}... has {len(continuation)} tokens, the context of {generator.path.name} holds {most}",
            "Leave the item out",
        )
    return Request(context[-room:], continuation)


class _Reader:
    """Forward passes of one model over batches; holds the key-value cache of the last common beginning."""

    def __init__(self, generator: Generator) -> None:
        self._model, self._device = generator.model, generator.device
        self._prefix: list[int] = []
        self._cache: Any = None

    @torch.inference_mode()
    def scores(self, batch: Batch, asked: Asked) -> list[tuple[float, bool]]:
        """Log-likelihood in nats of each request of each row, and whether its tokens are the model's first choices."""
        wanted = [(index, length) for index, requests in enumerate(asked) for length, _ in requests]
        targets = [
            token for index, requests in enumerate(asked) for length, last in requests for token in (*batch.rows[index][length:], last)
        ]
        if batch.packed:
            trees = forest(batch.rows)
            nodes = [node for index, length in wanted for node in trees.paths[index][length - 1 :]]
            predicting = sorted(set(nodes))
            logits_MV = self.packed_logits(trees, predicting)
            place = {node: at for at, node in enumerate(predicting)}
            places = [place[node] for node in nodes]
        else:
            first = min(length - 1 for _, length in wanted)
            logits_BLV = self._padded_logits(batch, first)
            width, logits_MV = logits_BLV.shape[1], logits_BLV.flatten(0, 1)
            places = [index * width + at - first for index, length in wanted for at in range(length - 1, len(batch.rows[index]))]
        values, greedy = _picked(logits_MV, places, targets)
        found, start = [], 0
        for index, length in wanted:
            end = start + len(batch.rows[index]) - length + 1
            found.append((math.fsum(values[start:end]), all(greedy[start:end])))
            start = end
        return found

    @torch.inference_mode()
    def packed_logits(self, trees: Forest, predicting: Sequence[int]) -> torch.Tensor:
        """Logits at some nodes of packed rows, M x V."""
        count = len(trees.tokens)
        sees_LL = np.zeros((count, count), dtype=bool)
        for node, parent in enumerate(trees.parents):
            if parent >= 0:
                sees_LL[node] = sees_LL[parent]
            sees_LL[node, node] = True
        dtype = self._model.get_input_embeddings().weight.dtype
        mask_11LL = torch.full((1, 1, count, count), torch.finfo(dtype).min, dtype=dtype).masked_fill(torch.from_numpy(sees_LL), 0.0)
        result = self._model(
            input_ids=self._ids([trees.tokens]),
            position_ids=self._ids([trees.positions]),
            attention_mask=mask_11LL.to(self._device),
            use_cache=False,
            logits_to_keep=self._ids(predicting),
        )
        return result.logits[0]

    def _padded_logits(self, batch: Batch, first: int) -> torch.Tensor:
        """Logits from the position `first` on, B x (L - first) x V."""
        longest = max(map(len, batch.rows))
        ids_BL = torch.zeros((len(batch.rows), longest - batch.shared), dtype=torch.long)
        for index, row in enumerate(batch.rows):
            ids_BL[index, : len(row) - batch.shared] = torch.tensor(row[batch.shared :], dtype=torch.long)
        cache = self._cache_of(list(batch.rows[0][: batch.shared]), len(batch.rows)) if batch.shared else None
        return self._model(
            input_ids=ids_BL.to(self._device), past_key_values=cache, use_cache=cache is not None, logits_to_keep=longest - first
        ).logits

    def _cache_of(self, prefix: list[int], rows: int) -> Any:
        """A key-value cache that holds the prefix once for each row."""
        if prefix != self._prefix:
            self._cache = self._model(input_ids=self._ids([prefix]), use_cache=True, logits_to_keep=1).past_key_values
            self._prefix = prefix
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(rows)
        return cache

    def _ids(self, values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)


def can_pack(generator: Generator) -> bool:
    """Whether the model takes packed rows: a first try must give what the rows give alone.

    A model that knows no masks of this form, counts positions itself or carries a state from token to token fails it.
    """
    window = getattr(generator.config, "sliding_window", None)
    if window is not None and window < PACKED_ROW:
        return False
    rows = [(1, 2, 3, 4), (1, 2, 5, 6, 7), (8, 9)]
    if max(map(max, rows)) >= generator.rows:
        return False
    reader = _Reader(generator)
    asked = [[(1, 3)], [(1, 3)], [(1, 3)]]
    try:
        together = reader.scores(Batch(rows, packed=True), asked)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
        return False
    alone = [reader.scores(Batch([row]), [one])[0] for row, one in zip(rows, asked, strict=True)]
    # Half precision differs a little; a mask that is not heeded differs by far.
    return all(abs(one - other) < PACKED_TOLERANCE * max(1.0, abs(other)) for (one, _), (other, _) in zip(together, alone, strict=True))


def _picked(logits_MV: torch.Tensor, places: Sequence[int], targets: Sequence[int]) -> tuple[list[float], list[bool]]:
    """ln p of each target at its place, and whether it is the likeliest token; a few rows of logits at a time stay in the processor's cache."""
    values, greedy = [], []
    step = max(1, SLICE_ELEMENTS // logits_MV.shape[1])
    places_N = torch.tensor(places, dtype=torch.long, device=logits_MV.device)
    targets_N = torch.tensor(targets, dtype=torch.long, device=logits_MV.device)
    for start in range(0, len(places), step):
        slice_NV = logits_MV[places_N[start : start + step]].float()
        picked_N = slice_NV.gather(1, targets_N[start : start + step, None]).squeeze(1)
        most_N1 = slice_NV.amax(dim=1, keepdim=True)
        totals_N = slice_NV.sub_(most_N1).exp_().sum(dim=1).double().log() + most_N1.squeeze(1).double()
        values += (picked_N.double() - totals_N).tolist()
        greedy += (picked_N == most_N1.squeeze(1)).tolist()
    return values, greedy
