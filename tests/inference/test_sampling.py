"""Sampling keeps to its settings; text is made of whole characters."""

from __future__ import annotations

import pytest
import torch

from lep_core.errors import ConfigError
from lep_core.inference.detokenize import StreamDecoder, decode
from lep_core.inference.sampling import GenerationSettings, Sampler, filtered_probabilities

LOGITS = torch.tensor([2.0, 1.0, 0.5, -1.0, 3.0])


def reference_probabilities(settings: GenerationSettings) -> torch.Tensor:
    from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = TemperatureLogitsWarper(settings.temperature)(None, LOGITS[None])
    if settings.top_k:
        scores = TopKLogitsWarper(settings.top_k)(None, scores)
    return torch.softmax(TopPLogitsWarper(settings.top_p)(None, scores)[0], dim=-1)


@pytest.mark.parametrize("top_k", [0, 1, 3, 99])
@pytest.mark.parametrize("top_p", [0.01, 0.6, 0.9, 1.0])
def test_probabilities_equal_those_of_transformers(top_k, top_p):
    settings = GenerationSettings(temperature=0.7, top_k=top_k, top_p=top_p)
    torch.testing.assert_close(filtered_probabilities(LOGITS, settings), reference_probabilities(settings))


def test_a_tiny_temperature_or_a_top_p_of_zero_leaves_the_likeliest_token():
    for settings in (GenerationSettings(temperature=1e-30), GenerationSettings(temperature=1.0, top_p=0.0)):
        assert filtered_probabilities(LOGITS, settings).tolist() == [0, 0, 0, 0, 1]


def test_the_repetition_penalty_equals_that_of_transformers():
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    prompt = [4, 3]
    sampler = Sampler(GenerationSettings(repetition_penalty=5.0), prompt_ids=prompt, rows=5, device=torch.device("cpu"))
    expected = int(RepetitionPenaltyLogitsProcessor(5.0)(torch.tensor([prompt]), LOGITS[None])[0].argmax())
    assert sampler.choose(LOGITS, None) == expected == 0
    assert sampler.choose(LOGITS, None) == 1  # token 0 now counts as repeated


@pytest.mark.parametrize("values", [{"temperature": float("nan")}, {"top_p": 2}, {"max_new_tokens": 0}, {"no_such": 1}, {"top_k": "many"}])
def test_impossible_settings_are_refused_by_name(values):
    with pytest.raises(ConfigError) as caught:
        GenerationSettings.from_mapping(values)
    assert caught.value.field in values


PIECES = [b"a", "ж".encode()[:1], "ж".encode()[1:], "😀".encode()[:3], "😀".encode()[3:], b" b", b""]


def test_half_a_character_waits_for_its_other_half():
    decoder = StreamDecoder(PIECES)
    assert [decoder.push(token) for token in (0, 1, 2, 3, 4, 6, 99)] == ["a", "", "ж", "", "😀", "", ""]
    assert decoder.flush() == ""


def test_bytes_that_never_become_a_character_are_shown_as_one_mark():
    assert decode(PIECES, [1, 0]) == "\ufffda"
    assert decode(PIECES, [0, 3]) == "a\ufffd"


def test_only_the_first_space_of_an_answer_is_the_tokenizers_own():
    assert decode(PIECES, [5, 5], strip_first_space=True) == "b b"
    assert decode(PIECES, [5, 5]) == " b b"
