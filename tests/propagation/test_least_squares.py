"""The streamed solver against an independent dense solution (numpy/scipy, float64)."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.sparse import csr_matrix

from lep_core.propagation import linear_system, report
from lep_core.propagation.least_squares import apply_map, solve, solve_rows
from lep_core.propagation.linear_system import LinearSystem, gram
from lep_core.propagation.report import Fit, least_squares_fit, sums_if_useful
from lep_core.propagation.side import FitSettings


def make_system(
    *, tokens: int, old: int, hidden: int, seed: int = 0, condition: float = 10.0, dtype: torch.dtype = torch.float64
) -> LinearSystem:
    """Rows of known conditioning; combinations are averages of one to four old rows."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((old, hidden)) * np.geomspace(1, 1 / condition, hidden)
    base = base @ np.linalg.qr(rng.standard_normal((hidden, hidden)))[0]
    instruct = base + 0.1 * rng.standard_normal((old, hidden)) * np.abs(base).mean()
    pieces = [rng.integers(0, old, rng.integers(1, 5)) for _ in range(tokens)]
    indptr = np.concatenate([[0], np.cumsum([len(p) for p in pieces])])
    weights = np.concatenate([np.full(len(p), 1 / len(p)) for p in pieces])
    combination = csr_matrix((weights, np.concatenate(pieces), indptr), shape=(tokens, old))
    return LinearSystem(
        combination_NU=combination, base_UD=torch.tensor(base, dtype=dtype), instruct_UD=torch.tensor(instruct, dtype=dtype)
    )


def dense(system: LinearSystem) -> tuple[np.ndarray, np.ndarray]:
    c = system.combination_NU.toarray()
    return c @ system.base_UD.double().numpy(), c @ system.instruct_UD.double().numpy()


def reference(system: LinearSystem, rcond: float = 1e-6) -> np.ndarray:
    a, b = dense(system)
    return scipy.linalg.lstsq(a, b, cond=rcond, lapack_driver="gelsd")[0]


def fitted(system: LinearSystem, rcond: float = 1e-6) -> Fit:
    return least_squares_fit(system, np.arange(system.tokens), str, FitSettings(rcond=rcond))


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(("condition", "tolerance"), [(10, 1e-12), (1e3, 1e-11), (1e5, 1e-9)])
@pytest.mark.parametrize("old", [150, 900], ids=["over the old vocabulary", "over the rows"])
def test_full_rank_map_equals_dense_least_squares(condition: float, tolerance: float, old: int) -> None:
    system = make_system(tokens=600, old=old, hidden=24, condition=condition)
    found = fitted(system)
    assert relative_error(found.matrix_DD, reference(system)) < tolerance
    assert found.report.rank == 24
    assert found.report.condition_number == pytest.approx(np.linalg.cond(dense(system)[0]), rel=1e-4)


def test_condition_beyond_the_gram_matrix_is_solved_on_the_rows() -> None:
    system = make_system(tokens=300, old=200, hidden=16, condition=1e8)
    found = fitted(system, rcond=1e-12)
    assert found.report.rank == 16
    assert relative_error(found.matrix_DD, reference(system, 1e-12)) < 1e-6


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e7, 1e9])
@pytest.mark.parametrize("driver", ["gelsy", "gelsd"])
@pytest.mark.parametrize("old", [150, 900, 20], ids=["over the old vocabulary", "over the rows", "few old tokens"])
def test_digits_are_those_that_lapack_keeps(condition: float, driver: str, old: int) -> None:
    """The authors' solver is gelsy; two LAPACK drivers differ from each other by about condition times machine precision."""
    system = make_system(tokens=600, old=old, hidden=24, condition=condition).compact()
    found = solve(system, sums_if_useful(system), rcond=1e-12)
    a, b = dense(system)
    expected, _, rank, _ = scipy.linalg.lstsq(a, b, cond=1e-12, lapack_driver=driver)
    assert found.rank == rank == min(old, 24)
    assert relative_error(found.matrix_DD, expected) < max(1e-12, 1e-15 * condition)
    assert found.by_gram == (old > 24 and condition < 1e6)


