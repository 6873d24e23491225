"""Settings of initialisation and embedding training."""

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
from lep_core.errors import ConfigError

INITIALIZATIONS = ("mean", "weighted-mean")
HEADS = ("own", "tie")


@dataclass(frozen=True, kw_only=True)
class InitializeConfig(Config):
    """Give the base model the new vocabulary: rows of new tokens are averages of the old pieces that spell them."""

    base: str = option(help="base model folder or hub id", kind="model")
    tokenizer: str = option(help="folder of the new tokenizer", kind="tokenizer")
    output: str = output_option()
    method: str = option(
        "mean", help="mean: all old pieces count alike; weighted-mean: the first piece counts most", choices=INITIALIZATIONS
    )
    head: str = option("own", help="own: average the head's rows too; tie: copy the input rows", choices=HEADS)
    decay: float = option(1.0, help="weighted-mean: piece k weighs exp(-decay * k)", minimum=0.0, maximum=100.0, advanced=True)
    overwrite: bool = overwrite_option()


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """Train the input embeddings and the head on raw text; everything else stays frozen."""

    model: str = option(help="model folder to train, usually an initialised one", kind="model")
    input: tuple[str, ...] = input_option()
    output: str = output_option()
    replay: tuple[str, ...] = option((), help="text in the model's old language, mixed in so that it is not forgotten", kind="text")
    replay_share: float = option(0.15, help="share of the training tokens taken from the replay text", minimum=0.0, maximum=0.9)
    heldout: tuple[str, ...] = option(
        (),
        help="text to measure on; by default a corpus folder's held-out part, else 2 % of the documents",
        kind="text",
        advanced=True,
    )
    steps: int | None = option(
        None, help="optimizer steps; by default as many as pass over the text once", unit="steps", minimum=1, maximum=100_000_000
    )
    learning_rate: float = option(2e-4, help="peak learning rate; the outcome depends strongly on it", minimum=1e-8, maximum=1.0)
    batch_size: int = option(16, help="sequences per optimizer step, over all devices", unit="sequences", minimum=1, maximum=1_000_000)
    micro_batch_size: int | None = option(
        None,
        help="sequences computed at a time; smaller needs less memory and changes nothing else",
        unit="sequences",
        minimum=1,
        maximum=1_000_000,
        advanced=True,
    )
    block_size: int = option(512, help="tokens per sequence", unit="tokens", minimum=8, maximum=1_048_576)
    warmup_steps: int = option(
        100,
        help="steps over which the learning rate rises; at most a tenth of all steps are used",
        unit="steps",
        minimum=0,
        maximum=1_000_000,
        advanced=True,
    )
    schedule: str = option(
        "cosine", help="how the learning rate goes on after warm-up", choices=("cosine", "linear", "constant"), advanced=True
    )
    weight_decay: float = option(
        0.0, help="AdamW weight decay; touches only rows that received a gradient", minimum=0.0, maximum=10.0, advanced=True
    )
    gradient_clip: float = option(1.0, help="largest gradient norm; 0 = no clipping", minimum=0.0, maximum=1e9, advanced=True)
    new_rows_only: bool = option(False, help="train only rows of new tokens; shared rows stay bit-equal", advanced=True)
    initial: str | None = option(None, help="model whose vocabulary counts as old for new-rows-only", kind="model", advanced=True)
    evaluate_every: int = option(
        50, help="steps between measurements on held-out text", unit="steps", minimum=1, maximum=100_000_000, advanced=True
    )
    checkpoint_every: int = option(200, help="steps between checkpoints", unit="steps", minimum=1, maximum=100_000_000, advanced=True)
    keep_checkpoints: int = option(2, help="how many checkpoints are kept", minimum=1, maximum=1000, advanced=True)
    checkpoints: str | None = option(None, help="folder of the checkpoints; by default beside the output", kind="folder", advanced=True)
    resume: bool = option(False, help="go on from the newest sound checkpoint")
    sample_prompt: str | None = option(None, help="a text to continue before and after training", kind="prompt", advanced=True)
    seed: int = seed_option()
    device: str = device_option()
    precision: str = precision_option()
    threads: int | None = threads_option()
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()
    overwrite: bool = overwrite_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.new_rows_only and self.initial is None:
            raise ConfigError(
                "initial",
                "--new-rows-only needs to know the old vocabulary",
                "Give --initial BASE, the model before its vocabulary was changed",
            )
