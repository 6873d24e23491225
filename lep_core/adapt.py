"""All stages in one: from a corpus to an instruct model that speaks the language, with the measurements that show it.

    output/
      corpus/  replay/                     the text, with a held-out part that nothing learns from
      tokenizer/  initialized/  trained/   the stages on the base model; trained.checkpoints/ while it learns
      control-rows/  untrained/            control: the instruct model with the new vocabulary and no training
      instruct-<method>/                   the result, one folder a propagation method
      pairs/  calibrated-<method>/         with calibrate: the instruct model's own answers, and each result after learning them
      traditional/                         with instruction data: the trained base model tuned on it, to compare with
      evaluation/  evaluation-replay/  speed/
      report.json                          the settings at first, the report at the end

Every stage's folder appears in one step when it is whole, so an interrupted run goes on with `resume`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lep_core import config as configs
from lep_core import pipeline
from lep_core.config import METHODS_WITH_TEXT, Config, flag
from lep_core.errors import ConfigError, OutputError
from lep_core.evaluation.verdict import verdict
from lep_core.files import check_apart, clear_output, clear_partials, read_json, write_json
from lep_core.names import distinct_names
from lep_core.progress import SILENT, Reporter

# Settings that do not change a stage's result.
INCIDENTAL_SETTINGS = ("resume", "overwrite", "threads")
TRADITIONAL = "traditional"
PAIRS = "pairs"
FERTILITY_SHOWN = ("name", "vocab_size", "characters_per_token", "tokens_per_word", "round_trip_ok")


@dataclass(frozen=True, kw_only=True)
class AdaptReport:
    """Every stage's report, and the measurements of original, control and results side by side.

    `results` and `speed` name the models by their folder (with its parents where two are called alike): the instruct model's own name,
    "untrained" for the control (new vocabulary, averaged rows, no training), "instruct-<method>", "calibrated-<method>" and "traditional".
    The task "bits-per-byte/replay" is measured on the held-out part of the replay text.
    """

    output: str
    stages: dict[str, dict[str, Any]]
    propagate: dict[str, dict[str, Any]]
    calibrate: dict[str, dict[str, Any]]
    fertility: list[dict[str, Any]]
    results: list[dict[str, Any]]
    speed: list[dict[str, Any]]
    verdict: list[str]
    seconds: float
    stopped: bool

    def to_summary(self) -> dict[str, Any]:
        """The report as a person wants to read it: one row a model, then the verdict."""
        rows: dict[str, dict[str, Any]] = {}
        for result in self.results:
            row = rows.setdefault(result["model"], {"model": result["model"]})
            if result["task"] != "instruct":
                row[result["task"]] = result["value"]
        for speed in self.speed:
            rows.setdefault(speed["model"], {"model": speed["model"]})["characters/s"] = speed["characters_per_second"]
        return {
            "output": self.output,
            "tokenizers": [{name: row[name] for name in FERTILITY_SHOWN} for row in self.fertility],
            "models": list(rows.values()),
            "verdict": dict(enumerate(self.verdict, start=1)),
            "seconds": self.seconds,
            "stopped": self.stopped,
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "output": self.output,
            "corpus": self.stages.get("corpus"),
            "tokenizer": self.stages.get("tokenizer"),
            "initialize": self.stages.get("initialized"),
            "train": self.stages.get("trained"),
            "propagate": self.propagate,
            "calibrate": self.calibrate,
            "traditional": self.stages.get("traditional"),
            "fertility": self.fertility,
            "results": self.results,
            "speed": self.speed,
            "verdict": self.verdict,
            "seconds": self.seconds,
            "stopped": self.stopped,
        }


def adapt(config: configs.AdaptConfig, reporter: Reporter = SILENT) -> AdaptReport:
    """Run every stage of the method and measure the outcome.

    Raises:
        LepError: a setting, an input or the output cannot work; finished stages stay, and `resume` uses them.
    """
    from lep_core.models import resolve

    started = time.monotonic()
    output = Path(config.output)
    config = config.replace(base=str(resolve(config.base)), instruct=str(resolve(config.instruct)))
    config = config.replace(method=tuple(dict.fromkeys(config.method)))
    _refuse_early(config, output)
    if config.resume:
        _refuse_other_settings(config, output)
        clear_partials(output)
    else:
        clear_output(output, overwrite=config.overwrite)
    stages = _Stages(config, output, reporter)
    for step in (_prepare, _train, _propagate, _calibrate, _tune_traditionally, _measure):
        step(stages)
        if stages.stopped:
            break
    fertility = stages.reports.get("fertility", {}).get("tokenizers", [])
    speed = stages.reports.get("speed", {}).get("models", [])
    original, control, *adapted = distinct_names(stages.models)
    said = verdict(
        fertility=fertility,
        results=stages.results,
        speed=speed,
        original=original,
        control=control,
        adapted=adapted,
        differences=stages.reports.get("evaluation", {}).get("differences", []),
        moves=stages.reports.get("trained", {}).get("moves", []),
    )
    report = AdaptReport(
        output=str(output),
        stages=stages.reports,
        verdict=[statement.in_english() for statement in said],
        propagate=stages.by_method("instruct"),
        calibrate=stages.by_method("calibrated"),
        fertility=fertility,
        results=stages.results,
        speed=speed,
        seconds=time.monotonic() - started,
        stopped=stages.stopped,
    )
    write_json(output / pipeline.REPORT_FILE, pipeline.report_record("adapt", config, report))
    return report


def _refuse_early(config: configs.AdaptConfig, output: Path) -> None:
    """Whatever can be refused is refused before the first long stage."""
    from lep_core.evaluation.reading import read_items
    from lep_core.models import check_siblings, choose_device, inspect_model
    from lep_core.tokenizer.definition import Definition
    from lep_core.tokenizer.variants import wanted_tokens
    from lep_core.training.loop import check_block_size

    inputs = (config.base, config.instruct, *config.input, *config.replay, *config.items, *config.instruction_data, *config.prompt_file)
    inputs += (config.source,) if config.source else ()
    check_apart(output, *pipeline.existing_paths(inputs))
    base = inspect_model(config.base)
    check_siblings(base, inspect_model(config.instruct))
    check_block_size(config.block_size, base)
    choose_device(config.device)
    wanted_tokens(_building(config, output), Definition.read(base.path))
    if config.items:
        read_items(config.items)
    if config.prompt_file and not config.calibrate:
        raise ConfigError("prompt_file", "--prompt-file is given, but nothing is calibrated", "Add --calibrate, or leave --prompt-file out")
    for name in ("instruction_data", "calibrate"):
        if getattr(config, name) and not inspect_model(config.instruct).has_chat_template:
            raise ConfigError(
                name,
                f"the instruct model {config.instruct} has no chat template, so there is no way to ask it",
                f"Give an instruct model with a chat template, or leave {flag(name)} out",
            )
    if config.instruction_data:
        from lep_core.tuning.conversations import read_conversations

        read_conversations(config.instruction_data)


def _refuse_other_settings(config: configs.AdaptConfig, output: Path) -> None:
    """Stages of one result are made with one set of settings, also those that had not begun when it was interrupted."""
    record = _record(output / pipeline.REPORT_FILE)
    if record is None or record["verb"] != "adapt":
        return
    for name, value in config.to_mapping().items():
        before = record["config"].get(name, value)
        if name not in INCIDENTAL_SETTINGS and before != value:
            raise OutputError(
                f"{output} was begun with other settings: {flag(name)} was {json.dumps(before)}, now it is {json.dumps(value)}",
                "Resume with the same settings, or choose another --output",
            )


def _record(path: Path) -> dict[str, Any] | None:
    """What a report.json holds; None when there is none, or a damaged one: its stage is then made again."""
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.keys() >= {"verb", "config", "report"} else None


class _Stages:
    """Runs verbs into the subfolders of the output, and keeps those that an interrupted run has finished."""

    def __init__(self, config: configs.AdaptConfig, output: Path, reporter: Reporter) -> None:
        self.config, self.output, self.reporter = config, output, reporter
        self.reports: dict[str, dict[str, Any]] = {}
        self.results: list[dict[str, Any]] = []
        self.stopped = False

    def path(self, folder: str) -> str:
        return str(self.output / folder)

    @property
    def models(self) -> tuple[str, ...]:
        """What is measured side by side: the original, the control, the results."""
        config = self.config
        results = [f"instruct-{method}" for method in config.method]
        results += [f"calibrated-{method}" for method in config.method if config.calibrate]
        results += [TRADITIONAL] * bool(config.instruction_data)
        return (config.instruct, self.path("untrained"), *map(self.path, results))

    def by_method(self, kind: str) -> dict[str, dict[str, Any]]:
        """The reports of one kind of result, by propagation method."""
        return {method: self.reports[f"{kind}-{method}"] for method in self.config.method if f"{kind}-{method}" in self.reports}

    def run(self, folder: str, verb: str, config: Config) -> None:
        """Make the result of one verb, unless it is there."""
        if self.stopped:
            return
        report = self._found(folder, verb, config)
        if report is None:
            self.reporter.message(f"{folder}: {verb}")
            report = pipeline.VERBS[verb].run(config, self.reporter).to_json()
            if not (self.output / pipeline.REPORT_FILE).exists():
                # Shows whose folder this is, so that an unfinished one can be overwritten as well.
                write_json(self.output / pipeline.REPORT_FILE, pipeline.report_record("adapt", self.config))
        else:
            self.reporter.message(f"{folder}: already there, kept")
        self.reports[folder] = report
        self.stopped = bool(report.get("stopped")) or self.reporter.should_stop()

    def _found(self, folder: str, verb: str, config: Config) -> dict[str, Any] | None:
        path = self.output / folder / pipeline.REPORT_FILE
        record = _record(path) if self.config.resume else None
        if record is None or record["report"].get("stopped"):
            return None
        ignored = dict.fromkeys(INCIDENTAL_SETTINGS)
        if record["verb"] != verb or {**record["config"], **ignored} != {**config.to_mapping(), **ignored}:
            raise OutputError(f"{path.parent} was made with other settings", "Resume with the same settings, or choose another --output")
        return record["report"]


def _prepare(stages: _Stages) -> None:
    """Corpus, vocabulary and initialised base model."""
    config = stages.config
    shared: dict[str, Any] = {
        "text_field": config.text_field,
        "encoding": config.encoding,
        "heldout_share": config.heldout_share,
        "overwrite": True,
    }
    stages.run("corpus", "add-corpus", configs.AddCorpusConfig(input=config.input, output=stages.path("corpus"), **shared))
    if config.replay:
        stages.run("replay", "add-corpus", configs.AddCorpusConfig(input=config.replay, output=stages.path("replay"), **shared))
    stages.run("tokenizer", "build-tokenizer", _building(config, stages.output))
    stages.run("initialized", "initialize", _initialization(stages, config.base, "initialized"))


def _building(config: configs.AdaptConfig, output: Path) -> configs.BuildTokenizerConfig:
    return configs.BuildTokenizerConfig(
        base=config.base,
        input=(str(output / "corpus"),),
        output=str(output / "tokenizer"),
        variant=config.variant,
        new_tokens=config.new_tokens,
        vocab_size=config.vocab_size,
        source=config.source,
        overwrite=True,
    )


def _initialization(stages: _Stages, model: str, folder: str) -> configs.InitializeConfig:
    return configs.InitializeConfig(
        base=model,
        tokenizer=stages.path("tokenizer"),
        output=stages.path(folder),
        method=stages.config.initialization,
        head=stages.config.head,
        input=(stages.path("corpus"),) if stages.config.initialization in METHODS_WITH_TEXT else (),
        seed=stages.config.seed,
        device=stages.config.device,
        precision=stages.config.precision,
        threads=stages.config.threads,
        overwrite=True,
    )


def _train(stages: _Stages) -> None:
    config = stages.config
    training = configs.TrainConfig(
        model=stages.path("initialized"),
        input=(stages.path("corpus"),),
        output=stages.path("trained"),
        replay=(stages.path("replay"),) if config.replay else (),
        replay_share=config.replay_share,
        steps=config.steps,
        learning_rate=config.learning_rate,
        anchor=config.anchor,
        initial=config.base,
        batch_size=config.batch_size,
        block_size=config.block_size,
        warmup_steps=config.warmup_steps,
        seed=config.seed,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        resume=config.resume,
        overwrite=True,
    )
    stages.run("trained", "train", training)


def _propagate(stages: _Stages) -> None:
    """The results, and the control that shows what training was worth."""
    config = stages.config
    # The control's rows are averages of the instruct model's own rows; swapping them in keeps its template and special tokens.
    stages.run("control-rows", "initialize", _initialization(stages, config.instruct, "control-rows"))
    _propagation(stages, "untrained", base=config.instruct, adapted=stages.path("control-rows"), method="swap")
    for method in config.method:
        _propagation(stages, f"instruct-{method}", base=config.base, adapted=stages.path("trained"), method=method)


def _propagation(stages: _Stages, folder: str, *, base: str, adapted: str, method: str) -> None:
    settings = configs.PropagateConfig(
        base=base, adapted=adapted, instruct=stages.config.instruct, method=method, output=stages.path(folder), overwrite=True
    )
    stages.run(folder, "propagate", settings)


def _calibrate(stages: _Stages) -> None:
    """Each result learns the instruct model's own answers, which are made once."""
    config = stages.config
    if not config.calibrate:
        return
    common: dict[str, Any] = {"device": config.device, "precision": config.precision, "threads": config.threads, "seed": config.seed}
    common |= {"resume": config.resume, "overwrite": True}
    pairs = configs.CalibrateConfig(
        model=stages.path(f"instruct-{config.method[0]}"),
        teacher=config.instruct,
        prompt_file=config.prompt_file,
        input=(stages.path("corpus"),),
        # Named here so that no pair is made of them.
        items=config.items,
        max_prompts=config.max_prompts,
        pairs_only=True,
        output=stages.path(PAIRS),
        **common,
    )
    stages.run(PAIRS, "calibrate", pairs)
    for method in config.method:
        settings = configs.CalibrateConfig(
            model=stages.path(f"instruct-{method}"),
            data=(str(stages.output / PAIRS / "pairs.jsonl"),),
            preset=config.calibration_preset,
            learning_rate=config.calibration_learning_rate,
            output=stages.path(f"calibrated-{method}"),
            **common,
        )
        stages.run(f"calibrated-{method}", "calibrate", settings)


