"""Initial rows against dense averages computed here, and the written model against its base."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer

from lep_core.config import InitializeConfig
from lep_core.embeddings import initialize as stage
from lep_core.embeddings.initialize import initialize, initialize_embeddings
from lep_core.errors import ModelError
from lep_core.models import EmbeddingPair, inspect_model, load_embeddings, load_model
from lep_core.tokenizer.mapping import build_mapping
from tests.factories import SENTENCES, load_weights, save_weights, tiny_tokenizer

Tiny = Callable[..., Path]
INPUT, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
# Learned from other words, so that some tokens are shared and some are not.
OTHER = (*SENTENCES[6:], "Солнечный берег реки, городские улицы и длинные письма.", "Читает, пишет, живёт, стоит, лежит.")


def run(base: Path, tokenizer: Path, output: Path, **options: object):
    output.mkdir()
    config = InitializeConfig(base=str(base), tokenizer=str(tokenizer), output=str(output), **options)
    return initialize(config, output)


def by_hand(old: torch.Tensor, pieces: list[int], decay: float) -> np.ndarray:
    weights = np.array([math.exp(-decay * k) for k in range(len(pieces))])
    return (weights / weights.sum()) @ old[pieces].double().numpy()


@pytest.mark.parametrize("family", ["byte-level", "sentencepiece"])
@pytest.mark.parametrize(("method", "decay"), [("mean", 0.0), ("weighted-mean", 1.0), ("weighted-mean", 0.3)])
def test_rows_are_weighted_means_of_their_pieces(tiny: Tiny, tmp_path: Path, family: str, method: str, decay: float) -> None:
    base, new = tiny(family=family), tiny_tokenizer(tmp_path / "new", family=family, vocab_size=430, texts=OTHER)
    mapping = build_mapping(base, new)
    pair = load_embeddings(inspect_model(base))
    result, counts = initialize_embeddings(pair, mapping, method=method, decay=decay)
    averaged = np.setdiff1d(np.arange(mapping.new_size), np.concatenate([mapping.shared_new_ids, mapping.special_new_ids]))
    assert len(averaged) == counts.averaged_tokens + counts.missing_tokens > 10
    for old, rows in ((pair.input_VD, result.input_VD), (pair.output_VD, result.output_VD)):
        for token in averaged:
            np.testing.assert_allclose(rows[token].double().numpy(), by_hand(old, mapping.pieces_of(token), decay), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16"}, {"family": "sentencepiece", "padded": 7}, {"tied": True}])
def test_shared_and_special_rows_are_bit_identical(tiny: Tiny, tmp_path: Path, options: dict) -> None:
    base = tiny(**options)
    new = tiny_tokenizer(tmp_path / "new", family=options.get("family", "byte-level"), vocab_size=430, texts=OTHER)
    report = run(base, new, tmp_path / "out")
    before, after = load_weights(base), load_weights(tmp_path / "out")
    old_tokenizer, new_tokenizer = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (base, new))
    shared = {token: number for token, number in new_tokenizer.get_vocab().items() if old_tokenizer.token_to_id(token) is not None}
    assert len(shared) == report.shared_tokens + report.special_tokens
    for name in {INPUT, OUTPUT} & before.keys():
        for token, number in shared.items():
            assert torch.equal(after[name][number], before[name][old_tokenizer.token_to_id(token)])
        assert after[name].dtype == before[name].dtype
        assert len(after[name]) == report.vocab_size
    assert (OUTPUT in after) == (not options.get("tied", False))


def test_frozen_hash_is_the_same_before_and_after_and_the_model_opens(tiny: Tiny, tmp_path: Path) -> None:
    base = tiny(shards=3)
    report = run(base, tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER), tmp_path / "out")
    assert report.frozen_sha256_before == report.frozen_sha256_after
    assert report.vocab_size == report.shared_tokens + report.averaged_tokens + report.special_tokens + report.missing_tokens
    model = load_model(tmp_path / "out")
    assert model.config.vocab_size == report.vocab_size == model.get_input_embeddings().weight.shape[0]


def test_same_vocabulary_gives_the_same_model(tiny: Tiny, tmp_path: Path) -> None:
    base = tiny()
    report = run(base, base, tmp_path / "out")
    before, after = load_weights(base), load_weights(tmp_path / "out")
    assert report.averaged_tokens == 0
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_head_may_copy_the_input_rows(tiny: Tiny, tmp_path: Path) -> None:
    run(tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER), tmp_path / "out", head="tie")
    weights = load_weights(tmp_path / "out")
    assert torch.equal(weights[INPUT], weights[OUTPUT])
    assert not inspect_model(tmp_path / "out").tied, "training may still move the two apart"


def test_missing_and_zero_rows_take_the_mean_row_and_are_counted(tiny: Tiny, tmp_path: Path) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER, chat=True)
    mapping = build_mapping(base, new)
    pair = load_embeddings(inspect_model(base))
    target = next(n for n in range(mapping.new_size) if len(mapping.pieces_of(n)) > 1)
    old = pair.input_VD.clone()
    old[mapping.pieces_of(target)] = 0
    result, counts = initialize_embeddings(EmbeddingPair(input_VD=old, output_VD=None), mapping)
    zero_too = [
        n for n in range(mapping.new_size) if len(mapping.pieces_of(n)) > 1 and set(mapping.pieces_of(n)) <= set(mapping.pieces_of(target))
    ]
    assert counts.missing_tokens == 4 + len(zero_too), "four chat tokens that the base does not know, and tokens of zero rows"
    for number in (target, mapping.new_size - 1):
        torch.testing.assert_close(result.input_VD[number], old.double().mean(dim=0).float())


def test_padded_rows_of_the_base_play_no_part(tiny: Tiny, tmp_path: Path) -> None:
    base, new = tiny(padded=9), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER, chat=True)
    mapping = build_mapping(base, new)
    pair = load_embeddings(inspect_model(base))
    spoilt = pair.input_VD.clone()
    spoilt[mapping.old_size :] = 1e6
    first, second = (initialize_embeddings(EmbeddingPair(input_VD=rows, output_VD=None), mapping)[0] for rows in (pair.input_VD, spoilt))
    assert torch.equal(first.input_VD, second.input_VD)


def test_result_does_not_depend_on_block_size(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    mapping, pair = build_mapping(base, new), load_embeddings(inspect_model(base))
    whole = initialize_embeddings(pair, mapping)[0]
    monkeypatch.setattr(stage, "BLOCK_BYTES", 1)
    assert torch.equal(initialize_embeddings(pair, mapping)[0].input_VD, whole.input_VD)


def test_nan_in_the_base_is_refused_before_anything_is_written(tiny: Tiny, tmp_path: Path) -> None:
    base = tiny()
    weights = load_weights(base)
    weights[OUTPUT][5, 3] = torch.inf
    save_weights(base, weights)
    with pytest.raises(ModelError, match=r"lm_head.weight .* row 5"):
        run(base, base, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_focus_makes_rows_from_shared_tokens_and_counts_those_that_the_text_lacks(tiny: Tiny, tmp_path: Path) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    (tmp_path / "out").mkdir()
    config = InitializeConfig(base=str(base), tokenizer=str(new), output=str(tmp_path / "out"), method="focus", input=("t",))
    report = initialize(config, tmp_path / "out", texts=lambda: iter([*OTHER] * 3))
    mean = run(base, new, tmp_path / "mean")
    mapping = build_mapping(base, new)
    before, after, averaged = load_weights(base), load_weights(tmp_path / "out"), load_weights(tmp_path / "mean")
    assert 0 < report.uncovered_tokens < mean.averaged_tokens / 2
    assert report.averaged_tokens == mean.averaged_tokens
    same = (after[INPUT] == averaged[INPUT]).all(dim=1)
    assert same.sum() == report.shared_tokens + report.special_tokens + report.uncovered_tokens
    assert same[mapping.shared_new_ids].all()
    # Both matrices are combined with the same weights: they solve for the same shared rows.
    shared = before[INPUT][mapping.shared_old_ids].double()
    token = int((~same).nonzero()[0])
    nearest = torch.linalg.lstsq(shared.T, after[INPUT][token].double()).solution
    torch.testing.assert_close(shared.T @ nearest, after[INPUT][token].double(), atol=1e-6, rtol=1e-5)
    assert not torch.equal(after[OUTPUT][token], averaged[OUTPUT][token])


def test_replaced_rows_leave_all_others_and_fall_back_where_empty() -> None:
    mean = csr_matrix(np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1.0]]))
    found = csr_matrix(np.array([[0, 0, 2.0], [0, 0, 0]]))
    replaced, uncovered = stage.replaced_rows(mean, np.array([1, 2]), found)
    assert replaced.toarray().tolist() == [[1, 0, 0], [0, 0, 2], [0, 0.5, 0.5], [0, 0, 1]]
    assert uncovered == 1


def test_space_penalty_weakens_pieces_of_white_space(tiny: Tiny, tmp_path: Path) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=("a  b   c    d" * 50, *OTHER))
    mapping = build_mapping(base, new)
    pair = load_embeddings(inspect_model(base))
    plain, penalised = (initialize_embeddings(pair, mapping, space_penalty=factor)[0].input_VD for factor in (1.0, 0.1))
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    changed = (plain != penalised).any(dim=1).nonzero().flatten().tolist()
    assert changed
    for token in changed:
        pieces = mapping.pieces_of(token)
        weights = np.array([0.1 if not tokenizer.decode([piece]).strip() else 1.0 for piece in pieces])
        expected = (weights / weights.sum()) @ pair.input_VD[pieces].double().numpy()
        np.testing.assert_allclose(penalised[token].double().numpy(), expected, rtol=1e-5, atol=1e-6)
