"""Settings of propagation."""

from __future__ import annotations

from dataclasses import dataclass

from lep_core.config.base import Config, option
from lep_core.config.common import encoding_option, output_option, overwrite_option, text_field_option
from lep_core.errors import ConfigError

PAPER_METHODS = ("swap", "overlap", "conversion")
METHODS = (*PAPER_METHODS, "ridge", "residual-carry", "chat-vector", "procrustes", "low-rank")
METHODS_WITHOUT_FIT = ("swap", "chat-vector")


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
    gamma: float = option(
        0.0,
        help="power of a token's frequency in the input text that is its weight in the fit; 0: all tokens count alike, as in the paper",
        minimum=0.0,
        maximum=2.0,
        advanced=True,
    )
    input: tuple[str, ...] = option((), help="text in the new language in which tokens are counted, for gamma", kind="text")
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
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()
    overwrite: bool = overwrite_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gamma:
            return
        if self.method in METHODS_WITHOUT_FIT:
            raise ConfigError("gamma", f"--method {self.method} fits nothing, so tokens cannot be weighted", "Leave --gamma out")
        if not self.input:
            raise ConfigError("input", "--gamma weights tokens by how often they occur in a text, but there is none", "Give --input FILE")