def test_zero_rcond_keeps_all_that_the_machine_can_tell_apart_as_gelsy_does_by_default() -> None:
    system = make_system(tokens=300, old=200, hidden=16, condition=1e9)
    a, b = dense(system)
    expected, _, rank, _ = scipy.linalg.lstsq(a, b, lapack_driver="gelsy")
    found = fitted(system, rcond=0.0)
    assert found.report.rank == rank == 16
    assert relative_error(found.matrix_DD, expected) < 1e-6
    assert fitted(system, rcond=1e-6).report.rank < 16


def test_tokens_spelled_by_few_old_ones_are_fitted_through_these() -> None:
    """A new vocabulary in another script: thousands of tokens, whose rows span no more directions than their old pieces."""
    system = make_system(tokens=900, old=40, hidden=64)
    wide = csr_matrix((system.combination_NU.data, system.combination_NU.indices * 10, system.combination_NU.indptr), shape=(900, 400))
    base, instruct = (torch.zeros((400, 64), dtype=torch.float64) for _ in range(2))
    base[::10], instruct[::10] = system.base_UD, system.instruct_UD
    spread = LinearSystem(combination_NU=wide, base_UD=base, instruct_UD=instruct)
    assert spread.compact().old_tokens == 40
    for given in (system, spread.compact(), spread):
        found = fitted(given)
        assert found.report.rank == found.report.old_tokens == 40
        assert relative_error(found.matrix_DD, reference(system)) < 1e-10
        assert found.report.relative_residual < 1e-12


def test_undetermined_directions_stay_when_asked_for() -> None:
    system = make_system(tokens=20, old=60, hidden=32)
    a, b = dense(system)
    found = solve(system, None, rcond=1e-6, toward_identity=True)
    assert relative_error(found.matrix_DD, np.eye(32) + np.linalg.pinv(a) @ (b - a)) < 1e-10


@pytest.mark.parametrize("old", [600, 4000])
def test_memory_above_the_inputs_is_four_maps_and_a_few_blocks(old: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_system, "BLOCK_BYTES", 1 << 20)
    system = make_system(tokens=2000, old=old, hidden=256)
    tracemalloc.start()
    try:
        solve(system, gram(system), rcond=1e-6)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 256**2 * 8 + 4 * linear_system.BLOCK_BYTES


def test_hidden_above_tokens_gives_the_minimum_norm_map() -> None:
    system = make_system(tokens=20, old=60, hidden=32)
    found = fitted(system)
    a, b = dense(system)
    assert found.report.rank == 20
    assert relative_error(found.matrix_DD, np.linalg.pinv(a) @ b) < 1e-10
    assert found.report.relative_residual < 1e-12


@pytest.mark.parametrize("tokens", [40, 400])
def test_dependent_columns_give_the_minimum_norm_map(tokens: int) -> None:
    system = make_system(tokens=tokens, old=80, hidden=16)
    base = system.base_UD.clone()
    base[:, 12:] = base[:, :4] * 2
    system = LinearSystem(combination_NU=system.combination_NU, base_UD=base, instruct_UD=system.instruct_UD)
    found = fitted(system)
    assert found.report.rank == 12
    assert relative_error(found.matrix_DD, reference(system)) < 1e-9


def test_singular_values_below_rcond_are_cut_like_in_lapack() -> None:
    system = make_system(tokens=300, old=200, hidden=16, condition=1e3)
    found = fitted(system, rcond=0.05)
    assert 0 < found.report.rank < 16
    assert relative_error(found.matrix_DD, reference(system, 0.05)) < 1e-9


@pytest.mark.parametrize(("tokens", "old"), [(500, 100), (100, 500)])
def test_gram_equals_the_dense_product(tokens: int, old: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_system, "BLOCK_BYTES", 20_000)  # several blocks of rows and of columns
    system = make_system(tokens=tokens, old=old, hidden=24)
    a, b = dense(system)
    sums = gram(system)
    np.testing.assert_allclose(np.tril(sums.gram_DD), np.tril(a.T @ a), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sums.symmetric_gram(), a.T @ a, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sums.right_DD, a.T @ (b - a), rtol=1e-11, atol=1e-12)


