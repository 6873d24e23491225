"""One frozen dataclass per verb: the only place where a setting is named, explained, bounded and given its default.

The command line's flags, the forms of the user interface, the reference page and `run.json` are all made from these fields.
A config checks itself when it is made and raises `ConfigError` with the field's name.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from lep_core.errors import ConfigError

VARIANTS = ("continued-bpe", "extension", "bpe")
INITIALIZATIONS = ("mean", "weighted-mean")
HEADS = ("own", "tie")
METHODS = ("swap", "overlap", "conversion")
TASKS = ("bits-per-byte", "copy-sentence", "copy-paragraph", "instruct")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
EXPORT_FORMATS = ("hf",)

# What file systems allow.
LONGEST_NAME_BYTES, LONGEST_PATH_BYTES = 255, 4000

DEFAULT_NEW_TOKENS = 16_000
DEFAULT_VOCAB_SIZE = 32_000


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    unit: str | None = None,
    choices: tuple[Any, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    kind: str = "value",
    advanced: bool = False,
) -> Any:
    """A config field.

    `kind` says what a text stands for, so that a form can offer the right input: "model" (folder or hub id), "tokenizer",
    "text" (files to read), "items" (JSONL of prompts and answers), "folder" (a result), "prompt", or "value".
    `minimum` and `maximum` are inclusive. `advanced` fields are folded away in forms.
    """
    metadata = {
        "help": help,
        "unit": unit,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "kind": kind,
        "advanced": advanced,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all configs: checks types, ranges and choices; converts from and to JSON values."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = _checked(item, getattr(self, item.name), field_type(type(self), item.name))
            object.__setattr__(self, item.name, value)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Make a config from JSON values; unknown names are refused."""
        names = {item.name for item in dataclasses.fields(cls)}
        for name in values:
            if name not in names:
                raise ConfigError(name, f"there is no setting called {name}", f"Known settings: {', '.join(sorted(names))}")
        for item in dataclasses.fields(cls):
            if item.default is dataclasses.MISSING and item.name not in values:
                raise ConfigError(item.name, f"{flag(item.name)} is missing", f"Give {flag(item.name)}: {item.metadata['help']}")
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """JSON values, complete: `from_mapping(to_mapping())` gives an equal config."""
        return {
            item.name: list(value) if isinstance(value := getattr(self, item.name), tuple) else value for item in dataclasses.fields(self)
        }

    def replace(self, **changes: Any) -> Self:
        """A changed copy, checked again."""
        return dataclasses.replace(self, **changes)


def flag(name: str) -> str:
    """The command-line flag of a field: `block_size` -> `--block-size`."""
    return "--" + name.replace("_", "-")


@cache
def _type_hints(cls: type[Config]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def field_type(cls: type[Config], name: str) -> Any:
    """The resolved type of a config field: str, int, float, bool, one of these `| None`, or `tuple[str, ...]`."""
    return _type_hints(cls)[name]


def is_repeatable(hint: Any) -> bool:
    """True for `tuple[str, ...]` fields, whose flag takes several values and may be repeated."""
    return typing.get_origin(hint) is tuple


def base_type(hint: Any) -> type:
    """str, int, float or bool: the type of one value of the field."""
    if is_repeatable(hint):
        return typing.get_args(hint)[0]
    if isinstance(hint, types.UnionType):
        return next(item for item in typing.get_args(hint) if item is not type(None))
    return hint


def is_optional(hint: Any) -> bool:
    """True when the field may be None."""
    return isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)


def _checked(item: dataclasses.Field[Any], value: Any, hint: Any) -> Any:
    name, limits = item.name, item.metadata
    if is_repeatable(hint):
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ConfigError(name, f"{flag(name)} must be a list", "Give one or more values")
        if not value and item.default is dataclasses.MISSING:
            raise ConfigError(name, f"{flag(name)} is empty", f"Give at least one value: {limits['help']}")
        return tuple(_checked_one(name, one, base_type(hint), limits) for one in value)
    if value is None:
        if not is_optional(hint):
            raise ConfigError(name, f"{flag(name)} is missing", f"Give {flag(name)}: {limits['help']}")
        return None
    return _checked_one(name, value, base_type(hint), limits)