def _tune_traditionally(stages: _Stages) -> None:
    """What LEP is compared with: the adapted base model learns to follow instructions from data, instead of from the instruct model."""
    config = stages.config
    if not config.instruction_data:
        return
    settings = configs.CalibrateConfig(
        model=stages.path("trained"),
        data=config.instruction_data,
        template_from=config.instruct,
        output=stages.path(TRADITIONAL),
        preset=config.instruction_preset,
        epochs=config.instruction_epochs,
        seed=config.seed,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        resume=config.resume,
        overwrite=True,
    )
    stages.run(TRADITIONAL, "calibrate", settings)


def _measure(stages: _Stages) -> None:
    """Fertility, bits per byte, checkable tasks and speed of original, control and results, all on text that nothing has learned from."""
    config, models = stages.config, stages.models
    computing: dict[str, Any] = {"device": config.device, "precision": config.precision, "threads": config.threads, "overwrite": True}
    corpus = (stages.path("corpus"),)
    heldout = pipeline.texts_of(config, corpus, split="heldout")
    stages.reports["fertility"] = pipeline.measure_fertility((config.base, stages.path("tokenizer")), heldout, stages.reporter).to_json()
    common: dict[str, Any] = {
        "model": models,
        "limit": config.limit,
        "block_size": config.block_size,
        "seed": config.seed,
        "resume": config.resume,
        **computing,
    }
    tasks = ("bits-per-byte", "instruct") if config.items else ("bits-per-byte",)
    stages.run(
        "evaluation",
        "evaluate",
        configs.EvaluateConfig(task=tasks, input=corpus, items=config.items, output=stages.path("evaluation"), **common),
    )
    if config.replay:
        replay = configs.EvaluateConfig(input=(stages.path("replay"),), output=stages.path("evaluation-replay"), **common)
        stages.run("evaluation-replay", "evaluate", replay)
    # A short measurement: on a CPU a model of some size writes only tens of tokens per second. benchmark-speed measures at length.
    speed = configs.BenchmarkSpeedConfig(model=models, input=corpus, prompts=2, characters=200, output=stages.path("speed"), **computing)
    stages.run("speed", "benchmark-speed", speed)
    stages.results = [
        *stages.reports.get("evaluation", {}).get("results", []),
        *({**row, "task": f"{row['task']}/replay"} for row in stages.reports.get("evaluation-replay", {}).get("results", [])),
    ]
