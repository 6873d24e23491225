"""Will this training work here: memory, disk and time that it needs, and everything that is missing or wrong, without training.

    python -m lep_core preflight --model initialized/ --input texts/ --output trained/

Takes the settings of `train`. Nothing is loaded but headers, the tokenizer and the first megabyte of text; the device multiplies
matrices for a third of a second (`estimate`). Figures are for one process.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from lep_core.config import TrainConfig
from lep_core.errors import ConfigError, LepError
from lep_core.files import check_output, nearest_existing_parent
from lep_core.models import ModelFolder, choose_device, choose_precision, choose_threads, inspect_model, load_tokenizer
from lep_core.models.devices import torch_threads
from lep_core.progress import SILENT, Reporter
from lep_core.training.checkpoint import checkpoint_folders
from lep_core.training.estimate import (
    GIB,
    HASHING_BYTES_PER_SECOND,
    PACKING_BYTES_PER_SECOND,
    START_SECONDS,
    WRITING_BYTES_PER_SECOND,
    Shape,
    Speed,
    free_memory,
    measure_speed,
    step_seconds,
)
from lep_core.training.loop import check_block_size, check_hardware, heldout_budget
from lep_core.training.memory import choose_checkpointing, choose_micro_batch
from lep_core.training.packing import Encoder
from lep_core.training.schedule import large_rate_warning

Sample = tuple[list[str], int]
"""The first documents of a text, and the bytes of the whole text."""

MANY_PASSES = 4
SPARE_MEMORY = 0.9


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that stops the training ("error"), may spoil it ("warning") or is good to know ("info")."""

    field: str
    message: str
    hint: str
    severity: str = "error"


@dataclass(frozen=True, kw_only=True)
class PreflightReport:
    """What the training will need; a figure is None when what it depends on is missing.

    `parts` are GiB of memory by purpose, `disk_parts` GiB of disk: kept checkpoints, the output, and what is there for a while only.
    `fits` is True when no problem is an error.
    """

    device: str | None = None
    precision: str | None = None
    memory_gib: float | None = None
    memory_free_gib: float | None = None
    disk_gib: float | None = None
    disk_free_gib: float | None = None
    tokens_per_second: float | None = None
    seconds: float | None = None
    steps: int | None = None
    corpus_tokens: int | None = None
    micro_batch_size: int | None = None
    parts: dict[str, float] = field(default_factory=dict)
    disk_parts: dict[str, float] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    fits: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_summary(self) -> dict[str, Any]:
        """The same with each problem as one whole line: a table would cut its sentences."""
        lines = {
            f"{problem.severity} {number} ({problem.field.replace('_', '-')})": f"{problem.message}. {problem.hint}"
            for number, problem in enumerate(self.problems, start=1)
        }
        return {**self.to_json(), "problems": lines}


def preflight(
    config: TrainConfig,
    *,
    sample: Callable[[], Sample],
    replay: Callable[[], Sample] | None = None,
    output: Path,
    checkpoints: Path,
    reporter: Reporter = SILENT,
) -> PreflightReport:
    """Estimate a training and collect its problems, errors first; raises nothing that a user can mend."""
    check = _Check(config, output, checkpoints)
    reporter.stage("looking at the model and the text")
    check.places()
    check.learning_rate()
    folder: ModelFolder | None = None
    with check.noted("model"):
        folder = inspect_model(config.model)
        check.model(folder)
    tokens = check.text(sample, replay, folder)
    device: torch.device | None = None
    with check.noted("device"):
        device = choose_device(config.device)
        check_hardware(config, device)
    if folder is None or device is None:
        return check.report()
    dtype = choose_precision(config.precision, device, parameters=folder.parameters)
    reporter.stage("measuring the device")
    with torch_threads(choose_threads(config.threads, folder.parameters)):
        speed = measure_speed(device, dtype)
    check.estimate(folder, device, dtype, speed, tokens)
    return check.report()


