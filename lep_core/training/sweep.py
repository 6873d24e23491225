"""Which learning rate: several short trainings from one start over the same text, side by side (method section 3).

    python -m lep_core sweep-learning-rate --model initialized/ --input texts/ --rates 5e-5 2e-4 1e-3 --output sweep/

    sweep/rates/0.0002.json           the outcome of a finished rate: a resumed sweep does not train it again
    sweep/rate-0.0002.checkpoints/    checkpoints of the rate that is being tried; gone when it is finished

Each rate is a training of its own with a full schedule over `share` of the steps. A rate whose loss becomes NaN is marked and the others
go on. The trained matrices are not kept: the best rate is then given to a training over all steps.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lep_core.config import SweepConfig, TrainConfig
from lep_core.errors import CorpusError, DivergedError, OutputError
from lep_core.files import PARTIAL_PREFIX, make_folder, read_json, write_json
from lep_core.models import inspect_model, load_tokenizer
from lep_core.progress import SILENT, MetricValue, Reporter
from lep_core.training.loop import Texts, train
from lep_core.training.order import DataOrder
from lep_core.training.packing import Encoder, pack
from lep_core.training.report import TrainReport

RATES_FOLDER = "rates"
# Settings that do not change what a rate achieves.
INCIDENTAL_SETTINGS = ("rates", "resume", "overwrite", "output", "checkpoints", "threads")


@dataclass(frozen=True, kw_only=True)
class RateOutcome:
    """What one learning rate achieved on the held-out text; `diverged`: its loss or gradient became NaN or infinite; `moved_far`: rows of
    shared tokens moved farther than was good for skills on the demo's models (`lep_core.risk`), which bits per byte do not show.
    """

    learning_rate: float
    bits_per_byte_before: float | None
    bits_per_byte_after: float | None
    diverged: bool
    steps: int
    seconds: float
    moved_far: bool = False


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """Result of `sweep-learning-rate`; `best_learning_rate` is None when every rate diverged or none was finished."""

    rates: tuple[RateOutcome, ...]
    best_learning_rate: float | None
    steps: int
    stopped: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def sweep(
    config: SweepConfig, *, texts: Texts, heldout: Texts, replay: Texts | None, output: Path, reporter: Reporter = SILENT
) -> SweepReport:
    """Try every rate that has no outcome in `output` yet.

    Raises:
        CorpusError: there is no held-out text, so rates cannot be compared.
        OutputError: the outcomes in `output` come from other settings.
        LepError: as `train` raises them, but for a loss that is not finite.
    """
    began = time.monotonic()
    make_folder(output / RATES_FOLDER)
    steps = max(1, round(config.share * (config.steps or _steps_of_one_pass(config, texts, replay, output, reporter))))
    outcomes: list[RateOutcome] = []
    stopped = False
    rates = tuple(dict.fromkeys(config.rates))
    for number, rate in enumerate(rates):
        outcome = _finished(config, rate, output)
        if outcome is not None:
            reporter.message(f"learning rate {rate:g}: already there, kept")
        elif stopped or reporter.should_stop():
            stopped = True
            continue
        else:
            label = f"learning rate {rate:g} ({number + 1} of {len(rates)})"
            outcome = _try_rate(config, rate, steps, texts, heldout, replay, output, _RateReporter(reporter, rate, label))
            if outcome is None:
                stopped = True
                continue
            _keep(config, outcome, output)
        outcomes.append(outcome)
    return SweepReport(
        rates=tuple(outcomes), best_learning_rate=best_rate(outcomes), steps=steps, stopped=stopped, seconds=time.monotonic() - began
    )


def best_rate(outcomes: list[RateOutcome]) -> float | None:
    """The rate with the fewest bits per byte; of equal ones the smaller."""
    measured = [
        (one.bits_per_byte_after, one.learning_rate) for one in outcomes if one.bits_per_byte_after is not None and not one.diverged
    ]
    return min(measured)[1] if measured else None


def _try_rate(
    config: SweepConfig,
    rate: float,
    steps: int,
    texts: Texts,
    heldout: Texts,
    replay: Texts | None,
    output: Path,
    reporter: _RateReporter,
) -> RateOutcome | None:
    """Train one rate; None when the user stopped it. Its checkpoints stay then, so that a resumed sweep goes on inside it."""
    began = time.monotonic()
    folder = output / f"{PARTIAL_PREFIX}rate-{rate}"  # only the measurement counts: the model goes at once
    checkpoints = _checkpoints(output, rate)
    own = {name: value for name, value in config.to_mapping().items() if name in TrainConfig.__dataclass_fields__}
    changes = {"learning_rate": rate, "steps": steps, "sample_prompt": None, "overwrite": True, "output": str(folder)}
    training = TrainConfig.from_mapping({**own, **changes, "resume": checkpoints.is_dir()})
    report: TrainReport | None = None
    try:
        make_folder(folder)
        report = train(
            training,
            texts=texts,
            heldout=heldout,
            replay=replay,
            output=folder,
            checkpoints=checkpoints,
            reporter=reporter,
        )
    except DivergedError as error:
        reporter.message(error.message)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if report is not None and report.stopped:
        return None
    if report is not None and report.bits_per_byte_after is None:
        raise CorpusError("there is no held-out text to compare learning rates on", "Give --heldout FILE")
    shutil.rmtree(checkpoints, ignore_errors=True)
    after = None if report is None else report.bits_per_byte_after
    is_finite = after is not None and math.isfinite(after)
    return RateOutcome(
        learning_rate=rate,
        bits_per_byte_before=reporter.before if report is None else report.bits_per_byte_before,
        bits_per_byte_after=after if is_finite else None,
        diverged=not is_finite,
        steps=reporter.steps if report is None else report.steps,
        seconds=time.monotonic() - began,
        moved_far=report is not None and report.suggested_anchor is not None,
    )


class _RateReporter:
    """Names the rate in every stage, and passes on held-out measurements as records of that rate."""

    def __init__(self, reporter: Reporter, rate: float, label: str) -> None:
        self._reporter, self._rate, self._label = reporter, rate, label
        self.before: float | None = None
        self.steps = 0

    def stage(self, name: str) -> None:
        self._reporter.stage(f"{self._label}: {name}")

    def progress(self, done: float, total: float | None = None, unit: str = "") -> None:
        self._reporter.progress(done, total, unit)

    def metric(self, record: Mapping[str, MetricValue]) -> None:
        step, value = record.get("step"), record.get("heldout_bits_per_byte")
        self.steps = step if isinstance(step, int) else self.steps
        if isinstance(value, float):
            self.before = value if step == 0 else self.before
            self._reporter.metric({"learning_rate": self._rate, "step": step, "heldout_bits_per_byte": value})

    def message(self, text: str) -> None:
        self._reporter.message(f"{self._label}: {text}")

    def should_stop(self) -> bool:
        return self._reporter.should_stop()


def _steps_of_one_pass(config: SweepConfig, texts: Texts, replay: Texts | None, output: Path, reporter: Reporter) -> int:
    folder = inspect_model(config.model)
    encoder = Encoder(load_tokenizer(folder.path), rows=folder.vocab_size, eos=folder.eos_token_id)
    reporter.stage("counting the steps of one pass")
    scratch = output / f"{PARTIAL_PREFIX}text.tokens"
    try:
        packed = pack(texts(), encoder, scratch, block_size=config.block_size, reporter=reporter)
    finally:
        scratch.unlink(missing_ok=True)
    if packed is None:
        raise KeyboardInterrupt("stopped before the first rate")
    share = config.replay_share if replay else 0.0
    order = DataOrder(seed=config.seed, batch_size=config.batch_size, blocks=len(packed), replay_blocks=int(share > 0), replay_share=share)
    return order.steps_of_one_pass()


def _checkpoints(output: Path, rate: float) -> Path:
    return output / f"rate-{rate}.checkpoints"


def _record_path(output: Path, rate: float) -> Path:
    return output / RATES_FOLDER / f"{rate}.json"


def _settings(config: SweepConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_mapping().items() if name not in INCIDENTAL_SETTINGS}


def _keep(config: SweepConfig, outcome: RateOutcome, output: Path) -> None:
    write_json(_record_path(output, outcome.learning_rate), {"settings": _settings(config), "outcome": asdict(outcome)})


def _finished(config: SweepConfig, rate: float, output: Path) -> RateOutcome | None:
    """The outcome of a rate that was tried before; None when there is none, or a damaged one: it is then tried again."""
    path = _record_path(output, rate)
    try:
        record = read_json(path)
        before, outcome = record["settings"], RateOutcome(**record["outcome"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for name, value in _settings(config).items():
        if before.get(name, value) != value:
            raise OutputError(
                f"{path} was tried with other settings: {name} was {before[name]!r}, now it is {value!r}",
                "Resume with the same settings, or choose another --output",
            )
    return outcome
