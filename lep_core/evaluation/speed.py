"""How fast models write. Characters per second is the fair figure: tokens per second understates a vocabulary with longer tokens.

Every model continues the same beginnings of texts, greedily, one at a time (as in a chat), until `characters` characters are there;
control tokens are not chosen, so that no model ends early. Models take turns at every single prompt (A B A B ...) after a warm-up, so
that a machine that gets slower or busier hits all alike; the median over the repeats counts, and the ratio to the first model is the
median over pairs (same prompt, same repeat). `characters_per_cpu_second` counts this process's processor time instead of the clock
(CPU only): it does not suffer when other programs run. All models are in memory at once.

Beside the measured speed stands a prediction from the models' shapes: characters per token of the text itself over the arithmetic of
one token, 2 x (parameters of the body + head rows x hidden size). It holds where arithmetic or memory traffic dominates; for tiny
models, where Python does, the gain is nearly that of characters per token alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lep_core.config import BenchmarkSpeedConfig
from lep_core.errors import CorpusError
from lep_core.inference.generator import Answer, Delta, Generator
from lep_core.inference.sampling import GenerationSettings
from lep_core.names import distinct_names
from lep_core.progress import SILENT, Reporter

PROMPT_CHARACTERS = 200
PROMPT_STRIDE_CHARACTERS = 2000
WARM_UP_CHARACTERS = 30
MAX_NEW_TOKENS = 131_072


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What predicts a model's speed."""

    body_parameters: int
    rows: int
    hidden_size: int
    characters_per_token: float

    @property
    def flops_per_token(self) -> int:
        """Multiplications and additions of one new token; looking up an input row costs nothing."""
        return 2 * (self.body_parameters + self.rows * self.hidden_size)

    @property
    def characters_per_flop(self) -> float:
        return self.characters_per_token / self.flops_per_token


def predicted_speedup(shapes: Sequence[ModelShape]) -> list[float]:
    """Characters per second of each model relative to the first, predicted from arithmetic and characters per token."""
    return [shape.characters_per_flop / shapes[0].characters_per_flop for shape in shapes]


@dataclass(frozen=True, kw_only=True)
class SpeedReport:
    """One row per model, in the given order."""

    models: tuple[dict[str, Any], ...]
    prompts: int
    seconds: float
    stopped: bool

    def to_json(self) -> dict[str, Any]:
        return {"models": list(self.models), "prompts": self.prompts, "seconds": self.seconds, "stopped": self.stopped}


@dataclass(frozen=True)
class _Turn:
    """One model's answer to one prompt."""

    repeat: int
    characters: int
    tokens: int
    seconds: float
    cpu_seconds: float
    first_token_seconds: float

    @property
    def speed(self) -> float:
        return self.characters / self.seconds


def benchmark_speed(
    config: BenchmarkSpeedConfig, texts: Callable[[], Iterable[str]] | Iterable[str], *, reporter: Reporter = SILENT
) -> SpeedReport:
    """Measure `config.model` side by side; a stop keeps the rounds that every model has finished."""
    start = time.monotonic()
    reporter.stage("choosing prompts")
    opened: Any = texts() if callable(texts) else texts
    prompts = choose_prompts(opened, config.prompts)
    names = distinct_names(config.model)
    generators = []
    for number, (name, source) in enumerate(zip(names, config.model, strict=True)):
        reporter.stage(f"loading {name}")
        reporter.progress(number, len(names), "models")
        generators.append(Generator.load(source, device=config.device, precision=config.precision, threads=config.threads))
    reporter.stage("warming up")
    for generator in generators:
        _write(generator, prompts[0], min(WARM_UP_CHARACTERS, config.characters), repeat=-1)
    reporter.stage("timing")
    turns: list[list[_Turn]] = [[] for _ in generators]
    rounds = [(repeat, prompt) for repeat in range(config.repeats) for prompt in prompts]
    stopped = False
    for done, (repeat, prompt) in enumerate(rounds):
        # Without a first round there is nothing to report.
        if done and (stopped := reporter.should_stop()):
            break
        for own, generator in zip(turns, generators, strict=True):
            own.append(_write(generator, prompt, config.characters, repeat=repeat))
        reporter.progress(done + 1, len(rounds), "rounds")
    rows = _rows(names, generators, turns, prompts)
    for row in rows:
        reporter.metric(row)
    return SpeedReport(models=tuple(rows), prompts=len(prompts), seconds=time.monotonic() - start, stopped=stopped)


