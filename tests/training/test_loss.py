from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from lep_core.training.loss import IGNORED, chunk_tokens, loss_and_gradients, token_nll


def problem(dtype: torch.dtype, *, tokens: int = 37, vocabulary: int = 1100, hidden: int = 16):
    generator = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(tokens, hidden, generator=generator, dtype=torch.float64).to(dtype)
    head_VD = torch.randn(vocabulary, hidden, generator=generator, dtype=torch.float64).to(dtype)
    targets_N = torch.randint(0, vocabulary, (tokens,), generator=generator)
    targets_N[::5] = IGNORED
    return hidden_ND, head_VD, targets_N


def by_autograd(hidden_ND, head_VD, targets_N, scale):
    hidden_ND, head_VD = hidden_ND.clone().requires_grad_(), head_VD.clone().requires_grad_()
    loss = cross_entropy(hidden_ND @ head_VD.T, targets_N, ignore_index=IGNORED, reduction="sum")
    (loss * scale).backward()
    return loss.detach(), hidden_ND.grad, head_VD.grad


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("chunk", [1, 8, 64])
def test_loss_and_gradients_equal_those_of_torch(dtype, tolerance, chunk):
    hidden_ND, head_VD, targets_N = problem(dtype)
    loss, hidden_gradient_ND, head_gradient_VD = by_autograd(hidden_ND, head_VD, targets_N, 0.125)
    buffer_VD = torch.zeros_like(head_VD)
    result = loss_and_gradients(hidden_ND, head_VD, targets_N, scale=0.125, head_gradient_VD=buffer_VD, chunk=chunk)
    torch.testing.assert_close(result.nll_sum, loss.double(), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(result.hidden_gradient_ND, hidden_gradient_ND, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(buffer_VD, head_gradient_VD, rtol=tolerance, atol=tolerance)


def test_the_head_gradient_is_added_to_what_the_buffer_holds():
    hidden_ND, head_VD, targets_N = problem(torch.float64)
    once_VD, twice_VD = torch.zeros_like(head_VD), torch.zeros_like(head_VD)
    loss_and_gradients(hidden_ND, head_VD, targets_N, scale=1.0, head_gradient_VD=once_VD)
    for _ in range(2):
        loss_and_gradients(hidden_ND, head_VD, targets_N, scale=1.0, head_gradient_VD=twice_VD)
    torch.testing.assert_close(twice_VD, 2 * once_VD)


def test_bfloat16_gradients_are_summed_in_float32_and_close_to_exact_ones():
    hidden_ND, head_VD, targets_N = problem(torch.bfloat16)
    _, exact_hidden_ND, exact_head_VD = by_autograd(hidden_ND.double(), head_VD.double(), targets_N, 1.0)
    buffer_VD = torch.zeros(head_VD.shape)
    result = loss_and_gradients(hidden_ND, head_VD, targets_N, scale=1.0, head_gradient_VD=buffer_VD, chunk=8)
    assert (buffer_VD - exact_head_VD).norm() < 0.02 * exact_head_VD.norm()
    assert (result.hidden_gradient_ND.double() - exact_hidden_ND).norm() < 0.02 * exact_hidden_ND.norm()


def test_ignored_positions_have_no_loss_and_no_gradient():
    hidden_ND, head_VD, targets_N = problem(torch.float32)
    nll_N = token_nll(hidden_ND, head_VD, targets_N, chunk=8)
    expected_N = cross_entropy(hidden_ND @ head_VD.T, targets_N, ignore_index=IGNORED, reduction="none")
    torch.testing.assert_close(nll_N, expected_N)
    result = loss_and_gradients(hidden_ND, head_VD, targets_N, scale=1.0, head_gradient_VD=torch.zeros_like(head_VD))
    assert not nll_N[targets_N == IGNORED].any()
    assert not result.hidden_gradient_ND[targets_N == IGNORED].any()


def test_only_the_gradient_of_the_rows_asked_for_is_computed():
    hidden_ND, head_VD, targets_N = problem(torch.float64)
    whole_VD, part_VD = torch.zeros_like(head_VD), torch.zeros_like(head_VD)
    all_rows = loss_and_gradients(hidden_ND, head_VD, targets_N, scale=1.0, head_gradient_VD=whole_VD)
    some = loss_and_gradients(hidden_ND, head_VD, targets_N, scale=1.0, head_gradient_VD=part_VD, rows=slice(300, 700), chunk=8)
    torch.testing.assert_close(some.hidden_gradient_ND, all_rows.hidden_gradient_ND)
    torch.testing.assert_close(part_VD[300:700], whole_VD[300:700])
    assert not part_VD[:300].any()
    assert not part_VD[700:].any()


@pytest.mark.parametrize("vocabulary", [500, 32_000, 128_256, 1_000_000])
@pytest.mark.parametrize("tokens", [1, 64, 1000, 2048, 8192])
def test_chunks_are_of_about_one_size_and_bounded(vocabulary, tokens):
    most = chunk_tokens(vocabulary, torch.device("cpu"))
    chunk = chunk_tokens(vocabulary, torch.device("cpu"), tokens=tokens)
    assert most == 128 or most * vocabulary * 6 <= 128 * 2**20
    assert chunk <= most
    chunks = -(-tokens // chunk)
    assert chunks == -(-tokens // most)
    assert tokens - (chunks - 1) * chunk >= chunk - 8 * chunks


@pytest.mark.gpu
def test_a_gpu_computes_what_a_cpu_does():
    hidden_ND, head_VD, targets_N = problem(torch.float32)
    found = []
    for device in ("cpu", "cuda"):
        buffer_VD = torch.zeros_like(head_VD, device=device)
        result = loss_and_gradients(
            hidden_ND.to(device), head_VD.to(device), targets_N.to(device), scale=1.0, head_gradient_VD=buffer_VD, chunk=8
        )
        found.append([result.nll_sum.cpu(), result.hidden_gradient_ND.cpu(), buffer_VD.cpu()])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
