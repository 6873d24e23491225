"""Settings of vocabularies and their measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lep_core.config.base import Config, option
from lep_core.config.common import encoding_option, input_option, output_option, overwrite_option, text_field_option
from lep_core.errors import ConfigError

if TYPE_CHECKING:
    from lep_core.config.path import AdaptConfig

VARIANTS = ("continued-bpe", "extension", "bpe")

DEFAULT_NEW_TOKENS = 16_000
DEFAULT_VOCAB_SIZE = 32_000


@dataclass(frozen=True, kw_only=True)
class MeasureFertilityConfig(Config):
    """Count how many tokens each tokenizer needs for the same text."""

    tokenizer: tuple[str, ...] = option(help="tokenizer or model folders to compare", kind="tokenizer")
    input: tuple[str, ...] = input_option()
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()


@dataclass(frozen=True, kw_only=True)
class BuildTokenizerConfig(Config):
    """Make a vocabulary that fits the corpus, on top of the model's own tokenizer or in its place."""

    base: str = option(help="model or tokenizer folder whose tokenizer is adapted", kind="model")
    input: tuple[str, ...] = input_option()
    output: str = output_option()
    variant: str = option(
        "continued-bpe",
        help="continued-bpe learns more merges on top of the model's own; extension appends a separately trained vocabulary; bpe starts from nothing",
        choices=VARIANTS,
    )
    new_tokens: int | None = option(
        None, help=f"tokens to add (continued-bpe, extension); {DEFAULT_NEW_TOKENS} by default", unit="tokens", minimum=1, maximum=1_000_000
    )
    vocab_size: int | None = option(
        None,
        help=f"size of the whole vocabulary, instead of new tokens; {DEFAULT_VOCAB_SIZE} by default for bpe",
        unit="tokens",
        minimum=1,
        maximum=2_000_000,
    )
    min_frequency: int = option(
        2, help="how often a pair must occur to become a token", unit="occurrences", minimum=1, maximum=1_000_000, advanced=True
    )
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()
    overwrite: bool = overwrite_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_vocabulary(self)


def check_vocabulary(config: BuildTokenizerConfig | AdaptConfig) -> None:
    """Refuse settings of the vocabulary that contradict each other."""
    if config.new_tokens is not None and config.vocab_size is not None:
        raise ConfigError("vocab_size", "--new-tokens and --vocab-size are both given", "Give one of them")
    if config.variant == "bpe" and config.new_tokens is not None:
        raise ConfigError("new_tokens", "the bpe variant replaces the vocabulary, so it adds no tokens", "Give --vocab-size instead")
