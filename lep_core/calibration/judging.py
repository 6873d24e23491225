"""A model that says whether an answer is good: the best share of the answers stays.

    yes-no        score = ln p(Yes | question about the answer) - ln p(No | the same question)
    likelihood    score = mean over the answer's tokens of ln p(token | prompt, tokens before it)

The judge reads the prompt in its own chat template (a base model continues it). Only the order of the scores counts, so a judge that
says Yes to everything still sorts. With `likelihood` any model can judge, also the one that is calibrated: answers on which it and the
teacher disagree most go first. A judge has its own taste and its own language skills: look at the answers that it left out before you
trust it.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import replace

from lep_core.calibration.answers import Pair, settings_key
from lep_core.calibration.filters import Judged
from lep_core.calibration.journal import Journal
from lep_core.evaluation.log_likelihood import Request, encode_plain, encode_request, score_requests
from lep_core.inference.generator import Generator
from lep_core.progress import SILENT, Reporter
from lep_core.tuning.conversations import Conversation
from lep_core.tuning.rendering import ChatRenderer, UnrenderableError

TEMPLATE = (
    "Here is a request and an answer to it.\n\nRequest:\n{prompt}\n\nAnswer:\n{answer}\n\n"
    "Is the answer correct, helpful and written in good language? Answer with Yes or No only."
)
YES_NO, LIKELIHOOD = "yes-no", "likelihood"
_WORDS = ("Yes", "No")


def score_pairs(
    judge: Generator,
    judged: Sequence[Judged],
    journal: Journal,
    *,
    method: str = YES_NO,
    template: str | None = None,
    batch_size: int,
    reporter: Reporter = SILENT,
) -> list[float | None] | None:
    """The judge's score of each pair that the rules left in, None for all others and for those that do not fit its context.

    Returns None when asked to stop; scores so far are in the journal.
    """
    settings = settings_key(judge, 0) + hashlib.sha256(f"{method}\0{template or TEMPLATE}".encode()).hexdigest()
    waiting = [index for index, one in enumerate(judged) if one.reason is None]
    keys = {index: _key(settings, judged[index]) for index in waiting}
    scores: list[float | None] = [None] * len(judged)
    for start in range(0, len(waiting), batch_size):
        part = waiting[start : start + batch_size]
        # A part is scored as a whole or not at all: its scores do not depend on where an earlier attempt was killed.
        if not all(keys[index] in journal for index in part):
            if reporter.should_stop():
                return None
            pairs = [judged[index].pair for index in part]
            found = _likelihoods(judge, pairs) if method == LIKELIHOOD else _preferences(judge, pairs, template or TEMPLATE)
            journal.append({"key": keys[index], "score": score} for index, score in zip(part, found, strict=True))
        for index in part:
            scores[index] = journal[keys[index]]["score"]
        reporter.progress(min(start + batch_size, len(waiting)), len(waiting), "answers")
    return scores


def keep_best(judged: Sequence[Judged], scores: Sequence[float | None], share: float) -> list[Judged]:
    """Mark all but the best `share` of the scored pairs as left out; pairs that could not be scored stay."""
    scored = [(score, -index) for index, score in enumerate(scores) if score is not None]
    kept = {-index for _, index in sorted(scored, reverse=True)[: max(1, round(share * len(scored)))]}
    return [
        one if score is None else replace(one, score=score, reason=None if index in kept else "judge")
        for index, (one, score) in enumerate(zip(judged, scores, strict=True))
    ]


def _preferences(judge: Generator, pairs: Sequence[Pair], template: str) -> list[float | None]:
    """How much likelier Yes is than No."""
    # After a chat template the answer begins at once, a plain text goes on with a space.
    options = [tuple(encode_plain(judge, word if judge.is_chat else f" {word}")) for word in _WORDS]
    scores: list[float | None] = []
    contexts = [_encoded(judge, _question(pair, template)) for pair in pairs]
    found = _log_likelihoods(judge, [Request(context, option) for context in contexts for option in options])
    for yes, no in zip(found[::2], found[1::2], strict=True):
        scores.append(None if yes is None or no is None else yes - no)
    return scores


def _likelihoods(judge: Generator, pairs: Sequence[Pair]) -> list[float | None]:
    """Mean log-likelihood of what would be learned: the answer's tokens, with the one that ends it where there is a chat template."""
    if judge.is_chat:
        renderer = ChatRenderer(judge.tokenizer, end_ids=sorted(judge.eos_ids), max_length=judge.context or sys.maxsize)
        requests = [_as_chat(renderer, pair) for pair in pairs]
    else:
        requests = [encode_request(judge, pair.prompt, f" {pair.answer}") for pair in pairs]
    found = _log_likelihoods(judge, [request for request in requests if request is not None])
    totals = iter(found)
    scores: list[float | None] = []
    for request in requests:
        total = None if request is None else next(totals)
        scores.append(None if request is None or total is None else total / len(request.continuation))
    return scores


def _as_chat(renderer: ChatRenderer, pair: Pair) -> Request | None:
    """The prompt and the answer as the judge's chat template writes them; None when it cannot, or when they do not fit its context."""
    messages = ({"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.answer})
    try:
        rows = renderer.render(Conversation(messages=messages, source=pair.source)).rows
    except UnrenderableError:
        return None
    if not rows:
        return None
    first = int(rows[0].learned_L.argmax())
    ids = rows[0].ids_L.tolist()
    return Request(tuple(ids[:first]), tuple(ids[first:]))


def _log_likelihoods(judge: Generator, requests: Sequence[Request]) -> list[float | None]:
    """In nats; None for what does not fit the context."""
    most = judge.context
    fitting = [index for index, one in enumerate(requests) if most is None or len(one.context) + len(one.continuation) <= most]
    found = score_requests(judge, [requests[index] for index in fitting], batch_size=max(1, len(fitting))) or []
    totals: list[float | None] = [None] * len(requests)
    for index, score in zip(fitting, found, strict=True):
        totals[index] = score.log_likelihood
    return totals


def _question(pair: Pair, template: str) -> str:
    values = {"prompt": pair.prompt, "answer": pair.answer}
    # In one pass, so that an answer which speaks of "{prompt}" stays as it is.
    return re.sub(r"\{(prompt|answer)\}", lambda match: values[match.group(1)], template)


def _encoded(judge: Generator, text: str) -> tuple[int, ...]:
    if judge.is_chat:
        return tuple(judge.prompts.encode(messages=[{"role": "user", "content": text}]))
    return tuple(judge.prompts.encode(prompt=text + "\n"))


def _key(settings: str, one: Judged) -> str:
    return hashlib.sha256(f"{settings}\0{one.pair.prompt}\0{one.pair.answer}".encode()).hexdigest()[:24]
