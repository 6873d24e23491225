"""Distilled rows make the model read new tokens as it read the old ones; everything else stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from lep_core.config import InitializeConfig
from lep_core.embeddings import distillation
from lep_core.embeddings.distillation import BEFORE, collect_snippets
from lep_core.embeddings.initialize import initialize, spelled_tokens
from lep_core.errors import ConfigError
from lep_core.models import load_model
from lep_core.tokenizer.mapping import build_mapping
from tests.embeddings.test_initialize import INPUT, OTHER, OUTPUT, Tiny
from tests.factories import load_weights, tiny_tokenizer


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "SNIPPETS_PER_STEP", 16)
    monkeypatch.setattr(distillation, "MEASURED_SNIPPETS", 64)


TEXTS = [" ".join(OTHER[start:] + OTHER[:start]) for start in range(len(OTHER))]


def distilled(base, new, output, *, texts=TEXTS, **options):
    output.mkdir()
    settings = {"method": "distillation", "input": ("t",), "device": "cpu", "distillation_steps": 20}
    config = InitializeConfig(base=str(base), tokenizer=str(new), output=str(output), **(settings | options))
    return initialize(config, output, texts=lambda: iter(texts))


@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16"}, {"tied": True}])
def test_states_come_nearer_and_only_new_rows_of_the_input_change(tiny: Tiny, tmp_path, options: dict) -> None:
    base, new = tiny(**options), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    report = distilled(base, new, tmp_path / "out")
    result = report.distillation
    assert result["loss_after"] < 0.7 * result["loss_before"]
    assert result["steps"] == 20
    assert result["trained_tokens"] + result["unseen_tokens"] == len(spelled_tokens(build_mapping(base, new)))
    assert report.uncovered_tokens == result["unseen_tokens"]
    mean = tmp_path / "mean"
    mean.mkdir()
    initialize(InitializeConfig(base=str(base), tokenizer=str(new), output=str(mean)), mean)
    before, after = load_weights(mean), load_weights(tmp_path / "out")
    changed = (before[INPUT] != after[INPUT]).any(dim=1).nonzero().flatten()
    assert len(changed) == result["trained_tokens"]
    assert set(changed.tolist()) <= set(spelled_tokens(build_mapping(base, new)).tolist())
    if OUTPUT in before:
        assert torch.equal(before[OUTPUT], after[OUTPUT])


def test_the_written_rows_lead_to_the_states_of_the_old_pieces(tiny: Tiny, tmp_path) -> None:
    """The loss that is reported, computed anew: one snippet at a time, without padding, through the whole model."""
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    report = distilled(base, new, tmp_path / "out")
    mapping = build_mapping(base, new)
    ids = spelled_tokens(mapping)
    snippets = collect_snippets(TEXTS, new, mapping, ids, cap=1)
    model, rows = load_model(base), load_weights(tmp_path / "out")[INPUT]
    old = model.get_input_embeddings().weight.detach()
    bos = [Tokenizer.from_file(str(base / "tokenizer.json")).token_to_id("<s>")]

    def states(*parts):
        with torch.no_grad():
            return model.model(inputs_embeds=torch.cat(parts)[None]).last_hidden_state[0]

    def difference(snippet, row):
        count = len(snippet.after) + 1
        before, after = old[bos + snippet.before], old[snippet.after]
        wanted = states(before, old[snippet.pieces], after)[-count:]
        return float((states(before, row[None], after)[-count:] - wanted).square().mean())

    trained = [difference(snippet, rows[ids[snippet.token]]) for snippet in snippets]
    averaged = [difference(snippet, old[snippet.pieces].mean(dim=0)) for snippet in snippets]
    assert sum(trained) < 0.75 * sum(averaged)
    assert report.distillation["loss_before"] == pytest.approx(sum(averaged) / len(averaged), rel=0.5)


def test_the_head_may_copy_distilled_rows_and_the_seed_decides_the_result(tiny: Tiny, tmp_path) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    for name in ("a", "b"):
        distilled(base, new, tmp_path / name, head="tie", distillation_steps=3)
    first, second = (load_weights(tmp_path / name) for name in ("a", "b"))
    assert torch.equal(first[INPUT], first[OUTPUT])
    assert torch.equal(first[INPUT], second[INPUT])


def test_snippets_hold_the_old_spelling_of_the_text_around_a_token(tiny: Tiny, tmp_path) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    mapping = build_mapping(base, new)
    ids = spelled_tokens(mapping)
    snippets = collect_snippets(TEXTS, new, mapping, ids, cap=2)
    assert max(np.bincount([snippet.token for snippet in snippets])) == 2
    old, new = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (base, new))
    for snippet in snippets[:20]:
        assert len(snippet.before) <= BEFORE
        spelled = old.decode([*snippet.before, *snippet.pieces, *snippet.after])
        assert spelled.strip("�") in " ".join(TEXTS)
        assert old.decode(snippet.pieces) == new.decode([int(ids[snippet.token])])


def test_a_text_without_the_new_tokens_leaves_the_mean(tiny: Tiny, tmp_path) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    report = distilled(base, new, tmp_path / "out", texts=["7"])
    assert report.distillation["steps"] == report.distillation["snippets"] == 0
    assert report.uncovered_tokens == report.averaged_tokens


@pytest.mark.parametrize("method", ["focus", "distillation"])
def test_methods_that_learn_from_text_ask_for_it(method: str) -> None:
    with pytest.raises(ConfigError, match=f"--method {method} learns from text") as caught:
        InitializeConfig(base="b", tokenizer="t", output="o", method=method)
    assert caught.value.field == "input"
