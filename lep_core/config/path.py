"""Settings of the whole path."""

from __future__ import annotations

from dataclasses import dataclass

from lep_core.config.base import Config, option
from lep_core.config.common import (
    device_option,
    encoding_option,
    input_option,
    output_option,
    overwrite_option,
    precision_option,
    seed_option,
    text_field_option,
    threads_option,
)
from lep_core.config.propagation import METHODS
from lep_core.config.tokenizer import VARIANTS, check_vocabulary
from lep_core.config.training import ANCHOR_HELP, HEADS, INITIALIZATIONS


@dataclass(frozen=True, kw_only=True)
class AdaptConfig(Config):
    """All stages in one: corpus, vocabulary, initialisation, training, propagation, measurement."""

    base: str = option(help="base model folder or hub id", kind="model")
    instruct: str = option(help="instruct sibling of the base model", kind="model")
    input: tuple[str, ...] = input_option()
    output: str = output_option()
    replay: tuple[str, ...] = option((), help="text in the model's old language, mixed in so that it is not forgotten", kind="text")
    replay_share: float = option(0.15, help="share of the training tokens taken from the replay text", minimum=0.0, maximum=0.9)
    variant: str = option("continued-bpe", help="how the vocabulary is built", choices=VARIANTS)
    new_tokens: int | None = option(
        None, help="tokens to add (continued-bpe, extension, optimization)", unit="tokens", minimum=1, maximum=1_000_000
    )
    vocab_size: int | None = option(
        None, help="size of the whole vocabulary, instead of new tokens", unit="tokens", minimum=1, maximum=2_000_000
    )
    source: str | None = option(
        None,
        help="ready tokenizer: import takes it whole, extension and optimization append its unseen tokens",
        kind="tokenizer",
        advanced=True,
    )
    initialization: str = option(
        "mean",
        help="how rows of new tokens begin; focus and distillation learn from the text (omp needs a donor: see initialize)",
        choices=tuple(name for name in INITIALIZATIONS if name != "omp"),
    )
    head: str = option("own", help="own: average the head's rows too; tie: copy the input rows", choices=HEADS, advanced=True)
    method: tuple[str, ...] = option(("conversion",), help="how embeddings reach the instruct model; several may be given", choices=METHODS)
    instruction_data: tuple[str, ...] = option(
        (),
        help="conversations to compare with the traditional way: the adapted base model is tuned on them to a further result, and measured"
        " with the others; layouts as for calibrate",
        kind="items",
    )
    instruction_preset: str = option(
        "traditional",
        help="instruction data: how the adapted base model is tuned, as in calibrate; laptop: all weights, for small models",
        choices=("traditional", "laptop"),
        advanced=True,
    )
    instruction_epochs: float = option(
        1.0, help="instruction data: passes over the conversations", minimum=0.001, maximum=1000.0, advanced=True
    )
    calibrate: bool = option(
        False, help="self-calibrate a copy of each result: it learns the instruct model's own answers, and is measured with the others"
    )
    prompt_file: tuple[str, ...] = option(
        (), help="calibrate: files with prompts that the instruct model answers; by default prompts are made from the text", kind="items"
    )
    calibration_preset: str = option(
        "self-calibration",
        help="calibrate: how the copies learn, as in calibrate; laptop: all weights, for small models",
        choices=("self-calibration", "laptop"),
        advanced=True,
    )
    calibration_learning_rate: float | None = option(
        None, help="calibrate: peak learning rate; by default the preset's", minimum=1e-8, maximum=1.0, advanced=True
    )
    max_prompts: int = option(
        10_000, help="calibrate: largest number of prompts", unit="prompts", minimum=1, maximum=10_000_000, advanced=True
    )
    items: tuple[str, ...] = option((), help="JSONL with checkable prompts and answers to measure the result on", kind="items")
    steps: int | None = option(
        None, help="optimizer steps; by default one pass over the text", unit="steps", minimum=1, maximum=100_000_000
    )
    learning_rate: float = option(2e-4, help="peak learning rate", minimum=1e-8, maximum=1.0)
    anchor: float = option(0.0, help=ANCHOR_HELP, minimum=0.0, maximum=10_000.0, advanced=True)
    batch_size: int = option(16, help="sequences per optimizer step", unit="sequences", minimum=1, maximum=1_000_000)
    block_size: int = option(512, help="tokens per sequence", unit="tokens", minimum=8, maximum=1_048_576)
    warmup_steps: int = option(
        100, help="steps over which the learning rate rises", unit="steps", minimum=0, maximum=1_000_000, advanced=True
    )
    heldout_share: float = option(0.02, help="share of the documents kept out for measuring", minimum=0.001, maximum=0.5, advanced=True)
    limit: int = option(
        200, help="largest number of documents or items per measurement", unit="items", minimum=1, maximum=10_000_000, advanced=True
    )
    resume: bool = option(False, help="go on where an interrupted adapt stopped")
    seed: int = seed_option()
    device: str = device_option()
    precision: str = precision_option()
    threads: int | None = threads_option()
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()
    overwrite: bool = overwrite_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_vocabulary(self)


@dataclass(frozen=True, kw_only=True)
class DemoConfig(Config):
    """The whole path in minutes on a small generated world in English and Russian."""

    output: str = option("lep-demo", help="folder for everything that the demo makes", kind="folder")
    steps: int = option(600, help="embedding training steps", unit="steps", minimum=1, maximum=1_000_000)
    rebuild_pair: bool = option(False, help="train the demo's base and instruct model again instead of using those that ship")
    seed: int = seed_option()
    overwrite: bool = overwrite_option()
