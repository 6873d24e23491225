"""Settings of measurements and of generation."""

from __future__ import annotations

from dataclasses import dataclass

from lep_core.config.base import Config, flag, option
from lep_core.config.common import (
    device_option,
    encoding_option,
    input_option,
    overwrite_option,
    precision_option,
    seed_option,
    text_field_option,
    threads_option,
)
from lep_core.errors import ConfigError

TASKS = ("bits-per-byte", "minimal-pairs", "multiple-choice", "copy-sentence", "copy-paragraph", "instruct", "instructions", "generation")
HARNESS_PREFIX = "harness/"
ITEM_TASKS = ("minimal-pairs", "multiple-choice", "instruct", "instructions", "generation")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Config):
    """Measure models on the same text and tasks, with intervals."""

    model: tuple[str, ...] = option(help="model folders to compare", kind="model")
    task: tuple[str, ...] = option(
        ("bits-per-byte",),
        help="bits-per-byte: how well text is predicted; minimal-pairs: is the grammatical sentence likelier; multiple-choice: is the right option likeliest; copy-*: does it copy a text faithfully; instruct: questions with checkable answers; instructions: demands that a program checks; generation: free answers compared with references",
        choices=TASKS,
    )
    input: tuple[str, ...] = option((), help="text for bits-per-byte and the copy tasks", kind="text")
    items: tuple[str, ...] = option(
        (), help="JSONL, JSON or CSV files or folders with items; their keys say which task they belong to", kind="items"
    )
    harness: tuple[str, ...] = option(
        (), help="tasks, groups or tags of lm-evaluation-harness, by name; they need the extra lm-eval, and their data sets on this machine"
    )
    harness_path: str | None = option(
        None, help="folder with task files (YAML) for lm-evaluation-harness; their code is never run", kind="folder", advanced=True
    )
    shots: int = option(
        0, help="solved examples before each question (multiple-choice, instruct, generation)", minimum=0, maximum=100, advanced=True
    )
    shot_items: tuple[str, ...] = option(
        (), help="files with the solved examples; by default the first items, which are then not measured", kind="items", advanced=True
    )
    limit: int = option(200, help="largest number of documents or items per task", unit="items", minimum=1, maximum=10_000_000)
    block_size: int = option(
        512, help="context of the bits-per-byte measurement", unit="tokens", minimum=8, maximum=1_048_576, advanced=True
    )
    max_new_tokens: int = option(256, help="longest answer", unit="tokens", minimum=1, maximum=131_072, advanced=True)
    batch_size: int = option(16, help="sequences computed at a time", unit="sequences", minimum=1, maximum=65_536, advanced=True)
    output: str | None = option(
        None,
        help="folder for report.json and every answer; without it nothing is kept of an evaluation that is stopped or killed",
        kind="folder",
        advanced=True,
    )
    resume: bool = option(False, help="go on with what a stopped or killed evaluation has kept beside its output, in OUTPUT.partial")
    seed: int = seed_option()
    device: str = device_option()
    precision: str = precision_option()
    threads: int | None = threads_option()
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()
    overwrite: bool = overwrite_option()

    @property
    def measured(self) -> tuple[str, ...]:
        """Every task once, those of the harness with their prefix."""
        return tuple(dict.fromkeys((*self.task, *(f"{HARNESS_PREFIX}{name}" for name in self.harness))))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.harness and not self.input and self.task == ("bits-per-byte",):
            # Who names tasks of the harness and no text wants these alone.
            object.__setattr__(self, "task", ())
        for task in self.task:
            needed = "items" if task in ITEM_TASKS else "input"
            if not getattr(self, needed):
                raise ConfigError(needed, f"the task {task} needs {flag(needed)}", f"Give {flag(needed)} FILE")


@dataclass(frozen=True, kw_only=True)
class BenchmarkSpeedConfig(Config):
    """Measure how fast models write: characters per second is the figure that compares vocabularies fairly."""

    model: tuple[str, ...] = option(help="model folders to compare", kind="model")
    input: tuple[str, ...] = input_option("text whose beginnings serve as prompts")
    prompts: int = option(8, help="number of prompts", minimum=1, maximum=10_000)
    characters: int = option(400, help="length of the continuation that is timed", unit="characters", minimum=1, maximum=1_000_000)
    repeats: int = option(3, help="measurements per model; the median counts", minimum=1, maximum=1000, advanced=True)
    output: str | None = option(None, help="folder for report.json", kind="folder", advanced=True)
    device: str = device_option()
    precision: str = precision_option()
    threads: int | None = threads_option()
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()
    overwrite: bool = overwrite_option()


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
    seed: int = seed_option()
    device: str = device_option()
    precision: str = precision_option()
    threads: int | None = threads_option()
