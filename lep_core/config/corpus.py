"""Settings of the corpus."""

from __future__ import annotations

from dataclasses import dataclass

from lep_core.config.base import Config, option
from lep_core.config.common import encoding_option, input_option, output_option, overwrite_option, text_field_option


@dataclass(frozen=True, kw_only=True)
class AddCorpusConfig(Config):
    """Read text of any kind, clean it, drop exact duplicates, keep a held-out part apart, and count what is there."""

    input: tuple[str, ...] = input_option()
    output: str = output_option()
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()
    heldout_share: float = option(
        0.02, help="share of the documents kept out of vocabulary and training, for measuring", minimum=0.0, maximum=0.5
    )
    keep_duplicates: bool = option(False, help="keep documents whose text occurred before", advanced=True)
    overwrite: bool = overwrite_option()
