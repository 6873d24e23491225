"""The linear map of conversion: the authors' way (a loop that averages rows, then LAPACK's gelsy) beside ours.

    python -m benchmarks.least_squares --rows 32768 --hidden 4096                 # tokens spelled by as many old tokens: full rank
    python -m benchmarks.least_squares --rows 32768 --hidden 4096 --used 2189     # a Russian vocabulary spelled by Mistral's tokens

Both start from bfloat16 matrices in memory and the pieces of each new token, and end with W in float64. The relative difference is that
to the first contender's W (of this or of an earlier run with the same arguments). At 4,096 wide the anchor takes minutes.
OMP_NUM_THREADS sets the threads of all.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from scipy.sparse import csr_matrix

from benchmarks.side_by_side import main, matmul_peak_gflops, timed
from lep_core.propagation.least_squares import solve
from lep_core.propagation.linear_system import LinearSystem
from lep_core.propagation.report import sums_if_useful

RCOND = 1e-6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=8192, help="new tokens")
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--old", type=int, default=None, help="rows of the old embedding (default: as many as new tokens)")
    parser.add_argument("--used", type=int, default=None, help="different old tokens in the spellings (default: all)")


def inputs(arguments: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor, list[np.ndarray]]:
    """Base and instruct matrix in bfloat16, and one to four pieces for each new token."""
    old = arguments.old or arguments.rows
    generator = torch.Generator().manual_seed(0)
    base_UD = torch.randn((old, arguments.hidden), generator=generator).bfloat16()
    instruct_UD = (base_UD.float() + 0.05 * torch.randn(base_UD.shape, generator=generator)).bfloat16()
    rng = np.random.default_rng(0)
    pool = rng.permutation(old)[: arguments.used or old]
    pieces = [rng.choice(pool, 2 ** rng.integers(0, 3)) for _ in range(arguments.rows)]
    # Peak memory counts from here, not from what drawing random numbers took.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return base_UD, instruct_UD, pieces


def authors(arguments: argparse.Namespace) -> Mapping[str, float]:
    base_UD, instruct_UD, pieces = inputs(arguments)
    figures: dict[str, float] = {}
    with timed(figures):
        rows = []
        for matrix_UD in (base_UD.float(), instruct_UD.float()):
            rows.append(torch.stack([matrix_UD[torch.from_numpy(ids)].mean(dim=0) for ids in pieces]).double().numpy())
        map_DD, _, rank, _ = scipy.linalg.lstsq(*rows, cond=RCOND, lapack_driver="gelsy")
    np.save(kept(arguments), map_DD)
    return figures | {"rank": float(rank), "relative difference": 0.0}


def ours(arguments: argparse.Namespace) -> Mapping[str, float]:
    base_UD, instruct_UD, pieces = inputs(arguments)
    figures: dict[str, float] = {}
    with timed(figures):
        lengths = np.array([len(ids) for ids in pieces])
        combination_NU = csr_matrix(
            (np.repeat(1.0 / lengths, lengths), np.concatenate(pieces), np.concatenate([[0], np.cumsum(lengths)])),
            shape=(len(pieces), len(base_UD)),
        )
        system = LinearSystem(combination_NU=combination_NU, base_UD=base_UD, instruct_UD=instruct_UD).compact()
        found = solve(system, sums_if_useful(system), rcond=RCOND)
    expected_DD = np.load(kept(arguments)) if kept(arguments).exists() else found.matrix_DD
    difference = float(np.linalg.norm(found.matrix_DD - expected_DD) / np.linalg.norm(expected_DD))
    return figures | {"rank": float(found.rank), "relative difference": difference}


def kept(arguments: argparse.Namespace) -> Path:
    """Where the anchor's map waits for the comparison."""
    shape = f"{arguments.rows}-{arguments.old}-{arguments.used}-{arguments.hidden}"
    return Path(tempfile.gettempdir()) / f"lep-least-squares-{shape}.npy"


def limits(arguments: argparse.Namespace) -> Mapping[str, str]:
    rows = min(arguments.rows, arguments.used or arguments.old or arguments.rows)
    gflop = 3 * rows * arguments.hidden**2 / 1e9
    peak = matmul_peak_gflops("float64")
    bound = 4 * arguments.hidden**2 * 8 / 2**30 + 0.25
    return {
        "float64 matrix product": f"{peak:.0f} GFLOP/s; the Gram matrices alone ({gflop:.0f} GFLOP) {gflop / peak:.1f} s",
        "promised memory above the inputs": f"{bound:.2f} GiB",
    }


CONTENDERS = {"the authors' loop and gelsy": authors, "LEP Studio": ours}


if __name__ == "__main__":
    main("Linear map of conversion", CONTENDERS, add_arguments, limits=limits)