def _checked_one(name: str, value: Any, wanted: type, limits: Mapping[str, Any]) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if wanted is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, wanted) or (wanted is not bool and isinstance(value, bool)):
        kinds: dict[type, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise ConfigError(name, f"{flag(name)} is {value!r}, not {kinds[wanted]}", f"Give {kinds[wanted]}")
    if isinstance(value, str):
        _check_text(name, value, limits)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(name, f"{flag(name)} is {value}", "Give a finite number")
    choices = limits["choices"]
    if choices is not None and value not in choices:
        raise ConfigError(name, f"{flag(name)} is {value!r}", f"Choose one of: {', '.join(map(str, choices))}")
    low, high = limits["minimum"], limits["maximum"]
    if (low is not None and value < low) or (high is not None and value > high):
        allowed = (
            f"from {low} to {high}" if low is not None and high is not None else (f"at least {low}" if high is None else f"at most {high}")
        )
        raise ConfigError(name, f"{flag(name)} is {value}", f"Give a value {allowed}{' ' + limits['unit'] if limits['unit'] else ''}")
    return value


def _check_text(name: str, value: str, limits: Mapping[str, Any]) -> None:
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        # Bytes of the command line that are no UTF-8 arrive as halves of surrogate pairs; no report could hold them.
        raise ConfigError(name, f"{flag(name)} holds bytes that are no UTF-8 text", "Write it, or name the file, in UTF-8") from error
    if limits["kind"] == "prompt":
        return
    if "\0" in value:
        raise ConfigError(name, f"{flag(name)} holds a NUL character", "Remove it")
    longest = max(map(len, encoded.split(b"/")))
    if longest > LONGEST_NAME_BYTES or len(encoded) > LONGEST_PATH_BYTES:
        raise ConfigError(
            name,
            f"{flag(name)} has {len(encoded)} bytes, {longest} of them in one name",
            f"Give at most {LONGEST_PATH_BYTES} bytes, and at most {LONGEST_NAME_BYTES} for each name in a path",
        )
    if not value.strip() and limits["choices"] is None:
        raise ConfigError(name, f"{flag(name)} is empty", f"Give {limits['help']}")


def _output() -> Any:
    return option(help="folder that the result is written to", kind="folder")


def _overwrite() -> Any:
    return option(False, help="replace the output folder if it is not empty")


def _input(help: str = "text files or folders: txt, md, jsonl, csv, tsv, parquet, also gz, zst or zip; hf://dataset when online") -> Any:
    return option(help=help, kind="text")


def _text_field() -> Any:
    return option(
        None, help="column or key that holds the text; found by itself when it is called text, content or document", advanced=True
    )


def _encoding() -> Any:
    return option(None, help="encoding of plain text files; detected when not given", advanced=True)


def _seed() -> Any:
    return option(0, help="seed of everything random", minimum=0, maximum=2**32 - 1, advanced=True)


def _device() -> Any:
    return option("auto", help="where to compute; auto takes a GPU when there is one", choices=DEVICES, advanced=True)


def _precision() -> Any:
    return option(
        "auto",
        help="number format of the computation; auto takes bfloat16 where the hardware is fast at it, weights that learn stay float32",
        choices=PRECISIONS,
        advanced=True,
    )


def _threads() -> Any:
    return option(
        None,
        help="CPU threads; by default all physical cores, one for models under 10 million parameters",
        minimum=1,
        maximum=1024,
        advanced=True,
    )


@dataclass(frozen=True, kw_only=True)
class AddCorpusConfig(Config):
    """Read text of any kind, clean it, drop exact duplicates, keep a held-out part apart, and count what is there."""

    input: tuple[str, ...] = _input()
    output: str = _output()
    text_field: str | None = _text_field()
    encoding: str | None = _encoding()
    heldout_share: float = option(
        0.02, help="share of the documents kept out of vocabulary and training, for measuring", minimum=0.0, maximum=0.5
    )
    keep_duplicates: bool = option(False, help="keep documents whose text occurred before", advanced=True)
    overwrite: bool = _overwrite()


@dataclass(frozen=True, kw_only=True)
class MeasureFertilityConfig(Config):
    """Count how many tokens each tokenizer needs for the same text."""

    tokenizer: tuple[str, ...] = option(help="tokenizer or model folders to compare", kind="tokenizer")
    input: tuple[str, ...] = _input()
    text_field: str | None = _text_field()
    encoding: str | None = _encoding()


@dataclass(frozen=True, kw_only=True)
class BuildTokenizerConfig(Config):
    """Make a vocabulary that fits the corpus, on top of the model's own tokenizer or in its place."""

    base: str = option(help="model or tokenizer folder whose tokenizer is adapted", kind="model")
    input: tuple[str, ...] = _input()
    output: str = _output()
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
    text_field: str | None = _text_field()
    encoding: str | None = _encoding()
    overwrite: bool = _overwrite()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_vocabulary(self)


def _check_vocabulary(config: BuildTokenizerConfig | AdaptConfig) -> None:
    if config.new_tokens is not None and config.vocab_size is not None:
        raise ConfigError("vocab_size", "--new-tokens and --vocab-size are both given", "Give one of them")
    if config.variant == "bpe" and config.new_tokens is not None:
        raise ConfigError("new_tokens", "the bpe variant replaces the vocabulary, so it adds no tokens", "Give --vocab-size instead")


@dataclass(frozen=True, kw_only=True)
class InitializeConfig(Config):
    """Give the base model the new vocabulary: rows of new tokens are averages of the old pieces that spell them."""

    base: str = option(help="base model folder or hub id", kind="model")
    tokenizer: str = option(help="folder of the new tokenizer", kind="tokenizer")
    output: str = _output()
    method: str = option(
        "mean", help="mean: all old pieces count alike; weighted-mean: the first piece counts most", choices=INITIALIZATIONS
    )
    head: str = option("own", help="own: average the head's rows too; tie: copy the input rows", choices=HEADS)
    decay: float = option(1.0, help="weighted-mean: piece k weighs exp(-decay * k)", minimum=0.0, maximum=100.0, advanced=True)
    overwrite: bool = _overwrite()


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """Train the input embeddings and the head on raw text; everything else stays frozen."""

    model: str = option(help="model folder to train, usually an initialised one", kind="model")
    input: tuple[str, ...] = _input()
    output: str = _output()
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
    seed: int = _seed()
    device: str = _device()
    precision: str = _precision()
    threads: int | None = _threads()
    text_field: str | None = _text_field()
    encoding: str | None = _encoding()
    overwrite: bool = _overwrite()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.new_rows_only and self.initial is None:
            raise ConfigError(
                "initial",
                "--new-rows-only needs to know the old vocabulary",
                "Give --initial BASE, the model before its vocabulary was changed",
            )


@dataclass(frozen=True, kw_only=True)
class PropagateConfig(Config):
    """Carry the trained embeddings of the base model over to its instruct sibling."""

    base: str = option(help="base model with its original vocabulary", kind="model")
    adapted: str = option(help="the base model after embedding training", kind="model")
    instruct: str = option(help="instruct model that gets the new vocabulary", kind="model")
    output: str = _output()
    method: str = option(
        "conversion",
        help="swap: take the trained rows as they are; overlap: a linear map fitted on shared tokens; conversion: a map fitted on all new tokens",
        choices=METHODS,
    )
    rcond: float = option(
        1e-6, help="singular values below this share of the largest count as zero", minimum=0.0, maximum=0.1, advanced=True
    )
    overwrite: bool = _overwrite()


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Config):
    """Measure models on the same text and tasks, with intervals."""

    model: tuple[str, ...] = option(help="model folders to compare", kind="model")
    task: tuple[str, ...] = option(
        ("bits-per-byte",),
        help="bits-per-byte: how well text is predicted; copy-*: does it copy a text faithfully; instruct: checkable questions",
        choices=TASKS,
    )
    input: tuple[str, ...] = option((), help="text for bits-per-byte and the copy tasks", kind="text")
    items: tuple[str, ...] = option((), help="JSONL with prompt and answer (and language) for instruct", kind="items")
    limit: int = option(200, help="largest number of documents or items per task", unit="items", minimum=1, maximum=10_000_000)
    block_size: int = option(
        512, help="context of the bits-per-byte measurement", unit="tokens", minimum=8, maximum=1_048_576, advanced=True
    )
    max_new_tokens: int = option(256, help="longest answer", unit="tokens", minimum=1, maximum=131_072, advanced=True)
    batch_size: int = option(16, help="sequences computed at a time", unit="sequences", minimum=1, maximum=65_536, advanced=True)
    output: str | None = option(None, help="folder for report.json and every answer", kind="folder", advanced=True)
    seed: int = _seed()
    device: str = _device()
    precision: str = _precision()
    threads: int | None = _threads()
    text_field: str | None = _text_field()
    encoding: str | None = _encoding()
    overwrite: bool = _overwrite()

    def __post_init__(self) -> None:
        super().__post_init__()
        for task in self.task:
            needed = "items" if task == "instruct" else "input"
            if not getattr(self, needed):
                raise ConfigError(needed, f"the task {task} needs {flag(needed)}", f"Give {flag(needed)} FILE")


