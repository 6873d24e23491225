"""How fast models write. Characters per second is the fair figure: tokens per second understates a vocabulary with longer tokens.

Every model continues the same beginnings of texts, greedily, one at a time (as in a chat), until `characters` characters are there;
control tokens are not chosen, so that no model ends early. Models take turns at every single prompt (A B A B ...) after a warm-up, so
that a machine that gets slower or busier hits all alike; the median over the repeats counts, and the ratio to the first model is the
median over pairs (same prompt, same repeat). `characters_per_cpu_second` counts this process's processor time instead of the clock
(CPU only): it does not suffer when other programs run. All models are in memory at once.

Beside the measured speed-up stands the predicted one, from the models' shapes and what the prompts cost each in tokens (`cost.py`): at
batch 1 decoding waits for memory, so `predicted_speedup` compares characters per byte read; `predicted_compute_speedup` compares
characters per operation, which long prompts and large batches wait for. For tiny models, where Python dominates, the gain is nearly that
of characters per token alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from lep_core.config import BenchmarkSpeedConfig
from lep_core.errors import CorpusError
from lep_core.evaluation.cost import ModelCost, gain, model_cost
from lep_core.evaluation.intervals import RESAMPLES
from lep_core.inference.generator import Answer, Delta, Generator
from lep_core.inference.sampling import GenerationSettings
from lep_core.names import distinct_names
from lep_core.progress import SILENT, Reporter

PROMPT_CHARACTERS = 200
PROMPT_STRIDE_CHARACTERS = 2000
WARM_UP_CHARACTERS = 30
MAX_NEW_TOKENS = 131_072


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
    prompt_characters: int
    prompt_tokens: int
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
        prompt_characters=len(prompt),
        prompt_tokens=answer.prompt_tokens,
        characters=answer.characters,
        tokens=answer.new_tokens,
        seconds=answer.seconds,
        cpu_seconds=time.process_time() - cpu_start,
        first_token_seconds=answer.time_to_first_token_seconds,
    )


def _rows(
    names: Sequence[str], generators: Sequence[Generator], turns: Sequence[Sequence[_Turn]], prompts: Sequence[str]
) -> list[dict[str, Any]]:
    tokens = [tokens_of(generator, prompts) for generator in generators]
    costs = [cost_of(generator) for generator in generators]
    characters = sum(map(len, prompts))
    rows = []
    for name, generator, own, count, cost in zip(names, generators, turns, tokens, costs, strict=True):
        repeats = [[turn for turn in own if turn.repeat == repeat] for repeat in sorted({turn.repeat for turn in own})]
        speeds = [_total(part, "characters") / _total(part, "seconds") for part in repeats]
        on_cpu = generator.device.type == "cpu"
        pairs = [turn.speed / first.speed for turn, first in zip(own, turns[0], strict=True) if first.speed > 0]
        measured = statistics.median(pairs) if pairs else None
        expected = gain(
            cost,
            count,
            costs[0],
            tokens[0],
            attended=_attended(turns[0]),
            weight_bytes=(_weight_bytes(generator), _weight_bytes(generators[0])),
        )
        flops = cost.flops_per_token(_attended(own))
        rows.append(
            {
                "model": name,
                "path": str(generator.path),
                "fingerprint": generator.fingerprint,
                "characters_per_second": statistics.median(speeds),
                "characters_per_second_min": min(speeds),
                "characters_per_second_max": max(speeds),
                "characters_per_cpu_second": _total(own, "characters") / _total(own, "cpu_seconds") if on_cpu else None,
                "characters_per_second_ratio": measured,
                "measured_speedup": measured,
                **_interval(pairs),
                "predicted_characters_per_second_ratio": expected.bandwidth_speedup,
                "predicted_speedup": expected.bandwidth_speedup,
                "predicted_compute_speedup": expected.compute_speedup,
                "relative_cost": expected.relative_cost,
                "relative_body_cost": expected.relative_body_cost,
                "relative_head_cost": expected.relative_head_cost,
                "tokens_per_second": statistics.median(_total(part, "tokens") / _total(part, "seconds") for part in repeats),
                "characters_per_token": _total(own, "characters") / max(1, _total(own, "tokens")),
                "text_characters_per_token": characters / count,
                "time_to_first_token_seconds": statistics.median(turn.first_token_seconds for turn in own),
                "flops_per_token": flops,
                "gflop_per_1000_characters": flops * count / characters * 1000 / 1e9,
                "prompt_tokens": _total(own, "prompt_tokens"),
                "prompt_characters": _total(own, "prompt_characters"),
                "generated_tokens": _total(own, "tokens"),
                "generated_characters": _total(own, "characters"),
                "repeats": len(repeats),
            }
        )
    return rows


def tokens_of(generator: Generator, texts: Sequence[str]) -> int:
    """How many tokens the model's tokenizer makes of `texts`, at least one."""
    counts = generator.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return max(1, sum(map(len, counts)))


def cost_of(generator: Generator) -> ModelCost:
    """A loaded model's cost; where its config.json does not tell, 2 operations for each parameter outside the embeddings, and the head."""
    known = model_cost(generator.config.to_dict(), rows=generator.rows)
    if known is not None:
        return known
    head: Any = generator.model.get_output_embeddings()
    outside = {id(head.weight), id(generator.model.get_input_embeddings().weight)}
    body = sum(one.numel() for one in generator.model.parameters() if id(one) not in outside)
    return ModelCost(body_weights=body, head_weights=generator.rows * head.weight.shape[1], attention_width=0, cache_width=0)


def _weight_bytes(generator: Generator) -> float:
    return float(next(generator.model.parameters()).element_size())


def _attended(turns: Sequence[_Turn]) -> float:
    """Tokens that a written token attends to on average: the prompt and half of the answer."""
    return statistics.fmean(turn.prompt_tokens + turn.tokens / 2 for turn in turns)


def _interval(pairs: Sequence[float]) -> dict[str, float | None]:
    """95 % interval of the median speed-up, by bootstrap over pairs (same prompt, same repeat)."""
    if len(pairs) < 2:
        return {"measured_speedup_low": None, "measured_speedup_high": None}
    draws = np.random.default_rng(0).choice(np.asarray(pairs), size=(RESAMPLES, len(pairs)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return {"measured_speedup_low": float(low), "measured_speedup_high": float(high)}


def _total(turns: Sequence[_Turn], field: str) -> float:
    return sum(getattr(turn, field) for turn in turns)
