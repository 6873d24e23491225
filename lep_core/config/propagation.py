"""Settings of propagation."""

from __future__ import annotations

from dataclasses import dataclass

from lep_core.config.base import Config, option
from lep_core.config.common import output_option, overwrite_option

METHODS = ("swap", "overlap", "conversion")


@dataclass(frozen=True, kw_only=True)
class PropagateConfig(Config):
    """Carry the trained embeddings of the base model over to its instruct sibling."""

    base: str = option(help="base model with its original vocabulary", kind="model")
    adapted: str = option(help="the base model after embedding training", kind="model")
    instruct: str = option(help="instruct model that gets the new vocabulary", kind="model")
    output: str = output_option()
    method: str = option(
        "conversion",
        help="swap: take the trained rows as they are; overlap: a linear map fitted on shared tokens; conversion: a map fitted on all new tokens",
        choices=METHODS,
    )
    rcond: float = option(
        1e-6, help="singular values below this share of the largest count as zero", minimum=0.0, maximum=0.1, advanced=True
    )
    overwrite: bool = overwrite_option()