@dataclass(frozen=True, kw_only=True)
class BenchmarkSpeedConfig(Config):
    """Measure how fast models write: characters per second is the figure that compares vocabularies fairly."""

    model: tuple[str, ...] = option(help="model folders to compare", kind="model")
    input: tuple[str, ...] = _input("text whose beginnings serve as prompts")
    prompts: int = option(8, help="number of prompts", minimum=1, maximum=10_000)
    characters: int = option(400, help="length of the continuation that is timed", unit="characters", minimum=1, maximum=1_000_000)
    repeats: int = option(3, help="measurements per model; the median counts", minimum=1, maximum=1000, advanced=True)
    output: str | None = option(None, help="folder for report.json", kind="folder", advanced=True)
    device: str = _device()
    precision: str = _precision()
    threads: int | None = _threads()
    text_field: str | None = _text_field()
    encoding: str | None = _encoding()
    overwrite: bool = _overwrite()


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(Config):
    """Let one or more models answer the same prompt."""

    model: tuple[str, ...] = option(help="model folders; one answer each", kind="model")
    prompt: str = option(help="what to answer or to continue", kind="prompt")
    system: str | None = option(None, help="system prompt, for chat templates that have one", kind="prompt")
    plain: bool = option(False, help="continue the prompt as plain text even if the model has a chat template")
    max_new_tokens: int = option(256, help="longest answer", unit="tokens", minimum=1, maximum=131_072)
    temperature: float = option(0.0, help="0 = always the likeliest token", minimum=0.0, maximum=100.0)
    top_p: float = option(
        1.0, help="sample from the likeliest tokens that together hold this probability", minimum=0.0, maximum=1.0, advanced=True
    )
    top_k: int = option(0, help="sample from this many likeliest tokens; 0 = all", minimum=0, maximum=10_000_000, advanced=True)
    repetition_penalty: float = option(1.0, help="above 1 discourages repetition", minimum=0.1, maximum=10.0, advanced=True)
    seed: int = _seed()
    device: str = _device()
    precision: str = _precision()
    threads: int | None = _threads()


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Config):
    """Write a model as a folder for others, with a model card and proof that it computes the same."""

    model: str = option(help="model folder to export", kind="model")
    output: str = _output()
    format: str = option("hf", help="hf: Hugging Face folder for transformers and vLLM", choices=EXPORT_FORMATS)
    overwrite: bool = _overwrite()


