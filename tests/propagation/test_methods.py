"""The family of methods on matrices: the formula, its limits, and what training left untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lep_core.config import METHODS
from lep_core.propagation import ridge
from lep_core.propagation.linear_system import gram
from lep_core.propagation.propagate import FAMILY, fit_warnings, propagate_matrix
from lep_core.propagation.side import FitSettings, Side
from lep_core.tokenizer.mapping import VocabularyMapping, build_mapping
from tests.factories import SENTENCES, tiny_tokenizer
from tests.propagation.reference import dense_transition, expected_map, expected_rows, fitted_pairs

CARRYING = ("residual-carry", "chat-vector")


@pytest.fixture(scope="module")
def mapping(tmp_path_factory: pytest.TempPathFactory) -> VocabularyMapping:
    folder = tmp_path_factory.mktemp("tokenizers")
    old = tiny_tokenizer(folder / "old", vocab_size=420)
    return build_mapping(old, tiny_tokenizer(folder / "new", vocab_size=450, texts=SENTENCES[6:]))


def matrices(
    mapping: VocabularyMapping, *, hidden: int = 24, dtype: torch.dtype = torch.float32, trained: float = 0.1, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Base, adapted and instruct matrix; the adapted one begins as averages and then moves by `trained`."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn((mapping.old_size, hidden), generator=generator).to(dtype)
    instruct = (base.float() + 0.2 * torch.randn(base.shape, generator=generator)).to(dtype)
    start = torch.from_numpy(dense_transition(mapping)) @ base.double()
    adapted = (start + trained * torch.randn(start.shape, generator=generator)).to(dtype)
    return {"base": base, "adapted": adapted, "instruct": instruct}


def propagated(method: str, mapping: VocabularyMapping, given: dict[str, torch.Tensor], **settings: object):
    return propagate_matrix(given["base"], given["adapted"], given["instruct"], mapping, method=method, settings=FitSettings(**settings))


def test_every_method_that_can_be_chosen_is_there() -> None:
    assert tuple(FAMILY) == METHODS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hidden", [24, 600], ids=["full rank", "deficient rank"])
def test_rows_equal_the_dense_formula(mapping: VocabularyMapping, method: str, hidden: int) -> None:
    if method == "procrustes" and hidden == 600:
        pytest.skip("undetermined directions are turned as little as possible, LAPACK turns them at will")
    given = matrices(mapping, hidden=hidden)
    rows, report = propagated(method, mapping, given, alpha=0.1, rank=5)
    expected = expected_rows(method, mapping, **given, rank=5)
    assert np.linalg.norm(rows.double().numpy() - expected) < 1e-6 * np.linalg.norm(expected)
    assert report.old_tokens <= mapping.old_size
    if report.rank is not None:
        a, _ = fitted_pairs(mapping, given["base"], given["instruct"], method)
        assert report.rank == np.linalg.matrix_rank(a, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_two_runs_are_bit_identical(mapping: VocabularyMapping, method: str) -> None:
    given = matrices(mapping)
    (first, one), (second, two) = (propagated(method, mapping, given) for _ in range(2))
    assert torch.equal(first, second)
    assert one == two


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_siblings_return_the_trained_rows(mapping: VocabularyMapping, method: str, dtype: torch.dtype) -> None:
    given = matrices(mapping, dtype=dtype)
    given["instruct"] = given["base"].clone()
    rows, _ = propagated(method, mapping, given)
    torch.testing.assert_close(
        rows.float(), given["adapted"][: mapping.new_size].float(), rtol=0 if method != "procrustes" else 1e-6, atol=1e-7
    )


@pytest.mark.parametrize("method", CARRYING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_untouched_tokens_get_exactly_the_instruct_row(mapping: VocabularyMapping, method: str, dtype: torch.dtype) -> None:
    given = matrices(mapping, dtype=dtype, trained=0.0)
    touched = np.unique(np.concatenate([mapping.shared_new_ids[::3], np.arange(300, mapping.new_size, 2)]))
    given["adapted"][touched] += 0.25
    rows, report = propagated(method, mapping, given)
    still = np.setdiff1d(np.arange(mapping.new_size), touched)
    shared = [n for n in range(len(mapping.shared_new_ids)) if mapping.shared_new_ids[n] in still]
    new_ids, old_ids = mapping.shared_new_ids[shared], mapping.shared_old_ids[shared]
    assert torch.equal(rows[new_ids], given["instruct"][old_ids])
    averaged = (torch.from_numpy(dense_transition(mapping)) @ given["instruct"].double()).to(dtype)[still]
    torch.testing.assert_close(rows[still], averaged, rtol=torch.finfo(dtype).eps, atol=1e-6)
    assert report.untouched_tokens == len(still)
    moved = [token for token in touched if mapping.pieces_of(token)]
    assert (rows[moved] != (torch.from_numpy(dense_transition(mapping)) @ given["instruct"].double()).to(dtype)[moved]).any(dim=1).all()


def test_rows_averaged_in_float32_count_as_untouched(mapping: VocabularyMapping) -> None:
    """Initialisation averages sixteen-bit rows in float32 and rounds twice; that is no training."""
    given = matrices(mapping, dtype=torch.bfloat16, trained=0.0)
    given["adapted"] = (torch.from_numpy(dense_transition(mapping)).float() @ given["base"].float()).to(torch.bfloat16)
    assert propagated("chat-vector", mapping, given)[1].untouched_tokens == mapping.new_size


@pytest.mark.parametrize("method", ["overlap", "conversion", "ridge", "residual-carry"])
def test_a_linear_change_is_carried_over_whole(mapping: VocabularyMapping, method: str) -> None:
    given = matrices(mapping)
    change = torch.eye(24).double() + 0.1 * torch.randn(24, 24, generator=torch.Generator().manual_seed(5)).double()
    given = {role: matrix.double() for role, matrix in given.items()}
    given["instruct"] = given["base"] @ change
    rows, report = propagated(method, mapping, given)
    torch.testing.assert_close(rows, given["adapted"][: mapping.new_size] @ change, rtol=0, atol=1e-5)
    assert report.heldout_residual < 1e-6


def test_procrustes_turns_and_never_stretches(mapping: VocabularyMapping) -> None:
    for hidden in (24, 600):
        given = matrices(mapping, hidden=hidden)
        rows, report = propagated("procrustes", mapping, given)
        lengths = given["adapted"][: mapping.new_size].norm(dim=1)
        torch.testing.assert_close(rows.norm(dim=1), lengths, rtol=1e-5, atol=1e-5)
        a, b = fitted_pairs(mapping, given["base"], given["instruct"], "conversion")
        best = np.linalg.norm(a @ expected_map("procrustes", a, b) - b) / np.linalg.norm(b)
        assert report.relative_residual == pytest.approx(best, rel=1e-6)
    # LAPACK's free choice among the best rotations lies farther away.
    assert report.distance_from_identity < np.linalg.norm(expected_map("procrustes", a, b) - np.eye(600)) / 600**0.5


def test_low_rank_corrects_in_as_many_directions_as_asked_for(mapping: VocabularyMapping) -> None:
    given = matrices(mapping)
    residuals = []
    for rank in (1, 6, 24):
        rows, report = propagated("low-rank", mapping, given, rank=rank)
        change = (rows - given["adapted"][: mapping.new_size]).double()
        assert torch.linalg.matrix_rank(change, rtol=1e-4) == rank == report.correction_rank
        residuals.append(report.relative_residual)
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] == pytest.approx(propagated("conversion", mapping, given)[1].relative_residual, rel=1e-9)
    assert propagated("low-rank", mapping, given)[1].correction_rank == 3


@pytest.mark.parametrize(("alpha", "like"), [(1e-10, "conversion"), (1e10, "swap")])
def test_ridge_lies_between_conversion_and_swap(mapping: VocabularyMapping, alpha: float, like: str) -> None:
    given = matrices(mapping)
    rows, report = propagated("ridge", mapping, given, alpha=alpha)
    torch.testing.assert_close(rows, propagated(like, mapping, given)[0], rtol=1e-5, atol=1e-5)
    assert report.alpha == alpha
    assert report.cross_validation == []


def test_cross_validation_is_that_of_dense_fits_on_the_other_folds(mapping: VocabularyMapping) -> None:
    given = matrices(mapping)
    side = Side(base_UD=given["base"], instruct_UD=given["instruct"], adapted_VD=given["adapted"], mapping=mapping)
    system, _ = side.spelled_system(FitSettings())
    table = ridge.cross_validate(system, gram(system), alphas=(1e-3, 0.3, 10.0))
    a, b = fitted_pairs(mapping, given["base"], given["instruct"], "conversion")
    unit = np.trace(a.T @ a) / 24
    for row in table:
        squared = 0.0
        for held in np.array_split(np.random.default_rng(0).permutation(len(a)), ridge.FOLDS):
            rest = np.setdiff1d(np.arange(len(a)), held)
            pull = row.alpha * unit * np.eye(24)
            w = np.linalg.solve(a[rest].T @ a[rest] + pull, a[rest].T @ b[rest] + pull)
            squared += np.square(a[held] @ w - b[held]).sum()
        assert row.residual == pytest.approx(np.sqrt(squared / np.square(b).sum()), rel=1e-9)


@pytest.mark.parametrize(("linear", "smaller"), [(True, True), (False, False)])
def test_chosen_alpha_is_small_for_a_linear_change_and_large_for_noise(mapping: VocabularyMapping, linear: bool, smaller: bool) -> None:
    given = matrices(mapping, hidden=96)
    if linear:
        given["instruct"] = given["base"] + given["base"] @ torch.randn(96, 96, generator=torch.Generator().manual_seed(1)) * 0.05
    _, report = propagated("ridge", mapping, given)
    assert (report.alpha < 0.01) == smaller
    assert report.alpha == min(report.cross_validation, key=lambda row: row.residual).alpha
    assert len(report.cross_validation) == len(ridge.ALPHAS)
    assert "cross-validation" in fit_warnings("ridge", "head", report)[-1]


def test_directions_without_tokens_are_warned_of(mapping: VocabularyMapping) -> None:
    _, report = propagated("conversion", mapping, matrices(mapping, hidden=600))
    (warning,) = fit_warnings("conversion", "head", report)
    assert f"determine only {report.rank} of 600 directions" in warning
    assert f"spelled by {report.old_tokens} old ones" in warning
    assert not fit_warnings("conversion", "head", propagated("conversion", mapping, matrices(mapping))[1])


def test_special_tokens_can_be_left_out_of_the_fit(mapping: VocabularyMapping) -> None:
    given = matrices(mapping)
    given["instruct"][mapping.special_old_ids] *= 100.0
    (with_special, one), (without, two) = (propagated("conversion", mapping, given, leave_out_special=choice) for choice in (False, True))
    assert one.tokens - two.tokens == len(mapping.special_new_ids)
    for rows, choice in ((with_special, False), (without, True)):
        a, b = fitted_pairs(mapping, given["base"], given["instruct"], "conversion", without_special=choice)
        expected = given["adapted"][: mapping.new_size].double().numpy() @ expected_map("conversion", a, b)
        np.testing.assert_allclose(rows.double().numpy(), expected, rtol=1e-4, atol=1e-4)
    assert two.relative_residual < 0.5 < one.relative_residual
