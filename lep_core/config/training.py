"""Settings of initialisation and embedding training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lep_core.config.base import Config, flag, option
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

INITIALIZATIONS = ("mean", "weighted-mean", "focus", "omp", "distillation")
# Methods that need text in the new language.
METHODS_WITH_TEXT = ("focus", "distillation")
HEADS = ("own", "tie")
STRATEGIES = ("auto", "ddp", "fsdp")
CHECKPOINTING = ("auto", "on", "off")
QUANTIZATIONS = ("none", "8bit", "4bit")
OPTIMIZERS = ("adamw", "adamw-8bit")
ANCHOR_ROWS = ("shared", "all")
ANCHOR_HELP = (
    "pull of the trained rows back toward where they began, in proportion to how far they are (L2-SP); 0 = none. It keeps skills where the"
    " learning rate is large"
)


@dataclass(frozen=True, kw_only=True)
class InitializeConfig(Config):
    """Give the base model the new vocabulary: rows of new tokens are made from the rows that the model has."""

    base: str = option(help="base model folder or hub id", kind="model")
    tokenizer: str = option(help="folder of the new tokenizer", kind="tokenizer")
    output: str = output_option()
    method: str = option(
        "mean",
        help="mean: all old pieces count alike; weighted-mean: the first piece counts most; focus: shared tokens that occur in alike"
        " contexts of the text; omp: shared tokens that make up the new one in a donor model; distillation: trained until the model"
        " reads the new token as it reads the old pieces",
        choices=INITIALIZATIONS,
    )
    head: str = option("own", help="own: make the head's rows likewise (distillation: averages); tie: copy the input rows", choices=HEADS)
    input: tuple[str, ...] = option((), help="text in the new language, for focus and distillation", kind="text")
    donor: str | None = option(None, help="omp: a model of any size whose tokenizer has the new tokens", kind="model")
    space_penalty: float = option(
        1.0,
        help="factor for pieces of nothing but white space among several; 1 = they count like others",
        minimum=1e-6,
        maximum=1.0,
        advanced=True,
    )
    decay: float = option(1.0, help="weighted-mean: piece k weighs exp(-decay * k)", minimum=0.0, maximum=100.0, advanced=True)
    sparsity: int = option(
        8, help="omp: how many shared tokens a new row is made from", unit="tokens", minimum=1, maximum=256, advanced=True
    )
    distillation_steps: int = option(
        400,
        help="distillation: steps of 64 snippets each; every new token should come up about ten times",
        unit="steps",
        minimum=1,
        maximum=1_000_000,
        advanced=True,
    )
    seed: int = seed_option()
    device: str = device_option()
    precision: str = precision_option()
    threads: int | None = threads_option()
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()
    overwrite: bool = overwrite_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method in METHODS_WITH_TEXT and not self.input:
            raise ConfigError("input", f"--method {self.method} learns from text in the new language", "Give --input FILE")
        if self.method == "omp" and self.donor is None:
            raise ConfigError(
                "donor", "--method omp takes the new tokens from another model", "Give --donor MODEL, or choose --method mean"
            )


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
    anchor: float = option(0.0, help=ANCHOR_HELP, minimum=0.0, maximum=10_000.0, advanced=True)
    anchor_rows: str = option(
        "shared",
        help="anchor: only rows of tokens that the old vocabulary has as well, or all",
        choices=ANCHOR_ROWS,
        advanced=True,
    )
    new_rows_only: bool = option(False, help="train only rows of new tokens; shared rows stay bit-equal", advanced=True)
    initial: str | None = option(
        None,
        help="model whose vocabulary counts as old: for new-rows-only, anchor-rows, and the report's new and shared rows",
        kind="model",
        advanced=True,
    )
    lora: bool = option(
        False, help="train a LoRA adapter on the body's projections as well; it is kept beside the model, whose body stays as it is"
    )
    lora_rank: int = option(8, help="lora: rank of the adapter", minimum=1, maximum=1024, advanced=True)
    lora_alpha: int = option(16, help="lora: the adapter counts alpha / rank times", minimum=1, maximum=4096, advanced=True)
    gradient_checkpointing: str = option(
        "auto",
        help="compute the body's layers a second time instead of keeping what they computed: less memory, about a third slower;"
        " auto does it when one sequence would not fit otherwise",
        choices=CHECKPOINTING,
        advanced=True,
    )
    compile: bool = option(False, help="compile the body with torch.compile: pays on a GPU in trainings of hours", advanced=True)
    quantize: str = option(
        "none", help="store the frozen body in 8 or 4 bits, for small GPUs; needs bitsandbytes", choices=QUANTIZATIONS, advanced=True
    )
    optimizer: str = option(
        "adamw", help="adamw-8bit keeps the moments in 8 bits, for small GPUs; needs bitsandbytes", choices=OPTIMIZERS, advanced=True
    )
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
    processes: int = option(
        1,
        help="processes that share each step, one a GPU, over all hosts; torchrun starts them",
        unit="processes",
        minimum=1,
        maximum=65_536,
        advanced=True,
    )
    strategy: str = option(
        "auto",
        help="several processes: ddp keeps the whole body in each, fsdp shares it out; auto takes fsdp where the body is too large",
        choices=STRATEGIES,
        advanced=True,
    )
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
        if self.anchor and self.anchor_rows == "shared" and self.initial is None:
            raise ConfigError(
                "initial",
                "--anchor-rows shared needs to know the old vocabulary",
                "Give --initial BASE, the model before its vocabulary was changed, or --anchor-rows all",
            )
        for name, is_set in (("lora", self.lora), ("quantize", self.quantize != "none")):
            if is_set and self.strategy == "fsdp":
                raise ConfigError(
                    "strategy", f"--strategy fsdp shares out a plain body and cannot do it with {flag(name)}", "Choose --strategy ddp"
                )


@dataclass(frozen=True, kw_only=True)
class SweepConfig(TrainConfig):
    """Try several learning rates for a part of the steps, all from the same start on the same text, and say which is best."""

    rates: tuple[float, ...] = option((2e-5, 5e-5, 1e-4, 2e-4), help="learning rates to try", minimum=1e-8, maximum=1.0)
    share: float = option(0.2, help="part of the training's steps that each rate gets", minimum=0.001, maximum=1.0)
    # The rates take its place: dataclasses count no class variable as a setting.
    learning_rate: ClassVar[float] = option(2e-4, help="set by the rates")  # ty: ignore[incompatible-attribute-override]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes > 1:
            raise ConfigError("processes", f"--processes is {self.processes}, but a sweep runs in one process", "Leave --processes out")
        if not self.rates:
            raise ConfigError("rates", "--rates is empty", "Give learning rates to try, for example 5e-5 2e-4")