@dataclass(frozen=True, kw_only=True)
class AdaptConfig(Config):
    """All stages in one: corpus, vocabulary, initialisation, training, propagation, measurement."""

    base: str = option(help="base model folder or hub id", kind="model")
    instruct: str = option(help="instruct sibling of the base model", kind="model")
    input: tuple[str, ...] = _input()
    output: str = _output()
    replay: tuple[str, ...] = option((), help="text in the model's old language, mixed in so that it is not forgotten", kind="text")
    replay_share: float = option(0.15, help="share of the training tokens taken from the replay text", minimum=0.0, maximum=0.9)
    variant: str = option("continued-bpe", help="how the vocabulary is built", choices=VARIANTS)
    new_tokens: int | None = option(None, help="tokens to add (continued-bpe, extension)", unit="tokens", minimum=1, maximum=1_000_000)
    vocab_size: int | None = option(
        None, help="size of the whole vocabulary, instead of new tokens", unit="tokens", minimum=1, maximum=2_000_000
    )
    initialization: str = option("mean", help="how rows of new tokens begin", choices=INITIALIZATIONS)
    head: str = option("own", help="own: average the head's rows too; tie: copy the input rows", choices=HEADS, advanced=True)
    method: tuple[str, ...] = option(("conversion",), help="how embeddings reach the instruct model; several may be given", choices=METHODS)
    items: tuple[str, ...] = option((), help="JSONL with checkable prompts and answers to measure the result on", kind="items")
    steps: int | None = option(
        None, help="optimizer steps; by default one pass over the text", unit="steps", minimum=1, maximum=100_000_000
    )
    learning_rate: float = option(2e-4, help="peak learning rate", minimum=1e-8, maximum=1.0)
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
    seed: int = _seed()
    device: str = _device()
    precision: str = _precision()
    threads: int | None = _threads()
    text_field: str | None = _text_field()
    encoding: str | None = _encoding()
    overwrite: bool = _overwrite()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_vocabulary(self)


@dataclass(frozen=True, kw_only=True)
class DemoConfig(Config):
    """The whole path in minutes on a small generated world in English and Russian."""

    output: str = option("lep-demo", help="folder for everything that the demo makes", kind="folder")
    steps: int = option(600, help="embedding training steps", unit="steps", minimum=1, maximum=1_000_000)
    rebuild_pair: bool = option(False, help="train the demo's base and instruct model again instead of using those that ship")
    seed: int = _seed()
    overwrite: bool = _overwrite()
