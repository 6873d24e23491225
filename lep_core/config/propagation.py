"""Settings of propagation."""

from __future__ import annotations

from dataclasses import dataclass

from lep_core.config.base import Config, option
from lep_core.config.common import output_option, overwrite_option

PAPER_METHODS = ("swap", "overlap", "conversion")
METHODS = (*PAPER_METHODS, "ridge", "residual-carry", "chat-vector", "procrustes", "low-rank")


@dataclass(frozen=True, kw_only=True)
class PropagateConfig(Config):
    """Carry the trained embeddings of the base model over to its instruct sibling."""

    base: str = option(help="base model with its original vocabulary", kind="model")
    adapted: str = option(help="the base model after embedding training", kind="model")
    instruct: str = option(help="instruct model that gets the new vocabulary", kind="model")
    output: str = output_option()
    method: str = option(
        "conversion",
        help="swap: take the trained rows as they are; overlap: a linear map fitted on shared tokens; conversion: a map fitted on all new "
        "tokens; ridge: conversion drawn toward swap; residual-carry: conversion plus what its map misses; chat-vector: swap plus the "
        "difference of instruct and base; procrustes: the best rotation; low-rank: a correction of small rank",
        choices=METHODS,
    )
    alpha: float | None = option(
        None,
        help="ridge: strength of the pull toward the identity, in mean squared singular values; chosen by cross-validation over tokens when not given",
        minimum=1e-10,
        maximum=1e10,
        advanced=True,
    )
    rank: int | None = option(
        None,
        help="low-rank: rank of the correction; by default an eighth of the hidden size",
        minimum=1,
        maximum=1_000_000,
        advanced=True,
    )
    rcond: float = option(
        1e-6,
        help="singular values below this share of the largest count as zero; 0: the machine's precision, as in the paper's code, which can invert rounding noise",
        minimum=0.0,
        maximum=0.1,
        advanced=True,
    )
    leave_out_special: bool = option(
        False,
        help="fit without special tokens, which the paper's formula includes; their rows are the instruct model's own either way",
        advanced=True,
    )
    adapter: str | None = option(
        None,
        help="folder of a LoRA adapter to merge into the instruct model; by default the adapter folder of the trained model",
        advanced=True,
    )
    adapter_scale: float = option(
        1.0, help="strength with which the adapter is merged; 0 leaves it out", minimum=-10.0, maximum=10.0, advanced=True
    )
    overwrite: bool = overwrite_option()
