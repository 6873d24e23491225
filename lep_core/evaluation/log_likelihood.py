"""How likely a model finds given continuations: the ground of minimal pairs and multiple choice.

    log_likelihood = sum over the continuation's tokens of ln p(token | context, tokens before it)

Text is cut into tokens as a whole, and what follows the context's own tokens is the continuation; white space at the end of the
context belongs to the continuation, because most vocabularies keep it in front of a word (the convention of
lm-evaluation-harness, so that scores agree with it). Without a context the model's opening token (bos, else eos) stands there.

Requests that read the same tokens share one row of a batch: the letters of a multiple choice cost one forward pass, not four.
Rows of similar length share a batch, padded on the right, where causal attention cannot see it. Shapes: B rows, L positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from lep_core.errors import ConfigError, ModelError
from lep_core.inference.generator import Generator

LOGIT_ELEMENTS = 16_000_000  # 64 MB of float32 logits at a time


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
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Score] | None:
    """Scores in the order of the requests; None when `should_stop` became true.

    Raises:
        ModelError: the model computes NaN.
        ConfigError: a continuation alone is longer than the context.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    cut = [_fitted(generator, request) for request in requests]
    for index, (context, continuation) in enumerate(cut):
        rows.setdefault((*context, *continuation[:-1]), []).append(index)
    found: list[Score | None] = [None] * len(requests)
    waiting = sorted(rows, key=lambda row: (len(row), row))
    done = 0
    while waiting:
        if should_stop():
            return None
        batch = _next_batch(waiting, rows, cut, batch_size=batch_size, vocabulary=generator.rows)
        first = min(len(cut[index].context) - 1 for row in batch for index in rows[row])
        for row, log_probabilities_LV in zip(batch, _log_probabilities(generator, batch, first), strict=True):
            for index in rows[row]:
                context, continuation = cut[index]
                found[index] = _score(
                    log_probabilities_LV[len(context) - 1 - first :], continuation, truncated=len(context) < len(requests[index].context)
                )
            done += len(rows[row])
        progress(done, len(requests))
    scores = [score for score in found if score is not None]
    if not all(score.log_likelihood == score.log_likelihood for score in scores):
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
        raise ConfigError(
            "items", f"a continuation has {len(continuation)} tokens, the context of {generator.path.name} holds {most}", "Leave it out"
        )
    return Request(context[-room:], continuation)


def _next_batch(
    waiting: list[tuple[int, ...]],
    rows: dict[tuple[int, ...], list[int]],
    requests: Sequence[Request],
    *,
    batch_size: int,
    vocabulary: int,
) -> list[tuple[int, ...]]:
    """Take the longest rows from `waiting`, as many as the limits on rows and logits allow, at least one."""
    batch: list[tuple[int, ...]] = []
    longest, first = 0, None
    while waiting and len(batch) < batch_size:
        row = waiting[-1]
        begin = min(len(requests[index].context) - 1 for index in rows[row])
        first = begin if first is None else min(first, begin)
        longest = max(longest, len(row))
        if batch and (len(batch) + 1) * (longest - first) * vocabulary > LOGIT_ELEMENTS:
            break
        batch.append(waiting.pop())
    return batch


@torch.inference_mode()
def _log_probabilities(generator: Generator, batch: Sequence[Sequence[int]], first: int) -> torch.Tensor:
    """Log-probabilities of the next token at the positions from `first` on, B x (L - first) x V, float32."""
    longest = max(map(len, batch))
    ids_BL = torch.zeros((len(batch), longest), dtype=torch.long)
    for row, ids in enumerate(batch):
        ids_BL[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
    logits_BLV = generator.model(input_ids=ids_BL.to(generator.device), use_cache=False, logits_to_keep=longest - first).logits
    return torch.log_softmax(logits_BLV.float(), dim=-1)


def _score(log_probabilities_LV: torch.Tensor, continuation: Sequence[int], *, truncated: bool) -> Score:
    targets_L = torch.tensor(continuation, dtype=torch.long, device=log_probabilities_LV.device)
    scored_LV = log_probabilities_LV[: len(continuation)]
    picked_L = scored_LV.gather(1, targets_L[:, None]).squeeze(1)
    return Score(float(picked_L.double().sum()), bool((scored_LV.argmax(dim=-1) == targets_L).all()), truncated)