def choose_prompts(texts: Iterable[str], count: int) -> list[str]:
    """`count` beginnings of texts, cut at a word's end; when texts are few, also from further inside, each used once.

    Raises:
        CorpusError: there is no text.
    """
    documents = list(islice((text.strip() for text in texts if text.strip()), max(count, 1)))
    chosen: dict[str, None] = {}
    longest = max(map(len, documents), default=0)
    for at in range(0, longest, PROMPT_STRIDE_CHARACTERS):
        for document in documents:
            piece = document[at : at + PROMPT_CHARACTERS].strip()
            if len(document) > at + PROMPT_CHARACTERS and " " in piece:
                piece = piece.rsplit(" ", 1)[0]
            if piece and len(chosen) < count:
                chosen[piece] = None
    if not chosen:
        raise CorpusError("there is no text to take prompts from", "Give --input files with text")
    return list(chosen)


def _write(generator: Generator, prompt: str, characters: int, *, repeat: int) -> _Turn:
    """Continue a prompt until `characters` characters are written (or the context is full)."""
    written = 0
    answer: Answer | None = None
    cpu_start = time.process_time()
    parts = generator.stream(
        prompt=prompt,
        settings=GenerationSettings(max_new_tokens=MAX_NEW_TOKENS),
        text_only=True,
        should_stop=lambda: written >= characters,
    )
    for part in parts:
        if isinstance(part, Delta):
            written += len(part.text)
        else:
            answer = part
    assert answer is not None
    return _Turn(
        repeat=repeat,
        characters=answer.characters,
        tokens=answer.new_tokens,
        seconds=answer.seconds,
        cpu_seconds=time.process_time() - cpu_start,
        first_token_seconds=answer.time_to_first_token_seconds,
    )


def _rows(
    names: Sequence[str], generators: Sequence[Generator], turns: Sequence[Sequence[_Turn]], prompts: Sequence[str]
) -> list[dict[str, Any]]:
    shapes = [shape_of(generator, prompts) for generator in generators]
    rows = []
    for name, generator, own, shape, predicted in zip(names, generators, turns, shapes, predicted_speedup(shapes), strict=True):
        repeats = [[turn for turn in own if turn.repeat == repeat] for repeat in sorted({turn.repeat for turn in own})]
        speeds = [_total(part, "characters") / _total(part, "seconds") for part in repeats]
        on_cpu = generator.device.type == "cpu"
        pairs = [turn.speed / first.speed for turn, first in zip(own, turns[0], strict=True) if first.speed > 0]
        rows.append(
            {
                "model": name,
                "path": str(generator.path),
                "fingerprint": generator.fingerprint,
                "characters_per_second": statistics.median(speeds),
                "characters_per_second_min": min(speeds),
                "characters_per_second_max": max(speeds),
                "characters_per_cpu_second": _total(own, "characters") / _total(own, "cpu_seconds") if on_cpu else None,
                "characters_per_second_ratio": statistics.median(pairs) if pairs else None,
                "predicted_characters_per_second_ratio": predicted,
                "tokens_per_second": statistics.median(_total(part, "tokens") / _total(part, "seconds") for part in repeats),
                "characters_per_token": _total(own, "characters") / max(1, _total(own, "tokens")),
                "text_characters_per_token": shape.characters_per_token,
                "time_to_first_token_seconds": statistics.median(turn.first_token_seconds for turn in own),
                "flops_per_token": shape.flops_per_token,
                "repeats": len(repeats),
            }
        )
    return rows


def _total(turns: Sequence[_Turn], field: str) -> float:
    return sum(getattr(turn, field) for turn in turns)


def shape_of(generator: Generator, texts: Sequence[str]) -> ModelShape:
    """A loaded model's shape; characters per token are those of its tokenizer on `texts`."""
    counts = generator.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    head: Any = generator.model.get_output_embeddings()
    outside = {id(head.weight), id(generator.model.get_input_embeddings().weight)}
    return ModelShape(
        body_parameters=sum(one.numel() for one in generator.model.parameters() if id(one) not in outside),
        rows=generator.rows,
        hidden_size=head.weight.shape[1],
        characters_per_token=sum(map(len, texts)) / max(1, sum(map(len, counts))),
    )
