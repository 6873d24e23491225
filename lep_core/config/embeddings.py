"""Settings of the embedding explorer."""

from __future__ import annotations

from dataclasses import dataclass

from lep_core.config.base import Config, option
from lep_core.config.common import overwrite_option, seed_option


@dataclass(frozen=True, kw_only=True)
class ExploreEmbeddingsConfig(Config):
    """Show what embedding rows stand for: nearest neighbours of words, and one map on which the rows of all models lie."""

    model: tuple[str, ...] = option(help="model folders to compare; the first one sets the map's axes", kind="model")
    words: tuple[str, ...] = option((), help="words whose neighbours are looked up, in any language", kind="prompt")
    limit: int = option(10, help="neighbours shown for each word", unit="tokens", minimum=1, maximum=1000)
    tokens: int = option(1500, help="points on the map; 0 = no map", unit="tokens", minimum=0, maximum=20_000, advanced=True)
    output: str | None = option(None, help="folder for report.json", kind="folder", advanced=True)
    seed: int = seed_option()
    overwrite: bool = overwrite_option()