class _Check:
    """Collects figures and problems of one training."""

    def __init__(self, config: TrainConfig, output: Path, checkpoints: Path) -> None:
        self.config, self.output, self.checkpoints = config, output, checkpoints
        self.problems: list[Problem] = []
        self.figures: dict[str, Any] = {}
        self.bytes_per_token = 4.0
        self.text_bytes = 0

    def report(self) -> PreflightReport:
        order = ("error", "warning", "info")
        problems = tuple(sorted(self.problems, key=lambda problem: order.index(problem.severity)))
        return PreflightReport(**self.figures, problems=problems, fits=all(problem.severity != "error" for problem in problems))

    def add(self, name: str, message: str, hint: str, severity: str = "error") -> None:
        self.problems.append(Problem(field=name, message=message, hint=hint, severity=severity))

    @contextmanager
    def noted(self, name: str) -> Generator[None, None, None]:
        """Take an error of the block down as a problem of the field `name`."""
        try:
            yield
        except LepError as error:
            self.add(error.field if isinstance(error, ConfigError) else name, error.message, error.hint)

    def places(self) -> None:
        """Output and checkpoints can be written."""
        config = self.config
        with self.noted("output"):
            check_output(self.output, overwrite=config.overwrite or config.resume)
        if self.checkpoints.exists() and not self.checkpoints.is_dir():
            self.add("checkpoints", f"{self.checkpoints} is not a folder", "Choose another --checkpoints")
        elif not (config.resume or config.overwrite) and (earlier := checkpoint_folders(self.checkpoints)):
            self.add(
                "checkpoints",
                f"{self.checkpoints} holds checkpoints of an earlier training, up to {earlier[0].name}",
                "Resume it, overwrite it, or choose another --checkpoints",
            )

    def learning_rate(self) -> None:
        """A rate that most models do not bear."""
        if (message := large_rate_warning(self.config.learning_rate)) is not None:
            hint = "Lower it, or find one with sweep-learning-rate" if self.config.anchor else "Lower it, or hold the rows with --anchor"
            self.add("learning_rate", message, hint, "warning")

    def model(self, folder: ModelFolder) -> None:
        """The model fits its settings, and what is special about it."""
        check_block_size(self.config.block_size, folder)
        if not folder.tokenizer_size:
            self.add("model", f"{folder.path} has no tokenizer.json", "Give a model folder with its tokenizer")
        if folder.tied:
            message = "input embedding and head are one matrix: both learn together"
            self.add("model", message, "Nothing to do: propagation then fits one map", "info")
        if folder.padded_rows:
            message = f"the embedding has {folder.padded_rows} rows beyond the last token"
            self.add("model", message, "Nothing to do: they are kept, and never sampled", "info")

    def text(self, sample: Callable[[], Sample], replay: Callable[[], Sample] | None, folder: ModelFolder | None) -> int | None:
        """Estimated tokens of the text; None when it cannot be read, or no tokenizer is there to count them."""
        tokens: int | None = None
        with self.noted("input"):
            texts, self.text_bytes = sample()
            tokens = self._tokens(texts, folder)
        if replay is not None:
            with self.noted("replay"):
                replay()
        if tokens is not None and tokens < self.config.block_size:
            message = f"the text has about {tokens} tokens, one block needs {self.config.block_size}"
            self.add("input", message, "Give more text or a smaller --block-size")
            return None
        return tokens

    def _tokens(self, texts: list[str], folder: ModelFolder | None) -> int | None:
        if folder is None or not folder.tokenizer_size:
            return None
        encoder = Encoder(load_tokenizer(folder.path), rows=folder.vocab_size, eos=None)
        counted = len(encoder.stream(texts))
        self.bytes_per_token = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) / max(1, counted)
        return int(self.text_bytes / self.bytes_per_token) if self.bytes_per_token else 0

    def estimate(self, folder: ModelFolder, device: torch.device, dtype: torch.dtype, speed: Speed, tokens: int | None) -> None:
        """All figures, and the problems that they show."""
        config = self.config
        share = -(-config.batch_size // config.processes)
        recompute = choose_checkpointing(config.gradient_checkpointing, folder, block_size=config.block_size, device=device, dtype=dtype)
        micro = config.micro_batch_size or choose_micro_batch(
            folder, block_size=config.block_size, batch_size=share, device=device, dtype=dtype, checkpointing=recompute
        )
        shape = Shape.of(config, folder, dtype, checkpointing=recompute)
        micro = min(micro, share)
        self.figures |= {"device": str(device), "precision": str(dtype).removeprefix("torch."), "micro_batch_size": micro}
        self._memory(shape, device, micro)
        steps = self._steps(tokens)
        self.figures |= {"steps": steps, "corpus_tokens": tokens}
        disk = self._disk(folder, shape, steps)
        batch_tokens = share * config.block_size
        one_step = step_seconds(
            shape, speed, device, batch_tokens=batch_tokens, micro_tokens=micro * config.block_size, block_size=config.block_size
        )
        self.figures["tokens_per_second"] = config.processes * batch_tokens / one_step
        if steps is not None:
            measuring = heldout_budget(config) / self.bytes_per_token * shape.measuring_flops_per_token(config.block_size) / speed.flops
            saves = -(-steps // config.checkpoint_every)
            self.figures["seconds"] = (
                START_SECONDS
                + self.text_bytes / PACKING_BYTES_PER_SECOND
                + 4 * folder.bytes / HASHING_BYTES_PER_SECOND
                + steps * one_step
                + (steps // config.evaluate_every + 2) * measuring
                + (saves * shape.checkpoint_bytes + disk["output"]) / WRITING_BYTES_PER_SECOND
            )

    def _memory(self, shape: Shape, device: torch.device, micro: int) -> None:
        parts = shape.memory(tokens=micro * self.config.block_size, device=device)
        needed, free = sum(parts.values()), free_memory(device)
        self.figures |= {
            "parts": {name: value / GIB for name, value in parts.items()},
            "memory_gib": needed / GIB,
            "memory_free_gib": free / GIB,
        }
        if needed <= SPARE_MEMORY * free:
            return
        severity = "error" if needed > free else "warning"
        message = f"the training needs about {needed / GIB:.2f} GiB of memory, {free / GIB:.2f} GiB are free"
        least = sum(shape.memory(tokens=self.config.block_size, device=device).values())
        if micro > 1 and least <= free:
            self.add("micro_batch_size", message, f"Set --micro-batch-size to {micro // 2} or less, or close other programs", severity)
        elif least - shape.memory(tokens=8, device=device)["activations"] > free:
            self.add("model", message, "Choose a smaller model or a machine with more memory", severity)
        else:
            self.add("block_size", message, "Lower --block-size, or close other programs", severity)

    def _steps(self, tokens: int | None) -> int | None:
        config = self.config
        if tokens is None:
            return config.steps
        fresh = config.batch_size * config.block_size * (1 - (config.replay_share if config.replay else 0))
        one_pass = max(1, -(-tokens // max(1, int(fresh))))
        steps = config.steps or one_pass
        if steps > MANY_PASSES * one_pass:
            message = f"{steps} steps read the text {steps / one_pass:.0f} times"
            self.add("steps", message, f"One pass takes about {one_pass} steps; give more text, or watch the held-out curve", "warning")
        return steps

    def _disk(self, folder: ModelFolder, shape: Shape, steps: int | None) -> dict[str, float]:
        """Bytes by what they are for; checks each volume that takes some of them."""
        config = self.config
        checkpoint = shape.checkpoint_bytes
        saves = config.keep_checkpoints if steps is None else min(config.keep_checkpoints, -(-steps // config.checkpoint_every))
        text = self.text_bytes / self.bytes_per_token * (2 if folder.vocab_size <= 2**16 else 4)
        parts = {"checkpoints": saves * checkpoint, "output": _output_bytes(folder, self.output), "temporary": checkpoint + text}
        volumes: dict[int, tuple[Path, float]] = {}
        for place, needed in ((self.output, parts["output"]), (self.checkpoints, parts["checkpoints"] + parts["temporary"])):
            existing = nearest_existing_parent(place)
            device = existing.stat().st_dev
            volumes[device] = (existing, needed + (volumes[device][1] if device in volumes else 0.0))
        for place, needed in volumes.values():
            free = shutil.disk_usage(place).free
            if needed > free:
                message = f"the disk of {place} has {free / GIB:.2f} GiB free, the training needs {needed / GIB:.2f} GiB"
                self.add("output", message, "Free some space, keep fewer checkpoints, or choose an output on another disk")
        self.figures |= {
            "disk_gib": sum(parts.values()) / GIB,
            "disk_free_gib": shutil.disk_usage(nearest_existing_parent(self.output)).free / GIB,
            "disk_parts": {name: value / GIB for name, value in parts.items()},
        }
        return parts


def _output_bytes(folder: ModelFolder, output: Path) -> float:
    """New bytes of the written model: its matrices, and those weight files that cannot be hard-linked."""
    device = nearest_existing_parent(output).stat().st_dev
    files: dict[Path, list[str]] = {}
    for name, slot in folder.slots.items():
        files.setdefault(slot.path, []).append(name)
    needed = sum(folder.slots[name].bytes for name in folder.embedding_names if name == folder.input_name or not folder.tied)
    for path, names in files.items():
        if folder.embedding_names & set(names) or path.resolve().stat().st_dev != device:
            needed += sum(folder.slots[name].bytes for name in names if name not in folder.embedding_names)
    small = sum(path.stat().st_size for path in folder.path.glob("*.json"))
    return needed + small
