"""Log-likelihoods equal a plain forward pass of each text alone, and those of lm-evaluation-harness where it is installed."""

from __future__ import annotations

import pytest
import torch

from lep_core.errors import ConfigError
from lep_core.evaluation.log_likelihood import Request, encode_request, score_requests
from lep_core.inference.generator import Generator
from tests.factories import SENTENCES, tiny_model


@pytest.fixture(params=["byte-level", "sentencepiece"])
def generator(request, tmp_path):
    return Generator.load(tiny_model(tmp_path, family=request.param), device="cpu", threads=1)


def alone(generator, request):
    """ln p of the continuation, one text at a time, through transformers' own forward pass."""
    ids = [*request.context, *request.continuation]
    with torch.no_grad():
        logits = generator.model(torch.tensor([ids])).logits[0].double()
    table = torch.log_softmax(logits, dim=-1)
    positions = range(len(request.context) - 1, len(ids) - 1)
    greedy = all(int(table[at].argmax()) == ids[at + 1] for at in positions)
    return sum(float(table[at, ids[at + 1]]) for at in positions), greedy


def requests_of(generator):
    texts = [
        ("", SENTENCES[0]),
        ("", "a"),
        ("Where is the key?", " On the table"),
        ("Где ключ? ", "на столе"),
        ("Answer:", " A"),
        ("Answer:", " B"),
    ]
    return [encode_request(generator, context, continuation) for context, continuation in texts]


def test_batched_scores_equal_each_text_alone(generator):
    requests = requests_of(generator)
    for batch_size in (1, 4):
        scores = score_requests(generator, requests, batch_size=batch_size)
        for score, request in zip(scores, requests, strict=True):
            value, greedy = alone(generator, request)
            assert score.log_likelihood == pytest.approx(value, abs=1e-4)
            assert score.is_greedy == greedy
            assert not score.truncated


def test_few_logits_at_a_time_change_nothing(generator, monkeypatch):
    requests = requests_of(generator)
    before = score_requests(generator, requests, batch_size=8)
    monkeypatch.setattr("lep_core.evaluation.batching.LOGIT_ELEMENTS", 1)
    after = score_requests(generator, requests, batch_size=8)
    assert [score.log_likelihood for score in after] == pytest.approx([score.log_likelihood for score in before], abs=1e-5)


def test_options_that_read_the_same_tokens_share_one_row(generator, monkeypatch):
    requests = [Request((1, 5, 7), (token,)) for token in (8, 9, 10, 11)]
    seen = []
    forward = generator.model.forward

    def counted(*arguments, **options):
        seen.append(options["input_ids"].shape)
        return forward(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(generator.model, "forward", counted)
        patch.setattr("lep_core.evaluation.log_likelihood.can_pack", lambda generator: True)
        scores = score_requests(generator, requests, batch_size=8)
    assert seen == [(1, 3)]
    assert [score.log_likelihood for score in scores] == pytest.approx([alone(generator, request)[0] for request in requests], abs=1e-4)


def test_white_space_at_the_end_of_the_context_belongs_to_the_continuation(generator):
    assert encode_request(generator, "Where is ", "the key") == encode_request(generator, "Where is", " the key")


def test_a_context_that_is_too_long_loses_its_beginning(generator):
    long = Request((1, *[5] * (generator.context + 10)), (7, 8))
    [score] = score_requests(generator, [long], batch_size=2)
    assert score.truncated
    assert score.log_likelihood == pytest.approx(alone(generator, Request(long.context[-generator.context + 1 :], (7, 8)))[0], abs=1e-4)
    with pytest.raises(ConfigError, match=r"the continuation .* has \d+ tokens"):
        score_requests(generator, [Request((1,), (5,) * (generator.context + 2))], batch_size=2)


def test_a_stop_gives_nothing(generator):
    assert score_requests(generator, requests_of(generator), batch_size=1, should_stop=lambda: True) is None


def test_scores_equal_those_of_the_harness(generator):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    texts = [("", text) for text in SENTENCES] + [("Where is the key?", " On the table"), ("Где ключ? ", "на столе"), ("Answer:", " A")]
    requests = [encode_request(generator, context, continuation) for context, continuation in texts]
    ours = score_requests(generator, requests, batch_size=4)
    harness = HFLM(pretrained=str(generator.path), device="cpu", dtype="float32", batch_size=1)
    instances = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(texts)]
    theirs = harness.loglikelihood(instances, disable_tqdm=True)
    for score, (value, greedy) in zip(ours, theirs, strict=True):
        assert score.log_likelihood == pytest.approx(value, abs=1e-3)
        assert score.is_greedy == bool(greedy)
