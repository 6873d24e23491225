"""Settings of vocabularies and their measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lep_core.config.base import Config, option
from lep_core.config.common import encoding_option, input_option, output_option, overwrite_option, text_field_option
from lep_core.errors import ConfigError

if TYPE_CHECKING:
    from lep_core.config.path import AdaptConfig

VARIANTS = ("continued-bpe", "extension", "optimization", "bpe", "unigram", "leaf-pruning", "import")
ADDING = ("continued-bpe", "extension", "optimization")  # variants that put new tokens behind old ones
PUBLISHED = ("extension", "optimization", "bpe", "unigram")  # variants with a recipe in the paper

DEFAULT_NEW_TOKENS = 16_000
DEFAULT_VOCAB_SIZE = 32_000


@dataclass(frozen=True, kw_only=True)
class MeasureFertilityConfig(Config):
    """Count how many tokens each tokenizer needs for the same text."""

    tokenizer: tuple[str, ...] = option(help="tokenizer or model folders to compare", kind="tokenizer")
    input: tuple[str, ...] = input_option(default=())
    parallel: tuple[str, ...] = option(
        (),
        help="text files with the same sentences in several languages, line by line, each named after its language; "
        "without --input they are also what is measured",
        kind="text",
    )
    reference: str | None = option(
        None, help="language that the others are compared with; eng or en when there is one, else the first", advanced=True
    )
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.input and not self.parallel:
            raise ConfigError(
                "input", "--input is missing", "Give --input: files with text, or --parallel: the same text in several languages"
            )
        if self.reference is not None and not self.parallel:
            raise ConfigError("reference", "--reference is given, but no parallel text", "Give --parallel: a file for each language")


@dataclass(frozen=True, kw_only=True)
class BuildTokenizerConfig(Config):
    """Make a vocabulary that fits the corpus, on top of the model's own tokenizer or in its place."""

    base: str = option(help="model or tokenizer folder whose tokenizer is adapted", kind="model")
    input: tuple[str, ...] = input_option()
    output: str = output_option()
    variant: str = option(
        "continued-bpe",
        help="continued-bpe learns more merges on top of the model's own; extension appends a separately trained vocabulary; "
        "optimization first drops what the corpus needs least; bpe and unigram start from nothing; leaf-pruning only drops; "
        "import takes the vocabulary of --source",
        choices=VARIANTS,
    )
    new_tokens: int | None = option(
        None,
        help=f"tokens to add (continued-bpe, extension, optimization); {DEFAULT_NEW_TOKENS} by default",
        unit="tokens",
        minimum=1,
        maximum=1_000_000,
    )
    vocab_size: int | None = option(
        None,
        help=f"size of the whole vocabulary, instead of new tokens; by default {DEFAULT_VOCAB_SIZE} for bpe and unigram, half of the old one for leaf-pruning",
        unit="tokens",
        minimum=1,
        maximum=2_000_000,
    )
    source: str | None = option(
        None,
        help="ready tokenizer: folder, tokenizer.json or SentencePiece .model; import takes it whole, extension and optimization append its unseen tokens",
        kind="tokenizer",
        advanced=True,
    )
    keep_tokens: int | None = option(
        None,
        help="old tokens that optimization keeps; half of them by default",
        unit="tokens",
        minimum=1,
        maximum=2_000_000,
        advanced=True,
    )
    paper: bool = option(
        False,
        help="follow the published recipe to the letter, for comparison; it leaves tokens that no text can produce",
        advanced=True,
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
    variant = config.variant
    if config.new_tokens is not None and config.vocab_size is not None:
        raise ConfigError("vocab_size", "--new-tokens and --vocab-size are both given", "Give one of them")
    if variant == "import" and config.source is None:
        raise ConfigError("source", "the import variant needs a tokenizer to import", "Give --source: a folder, tokenizer.json or .model")
    if variant == "import" and (config.new_tokens is not None or config.vocab_size is not None):
        given = "vocab_size" if config.new_tokens is None else "new_tokens"
        raise ConfigError(given, "an imported vocabulary has its own size", "Leave --new-tokens and --vocab-size out")
    if variant not in ADDING and config.new_tokens is not None:
        verb = "only drops tokens" if variant == "leaf-pruning" else "replaces the vocabulary, so it adds no tokens"
        raise ConfigError("new_tokens", f"the {variant} variant {verb}", "Give --vocab-size instead")
    if config.source is not None and variant not in ("import", "extension", "optimization"):
        raise ConfigError("source", f"the {variant} variant takes no ready tokenizer", "Leave --source out, or choose --variant import")
    if isinstance(config, BuildTokenizerConfig):
        if config.keep_tokens is not None and variant != "optimization":
            raise ConfigError(
                "keep_tokens", f"the {variant} variant does not choose among old tokens", "Use it with --variant optimization"
            )
        if config.paper and variant not in PUBLISHED:
            raise ConfigError("paper", f"there is no published recipe for {variant}", f"Choose one of: {', '.join(PUBLISHED)}")