def test_rows_route_does_not_depend_on_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    system = make_system(tokens=500, old=100, hidden=24)
    whole = solve_rows(system, rcond=1e-6).matrix_DD
    monkeypatch.setattr(linear_system, "BLOCK_BYTES", 1)
    np.testing.assert_allclose(solve_rows(system, rcond=1e-6).matrix_DD, whole, atol=1e-12)
    np.testing.assert_allclose(whole, reference(system), atol=1e-11)


def test_equal_models_give_exactly_the_identity() -> None:
    system = make_system(tokens=300, old=200, hidden=16)
    system = LinearSystem(combination_NU=system.combination_NU, base_UD=system.base_UD, instruct_UD=system.base_UD.clone())
    found = fitted(system)
    assert np.array_equal(found.matrix_DD, np.eye(16))
    assert found.report.distance_from_identity == 0.0


def test_residuals_are_those_of_the_dense_matrices() -> None:
    system = make_system(tokens=300, old=200, hidden=16)
    report = fitted(system).report
    a, b = dense(system)
    w = reference(system)
    assert report.relative_residual == pytest.approx(np.linalg.norm(a @ w - b) / np.linalg.norm(b), rel=1e-9)
    assert report.identity_residual == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b), rel=1e-12)
    assert report.distance_from_identity == pytest.approx(np.linalg.norm(w - np.eye(16)) / 4, rel=1e-9)
    np.testing.assert_allclose(report.singular_values, np.linalg.svd(a, compute_uv=False), rtol=1e-10)


def test_heldout_residual_is_measured_on_tokens_left_out_of_the_fit() -> None:
    system = make_system(tokens=300, old=200, hidden=16)
    a, b = dense(system)
    order = np.random.default_rng(0).permutation(300)
    held, rest = order[:30], order[30:]
    w = np.linalg.lstsq(a[rest], b[rest], rcond=None)[0]
    expected = np.linalg.norm(a[held] @ w - b[held]) / np.linalg.norm(b[held])
    assert fitted(system).report.heldout_residual == pytest.approx(expected, rel=1e-9)


def test_heldout_residual_exposes_a_fit_through_too_few_tokens() -> None:
    report = fitted(make_system(tokens=30, old=60, hidden=32)).report
    assert report.relative_residual < 1e-10
    assert report.heldout_residual > 0.1


def test_worst_tokens_come_first_and_are_named() -> None:
    system = make_system(tokens=300, old=200, hidden=16)
    report = least_squares_fit(system, np.arange(300) + 7, lambda token_id: f"<{token_id}>", FitSettings()).report
    shares = [item.relative_residual for item in report.worst_tokens]
    assert len(shares) == 20
    assert shares == sorted(shares, reverse=True)
    assert all(item.token == f"<{item.token_id}>" for item in report.worst_tokens)


@pytest.mark.parametrize("old", [300, 4000])
def test_large_systems_are_measured_without_another_pass_over_the_rows(old: int, monkeypatch: pytest.MonkeyPatch) -> None:
    system = make_system(tokens=1500, old=old, hidden=48)
    exact = fitted(system).report
    monkeypatch.setattr(report, "FLOAT64_MEASUREMENT_LIMIT", 0)
    found = fitted(system).report
    assert found.relative_residual == pytest.approx(exact.relative_residual, rel=1e-6)
    assert found.heldout_residual == pytest.approx(exact.heldout_residual, rel=1e-5)
    assert [item.token_id for item in found.worst_tokens] == [item.token_id for item in exact.worst_tokens]
    for one, other in zip(found.worst_tokens, exact.worst_tokens, strict=True):
        assert one.relative_residual == pytest.approx(other.relative_residual, rel=1e-5)


def test_map_is_applied_in_float64_and_only_the_product_is_cast() -> None:
    rng = np.random.default_rng(0)
    rows = torch.tensor(rng.standard_normal((500, 16)), dtype=torch.bfloat16)
    w = rng.standard_normal((16, 16))
    expected = torch.from_numpy(rows.double().numpy() @ w).to(torch.bfloat16)
    found = torch.empty_like(rows)
    apply_map(rows, w, out_VD=found)
    assert torch.equal(found, expected)
