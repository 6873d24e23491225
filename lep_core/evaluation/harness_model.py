"""Our own scorer and generator behind the interface that lm-evaluation-harness asks of a model.

So the harness measures exactly what LEP Studio loads everywhere else (safetensors only, checked, with its fingerprint), with the same
batches. Numbers equal those of the harness's own Hugging Face model, but for one thing: control strings such as `</s>` inside a
question stay text here, and become control tokens there.

Answers are greedy. They are computed in growing pieces, so that one that has reached a stop string costs no more steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lep_core.errors import ConfigError
from lep_core.evaluation.answering import answer_all
from lep_core.evaluation.log_likelihood import Request, encode_request, score_requests
from lep_core.evaluation.partial import Batches
from lep_core.inference.generator import Generator

# What the harness assumes of a model that names no context.
UNKNOWN_CONTEXT = 2048
ANSWER_TOKENS = 256
FIRST_PIECE_TOKENS = 16


class Stopped(Exception):
    """The user asked to stop while the harness was in the middle of a task."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How requests are computed."""

    batch_size: int
    batches: Batches | None = None
    should_stop: Callable[[], bool] = lambda: False
    progress: Callable[[int, int], None] = lambda done, total: None


def language_model(generator: Generator, options: Options) -> Any:
    """An `lm_eval.api.model.LM` over a loaded model."""
    from lm_eval.api.model import LM

    class Adapter(LM):
        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            encoded = [_encoded(generator, *map(_text, request.args)) for request in requests]
            return [(score.log_likelihood, score.is_greedy) for score in _scores(generator, encoded, options)]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            return rolling(generator, [_text(request.args[0]) for request in requests], options)

        def generate_until(self, requests: list[Any]) -> list[str]:
            return generate_until(generator, [request.args for request in requests], options)

    return Adapter()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(
            "harness", f"the task gives {value!r:.60} where a text belongs", "Mend doc_to_text and doc_to_target in its YAML file"
        )
    return value


def _encoded(generator: Generator, context: str, continuation: str) -> Request:
    """As `encode_request`, with the context's own tokens, as in the harness, where a token of the whole text goes across its end."""
    request = encode_request(generator, context, continuation)
    kept = context.rstrip()
    return request._replace(context=tuple(generator.prompts.encode_text(kept))) if kept else request


def rolling(generator: Generator, texts: Sequence[str], options: Options) -> list[float]:
    """Log-likelihood in nats of each whole text, in windows as the harness cuts them: the opening token is scored, too, where there is one."""
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    opening = generator.prompts.opening()
    if not opening:
        raise ConfigError("model", f"{generator.path.name} has no token to begin a text with", "Choose a model with a bos or eos token")
    requests, owners = [], []
    for index, text in enumerate(texts):
        windows = get_rolling_token_windows(
            token_list=generator.prompts.encode_text(text),
            prefix_token=opening[0],
            max_seq_len=generator.context or UNKNOWN_CONTEXT,
            context_len=1,
        )
        for context, continuation in map(make_disjoint_window, windows):
            requests.append(Request(tuple(context), tuple(continuation)))
            owners.append(index)
    sums = [0.0] * len(texts)
    for owner, score in zip(owners, _scores(generator, requests, options), strict=True):
        sums[owner] += score.log_likelihood
    return sums


@dataclass
class _Answer:
    """One answer in the making."""

    prompt: list[int]
    limit: int
    stops: tuple[str, ...]
    ids: list[int]
    text: str = ""
    ended: bool = False


def generate_until(generator: Generator, requests: Sequence[tuple[str, dict[str, Any]]], options: Options) -> list[str]:
    """The greedy answer to each (context, settings of the task), up to the first of its stop strings."""
    answers = [_begin(generator, context, settings) for context, settings in requests]
    piece = FIRST_PIECE_TOKENS
    while waiting := [answer for answer in answers if not answer.ended]:
        options.progress(len(answers) - len(waiting), len(answers))
        found = answer_all(
            generator,
            [[*answer.prompt, *answer.ids] for answer in waiting],
            [min(piece, answer.limit - len(answer.ids)) for answer in waiting],
            batch_size=options.batch_size,
            batches=options.batches,
            should_stop=options.should_stop,
        )
        if found is None:
            raise Stopped
        for answer, more in zip(waiting, found, strict=True):
            assert more is not None, "room was left for the answer"
            answer.ids += more.token_ids
            answer.text = generator.tokenizer.decode(answer.ids, skip_special_tokens=True)
            cut = min((at for stop in answer.stops if (at := answer.text.find(stop)) >= 0), default=None)
            answer.ended = cut is not None or more.stop_reason == "eos" or len(answer.ids) >= answer.limit
            if answer.ended:
                answer.text = answer.text[:cut]
        piece *= 2
    options.progress(len(answers), len(answers))
    return [answer.text for answer in answers]


def _begin(generator: Generator, context: str, settings: dict[str, Any]) -> _Answer:
    from lm_eval.models.utils import normalize_gen_kwargs

    wanted: dict[str, Any] = {**normalize_gen_kwargs(settings, ANSWER_TOKENS)}
    if wanted.get("do_sample") and wanted.get("temperature", 0.0) > 0:
        raise ConfigError("harness", "the task wants answers drawn at random (do_sample), these are greedy", "Choose another task")
    stops = wanted.get("until") or []
    limit, room = int(wanted["max_gen_toks"]), generator.context or UNKNOWN_CONTEXT
    if limit >= room:
        limit = room // 2
    prompt = generator.prompts.encode(prompt=context)[-(room - limit) :]
    return _Answer(prompt, limit, tuple(stop for stop in ([stops] if isinstance(stops, str) else stops) if stop), [])


def _scores(generator: Generator, requests: Sequence[Request], options: Options) -> list[Any]:
    scores = score_requests(
        generator,
        requests,
        batch_size=options.batch_size,
        batches=options.batches,
        should_stop=options.should_stop,
        progress=options.progress,
    )
    if scores is None:
        raise Stopped
    return scores
