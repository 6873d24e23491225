"""Orthogonal matching pursuit against a plain loop, and exact recovery of what can be written with few rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lep_core.config import InitializeConfig
from lep_core.embeddings.omp import matching_pursuit
from lep_core.errors import ConfigError
from lep_core.tokenizer.mapping import build_mapping
from tests.embeddings.test_initialize import INPUT, OTHER, OUTPUT, Tiny, run
from tests.factories import load_weights, save_weights, tiny_tokenizer


def plain_pursuit(target: np.ndarray, atoms: np.ndarray, count: int) -> tuple[list[int], np.ndarray]:
    chosen, residual, weights = [], target, np.empty(0)
    for _ in range(count):
        nearness = abs(atoms @ residual) / np.linalg.norm(atoms, axis=1)
        nearness[chosen] = -1
        chosen.append(int(nearness.argmax()))
        weights = np.linalg.lstsq(atoms[chosen].T, target, rcond=None)[0]
        residual = target - weights @ atoms[chosen]
    return chosen, weights


def test_atoms_and_coefficients_are_those_of_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    atoms, targets = torch.randn(50, 20, generator=generator), torch.randn(9, 20, generator=generator)
    chosen, weights = matching_pursuit(targets, atoms, sparsity=5)
    for row, target in enumerate(targets.double().numpy()):
        expected, expected_weights = plain_pursuit(target, atoms.double().numpy(), 5)
        assert chosen[row].tolist() == expected
        np.testing.assert_allclose(weights[row], expected_weights, atol=1e-5)


def test_equal_atoms_and_exact_targets_are_solved() -> None:
    atoms = torch.eye(4).repeat(2, 1)
    chosen, weights = matching_pursuit(torch.tensor([[0.0, 3.0, 0.0, 0.0]]), atoms, sparsity=3)
    assert weights.isfinite().all()
    torch.testing.assert_close((weights[0] @ atoms[chosen[0]].double()).float(), torch.tensor([0.0, 3.0, 0.0, 0.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("tied_donor", [False, True])
def test_rows_that_the_donor_writes_with_few_shared_rows_are_recovered(tiny: Tiny, tmp_path, tied_donor: bool) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    donor = tiny(tokenizer=new, hidden=64, seed=5, tied=tied_donor)
    mapping = build_mapping(base, new)
    shared_new, shared_old = mapping.shared_new_ids, mapping.shared_old_ids
    spelled = np.setdiff1d(np.arange(mapping.new_size), np.concatenate([shared_new, mapping.special_new_ids]))
    weights = load_weights(donor)
    for name in {INPUT, OUTPUT} & weights.keys():
        weights[name][spelled] = 0.75 * weights[name][shared_new[20]] - 2 * weights[name][shared_new[7]]
    save_weights(donor, weights)
    report = run(base, new, tmp_path / "out", method="omp", donor=str(donor), sparsity=3)
    before, after = load_weights(base), load_weights(tmp_path / "out")
    for name in (INPUT, OUTPUT):
        expected = 0.75 * before[name][shared_old[20]] - 2 * before[name][shared_old[7]]
        torch.testing.assert_close(after[name][spelled], expected.expand(len(spelled), -1), atol=1e-4, rtol=1e-4)
        assert torch.equal(after[name][shared_new], before[name][shared_old])
    assert report.uncovered_tokens == 0


def test_tokens_that_the_donor_lacks_keep_the_mean_and_are_counted(tiny: Tiny, tmp_path) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    donor = tiny(tokenizer=tiny_tokenizer(tmp_path / "smaller", vocab_size=300, texts=OTHER), seed=2)
    report = run(base, new, tmp_path / "out", method="omp", donor=str(donor))
    mean = run(base, new, tmp_path / "mean")
    assert 0 < report.uncovered_tokens < mean.averaged_tokens
    after, averaged = (load_weights(tmp_path / name)[INPUT] for name in ("out", "mean"))
    assert (after == averaged).all(dim=1).sum() == report.shared_tokens + report.special_tokens + report.uncovered_tokens


def test_a_donor_without_the_new_tokens_is_refused(tiny: Tiny, tmp_path) -> None:
    base, new = tiny(), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    with pytest.raises(ConfigError, match="none of the new tokens"):
        run(base, new, tmp_path / "out", method="omp", donor=str(base))
    with pytest.raises(ConfigError, match="Give --donor"):
        InitializeConfig(base="b", tokenizer="t", output="o", method="omp")
