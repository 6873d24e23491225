"""Settings of calibration: instruction tuning on given conversations, and self-calibration on a teacher's own answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

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
from lep_core.config.training import CHECKPOINTING, OPTIMIZERS
from lep_core.errors import ConfigError

SCOPES = ("lora", "full")
LORA_TARGETS = ("attention", "mlp")
FULL_PARTS = ("embeddings", "head", "outer-layers", "none")
TOO_LONG = ("cut", "drop")
BAD_CONVERSATIONS = ("refuse", "skip")
JUDGE_METHODS = ("yes-no", "likelihood")
ANSWER_SCRIPTS = (
    "prompt",
    "any",
    "latin",
    "cyrillic",
    "arabic",
    "devanagari",
    "greek",
    "hebrew",
    "han",
    "japanese",
    "hangul",
    "thai",
    "georgian",
    "armenian",
)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Values of a published recipe, or of our own measurements; each holds where the setting itself is left open."""

    scope: str = "lora"
    lora_rank: int = 8
    lora_alpha: int = 16
    full_parts: tuple[str, ...] = ()
    learning_rate: float = 5e-5
    weight_decay: float = 0.05
    max_length: int = 4096
    batch_size: int = 128


_INSTRUCTION_TUNING = Preset(lora_rank=32, lora_alpha=16, full_parts=("head",))
PRESETS = {
    # The paper's two recipes (arXiv 2412.21140, calibration).
    "self-calibration": Preset(
        lora_alpha=1, full_parts=("embeddings", "head", "outer-layers"), learning_rate=2.5e-5, weight_decay=0.1, max_length=8096
    ),
    "instruction-tuning": _INSTRUCTION_TUNING,
    # A base model has never seen the special tokens of a chat: their rows must learn.
    "traditional": dataclasses.replace(_INSTRUCTION_TUNING, full_parts=("embeddings", "head")),
    # Models of a few million parameters have no rank to spare: all of their weights learn.
    "laptop": Preset(scope="full", learning_rate=3e-4, weight_decay=0.0, max_length=1024, batch_size=16),
}


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig(Config):
    """Tune a chat model on conversations: data that you give, or the answers of its own original (self-calibration)."""

    model: str = option(help="model folder to tune: a propagated instruct model, or an adapted base model", kind="model")
    output: str = output_option()
    data: tuple[str, ...] = option(
        (),
        help="conversations to learn from: jsonl, json, csv or parquet with messages, prompt and response, Alpaca or ShareGPT records",
        kind="items",
    )
    teacher: str | None = option(None, help="original instruct model, whose own answers are learned (self-calibration)", kind="model")
    prompt_file: tuple[str, ...] = option(
        (),
        help="files with prompts for the teacher: jsonl, json or csv with prompt, messages or question, or txt with one a line; by default"
        " questions and tasks made from the text",
        kind="items",
    )
    input: tuple[str, ...] = input_option("text in the new language: the prompts come from it where none are given, and the copy tasks", ())
    max_prompts: int = option(10_000, help="largest number of prompts", unit="prompts", minimum=1, maximum=10_000_000)
    max_new_tokens: int = option(512, help="longest answer of the teacher", unit="tokens", minimum=1, maximum=1_048_576)
    copy_share: float = option(
        0.4, help="part of the conversations that are copy tasks made from the text; the paper has 0.43", minimum=0.0, maximum=0.95
    )
    pairs_only: bool = option(
        False, help="stop when the pairs are written, so that they can be looked at and edited; go on with --data pairs.jsonl"
    )
    items: tuple[str, ...] = option(
        (), help="items with checkable answers: before and after are measured on them, and they are never learned", kind="items"
    )
    heldout: tuple[str, ...] = option(
        (),
        help="text to measure bits per byte on; by default the held-out part of the text, else 2 % of its documents",
        kind="text",
        advanced=True,
    )
    limit: int = option(
        400, help="largest number of documents or items per measurement", unit="items", minimum=1, maximum=10_000_000, advanced=True
    )
    prompt_template: tuple[str, ...] = option(
        (),
        help="tasks made from the text, {text} stands for the passage; they take the place of the built-in ones",
        kind="prompt",
        advanced=True,
    )
    copy_template: str | None = option(
        None, help="how a copy is asked for, {text} stands for the text; by default in the text's language", kind="prompt", advanced=True
    )
    copy_characters: int = option(1000, help="longest text to copy", unit="characters", minimum=20, maximum=1_000_000, advanced=True)
    answer_batch: int = option(
        32, help="prompts that the teacher answers at a time", unit="prompts", minimum=1, maximum=65_536, advanced=True
    )
    max_prompt_characters: int = option(
        4000, help="longer prompts are left out", unit="characters", minimum=10, maximum=10_000_000, advanced=True
    )
    min_answer_characters: int = option(
        1, help="shorter answers are left out", unit="characters", minimum=1, maximum=1_000_000, advanced=True
    )
    max_answer_characters: int | None = option(
        None, help="longer answers are left out", unit="characters", minimum=1, maximum=10_000_000, advanced=True
    )
    unfinished: bool = option(False, help="keep answers that were cut off by the length limit", advanced=True)
    answer_script: str = option(
        "prompt",
        help="which script answers must be written in: that of their prompt, any, or a given one, which then holds for prompts too; a script"
        " is not a language",
        choices=ANSWER_SCRIPTS,
        advanced=True,
    )
    script_share: float = option(
        0.5, help="part of an answer's letters that must be in that script", minimum=0.0, maximum=1.0, advanced=True
    )
    max_repetition: float = option(
        0.3, help="largest part of an answer's runs of four words that occurred in it before", minimum=0.0, maximum=1.0, advanced=True
    )
    max_compression: float = option(
        4.0,
        help="largest number of characters that an answer of 200 or more packs into a byte; ordinary text has 1.5 to 2.5",
        minimum=1.0,
        maximum=1000.0,
        advanced=True,
    )
    judge: str | None = option(None, help="model that says of each answer whether it is good", kind="model", advanced=True)
    judge_method: str = option(
        "yes-no",
        help="judge: yes-no asks it whether the answer is good; likelihood takes how likely it finds the answer itself, so that answers on"
        " which teacher and judge disagree go first",
        choices=JUDGE_METHODS,
        advanced=True,
    )
    judge_share: float = option(
        0.8, help="judge: part of the answers that is kept, the best ones", minimum=0.01, maximum=1.0, advanced=True
    )
    judge_template: str | None = option(
        None,
        help="judge: how it is asked, {prompt} and {answer} are put in; it must ask for Yes or No",
        kind="prompt",
        advanced=True,
    )
    preset: str = option(
        "auto",
        help="where the values come from that are left open; self-calibration and instruction-tuning: as in the paper; traditional: a base"
        " model becomes an instruct model; laptop: all weights of a small model; auto: self-calibration with a teacher,"
        " instruction-tuning without",
        choices=("auto", *PRESETS),
    )
    template_from: str | None = option(
        None,
        help="model whose chat template and special tokens the result gets, for a base model that has none; without it a plain built-in one",
        kind="model",
    )
    adapter: str | None = option(
        None,
        help="folder of a LoRA adapter to merge into the model first; by default the adapter folder of the model",
        advanced=True,
    )
    scope: str | None = option(None, help="lora: an adapter learns, and the full parts; full: all weights learn", choices=SCOPES)
    lora_rank: int | None = option(None, help="lora: rank of the adapter", minimum=1, maximum=1024, advanced=True)
    lora_alpha: int | None = option(None, help="lora: the adapter counts alpha / rank times", minimum=1, maximum=4096, advanced=True)
    lora_targets: tuple[str, ...] = option(
        LORA_TARGETS, help="lora: which projections of the body get an adapter", choices=LORA_TARGETS, advanced=True
    )
    full_parts: tuple[str, ...] = option(
        (),
        help="lora: parts that learn in full beside the adapter; outer-layers are the first and the last; by default as the preset says",
        choices=FULL_PARTS,
        advanced=True,
    )
    learning_rate: float | None = option(None, help="peak learning rate", minimum=1e-8, maximum=1.0)
    epochs: float = option(1.0, help="passes over the conversations", minimum=0.001, maximum=1000.0)
    steps: int | None = option(None, help="optimizer steps, instead of passes", unit="steps", minimum=1, maximum=100_000_000)
    batch_size: int | None = option(None, help="conversations per optimizer step", unit="sequences", minimum=1, maximum=1_000_000)
    micro_batch_tokens: int | None = option(
        None, help="tokens computed at a time; smaller needs less memory", unit="tokens", minimum=1, maximum=100_000_000, advanced=True
    )
    max_length: int | None = option(
        None, help="longest conversation, at most what the model reads", unit="tokens", minimum=8, maximum=1_048_576
    )
    too_long: str = option(
        "cut", help="longer conversations: cut off their last whole turns, or drop them; both are counted", choices=TOO_LONG, advanced=True
    )
    bad_conversations: str = option(
        "refuse",
        help="records that are no conversation or have no answer: stop with a message, or skip and count them",
        choices=BAD_CONVERSATIONS,
        advanced=True,
    )
    heldout_share: float = option(
        0.05, help="share of the conversations kept out to measure the loss of answers", minimum=0.0, maximum=0.5, advanced=True
    )
    warmup_steps: int = option(
        20,
        help="steps over which the learning rate rises; at most a tenth of all steps are used",
        unit="steps",
        minimum=0,
        maximum=1_000_000,
        advanced=True,
    )
    schedule: str = option(
        "cosine", help="how the learning rate goes on after warm-up", choices=("cosine", "linear", "constant"), advanced=True
    )
    weight_decay: float | None = option(
        None, help="AdamW weight decay; touches only rows that received a gradient", minimum=0.0, maximum=10.0, advanced=True
    )
    gradient_clip: float = option(1.0, help="largest gradient norm; 0 = no clipping", minimum=0.0, maximum=1e9, advanced=True)
    gradient_checkpointing: str = option(
        "auto",
        help="compute the layers a second time instead of keeping what they computed: less memory, about a third slower",
        choices=CHECKPOINTING,
        advanced=True,
    )
    optimizer: str = option(
        "adamw", help="adamw-8bit keeps the moments in 8 bits, for small GPUs; needs bitsandbytes", choices=OPTIMIZERS, advanced=True
    )
    keep_adapter: bool = option(
        False, help="lora: keep what was learned as a peft adapter too, in the folder merged-adapter of the result", advanced=True
    )
    evaluate_every: int = option(
        50, help="steps between measurements on held-out conversations", unit="steps", minimum=1, maximum=100_000_000, advanced=True
    )
    checkpoint_every: int = option(100, help="steps between checkpoints", unit="steps", minimum=1, maximum=100_000_000, advanced=True)
    keep_checkpoints: int = option(2, help="how many checkpoints are kept", minimum=1, maximum=1000, advanced=True)
    checkpoints: str | None = option(None, help="folder of the checkpoints; by default beside the output", kind="folder", advanced=True)
    resume: bool = option(False, help="go on from the newest sound checkpoint")
    seed: int = seed_option()
    device: str = device_option()
    precision: str = precision_option()
    threads: int | None = threads_option()
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()
    overwrite: bool = overwrite_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data and self.teacher is None:
            raise ConfigError(
                "data", "there is nothing to learn from: neither --data nor --teacher is given", "Give --data FILE or --teacher MODEL"
            )
        _check_self_calibration(self)
        if "none" in self.full_parts and len(set(self.full_parts)) > 1:
            raise ConfigError("full_parts", f"--full-parts is {', '.join(self.full_parts)}", "Give none alone, or the parts without it")
        if self.keep_adapter and self.chosen("scope") == "full":
            raise ConfigError("keep_adapter", "--keep-adapter is given, but all weights learn and there is no adapter", "Leave it out")

    @property
    def preset_name(self) -> str:
        """The preset, with auto decided."""
        return self.preset if self.preset != "auto" else "self-calibration" if self.teacher is not None else "instruction-tuning"

    def chosen(self, name: str) -> Any:
        """The value of a setting that a preset may decide."""
        value = getattr(self, name)
        return getattr(PRESETS[self.preset_name], name) if value is None or value == () else value

    def resolved(self) -> CalibrateConfig:
        """The same settings with everything decided that the preset decides."""
        changes = {item.name: self.chosen(item.name) for item in dataclasses.fields(Preset)}
        return self.replace(preset=self.preset_name, **changes | {"full_parts": changes["full_parts"] or ("none",)})


def _check_self_calibration(config: CalibrateConfig) -> None:
    """Refuse settings of the pairs that cannot work, or that nothing would use."""
    if config.teacher is None:
        for name in ("prompt_file", "judge", "pairs_only"):
            if getattr(config, name):
                raise ConfigError(
                    name, f"{flag(name)} is given, but no teacher answers", "Give --teacher MODEL, the original instruct model"
                )
    elif not config.prompt_file and not config.input:
        raise ConfigError(
            "prompt_file", "the teacher has nothing to answer", "Give --prompt-file FILE, or --input TEXT to make prompts from"
        )
    placeholders = {"prompt_template": ("{text}",), "copy_template": ("{text}",), "judge_template": ("{prompt}", "{answer}")}
    for name, needed in placeholders.items():
        given = getattr(config, name)
        for template in (given,) if isinstance(given, str) else given or ():
            for placeholder in needed:
                if placeholder not in template:
                    raise ConfigError(
                        name, f"{flag(name)} has no {placeholder}: {template[:60]!r}", f"Write {placeholder} where it belongs"
                    )
