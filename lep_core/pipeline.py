"""The method from top to bottom: one function per verb, and the table `VERBS`.

    corpus -> tokenizer -> initialised base -> trained base -> propagated instruct model -> measurements
    (the method: arXiv 2412.21140; `lep_core.adapt` runs it as a whole)

The stages take values and return values; this module is the edge where files are opened, results get their final name in one
step, and every result folder receives a `report.json` with the settings that made it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lep_core import config as configs
from lep_core import ranks
from lep_core.config import Config
from lep_core.errors import ConfigError, CorpusError
from lep_core.files import atomic_folder, check_apart, clear_output, clear_partials, read_json, write_json
from lep_core.names import distinct_names
from lep_core.progress import SILENT, Reporter

if TYPE_CHECKING:
    from lep_core.corpus.load import Document

REPORT_FILE = "report.json"
# `train` cuts text into documents of this size, so that a part can be held out of a single long book.
TRAINING_DOCUMENT_BYTES = 16_384
# What `train` holds out of plain files that have no held-out part of their own.
HELDOUT_SHARE = 0.02


class Report(Protocol):
    """What every verb returns."""

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Verb:
    """One thing that LEP Studio does. `light` verbs are short and need no device of their own."""

    name: str
    config: type[Config]
    run: Callable[[Any, Reporter], Report]
    light: bool = False
    about: str | None = None

    @property
    def summary(self) -> str:
        """What the verb does: the description of its settings, unless it shares them with another verb."""
        return (self.about or self.config.__doc__ or "").strip()


def add_corpus(config: configs.AddCorpusConfig, reporter: Reporter = SILENT) -> Report:
    """Make a corpus folder (`corpus.json`, `documents.parquet`) from the user's files."""
    from lep_core.corpus.add import add_corpus as stage

    return _into_folder("add-corpus", config, config.input, lambda output: stage(config, output=output, reporter=reporter))


def measure_fertility(
    config: configs.MeasureFertilityConfig | Iterable[Any], texts: Iterable[str] | None = None, reporter: Reporter = SILENT
) -> Report:
    """Tokens per word, characters per token and more, for several tokenizers over the same text in one pass; parity of languages.

    Args:
        config: the settings; or the tokenizers themselves (folders or loaded tokenizers), then with `texts`.
        texts: the texts to measure on, when tokenizers are given directly.
        reporter: where progress goes.
    """
    from lep_core.corpus.parallel import parallel_lines
    from lep_core.models import resolve
    from lep_core.tokenizer.fertility import measure_fertility as stage
    from lep_core.tokenizer.parity import choose_reference, parity_of

    sources: list[Any] = list(config.tokenizer if isinstance(config, configs.MeasureFertilityConfig) else config)
    named = zip(distinct_names(map(_tokenizer_name, sources)), sources, strict=True)
    tokenizers = [(name, resolve(source) if isinstance(source, (str, Path)) else source) for name, source in named]
    if not isinstance(config, configs.MeasureFertilityConfig):
        return stage(tokenizers, texts or (), reporter=reporter)
    languages = parallel_lines(config.parallel, encoding=config.encoding)
    reference = choose_reference(list(languages), config.reference) if languages else ""
    parallel = stage(tokenizers, languages, reporter=reporter) if languages else None
    if parallel and not config.input:
        return dataclasses.replace(parallel, parity=parity_of(parallel, reference))
    names = distinct_names(config.input)
    report = stage(tokenizers, {name: texts_of(config, (item,)) for name, item in zip(names, config.input, strict=True)}, reporter=reporter)
    return dataclasses.replace(report, parity=parity_of(parallel, reference)) if parallel else report


def build_tokenizer(config: configs.BuildTokenizerConfig, reporter: Reporter = SILENT) -> Report:
    """Make the new vocabulary; its folder loads in plain transformers."""
    from lep_core.models import resolve
    from lep_core.tokenizer.build import build_tokenizer as stage

    config = config.replace(base=str(resolve(config.base)))
    inputs = (config.base, *config.input, *([config.source] if config.source else []))

    def texts() -> Iterator[str]:
        return texts_of(config, config.input, split="train")

    return _into_folder("build-tokenizer", config, inputs, lambda output: stage(config, texts=texts, output=output, reporter=reporter))


def initialize(config: configs.InitializeConfig, reporter: Reporter = SILENT) -> Report:
    """Give the base model the new vocabulary; its rows are made from the rows that the model has."""
    from lep_core.embeddings.initialize import initialize as stage
    from lep_core.models import resolve

    config = config.replace(base=str(resolve(config.base)), donor=None if config.donor is None else str(resolve(config.donor)))
    inputs = (config.base, config.tokenizer, *config.input, *([config.donor] if config.donor else []))

    def texts() -> Iterator[str]:
        return texts_of(config, config.input, split="train")

    return _into_folder("initialize", config, inputs, lambda output: stage(config, output=output, reporter=reporter, texts=texts))


def train(config: configs.TrainConfig, reporter: Reporter = SILENT) -> Report:
    """Train input embeddings and head on raw text; the body stays as it is."""
    from lep_core.models import resolve
    from lep_core.models.adapters import mention_adapters
    from lep_core.training.loop import train as stage

    config = config.replace(model=str(resolve(config.model)))
    mention_adapters([config.model], reporter)
    output, checkpoints, inputs = Path(config.output), _checkpoints_of(config), _training_inputs(config)
    check_apart(checkpoints, output, *existing_paths(inputs))

    def run(folder: Path) -> Report:
        return stage(config, **_training_texts(config), output=folder, checkpoints=checkpoints, reporter=reporter)

    return _into_folder("train", config, inputs, run, replace=config.resume and _was_stopped(output, "train"))


def preflight(config: configs.TrainConfig, reporter: Reporter = SILENT) -> Report:
    """Estimate memory, disk and time of a training, and name what is missing or wrong, without training."""
    from lep_core.corpus.sample import sample_text
    from lep_core.training.preflight import preflight as stage

    def sample(inputs: tuple[str, ...]) -> tuple[list[str], int]:
        return sample_text(inputs, text_field=config.text_field, encoding=config.encoding, split="train")

    return stage(
        config,
        sample=lambda: sample(config.input),
        replay=(lambda: sample(config.replay)) if config.replay else None,
        output=Path(config.output),
        checkpoints=_checkpoints_of(config),
        reporter=reporter,
    )


def sweep_learning_rate(config: configs.SweepConfig, reporter: Reporter = SILENT) -> Report:
    """Try several learning rates on a part of the steps; finished ones are kept for a resumed sweep."""
    from lep_core.models import resolve
    from lep_core.training.sweep import sweep as stage

    config = config.replace(model=str(resolve(config.model)))
    output = Path(config.output)
    check_apart(output, *existing_paths(_training_inputs(config)))
    if config.resume:
        clear_partials(output)
    else:
        clear_output(output, overwrite=config.overwrite)
    # Shows whose folder this is, so that an unfinished one can be overwritten as well.
    write_json(output / REPORT_FILE, report_record("sweep-learning-rate", config))
    report = stage(config, **_training_texts(config), output=output, reporter=reporter)
    write_json(output / REPORT_FILE, report_record("sweep-learning-rate", config, report))
    return report


def propagate(config: configs.PropagateConfig, reporter: Reporter = SILENT) -> Report:
    """Carry the trained embeddings over to the instruct model."""
    from lep_core.models import resolve
    from lep_core.propagation.propagate import propagate as stage

    config = config.replace(base=str(resolve(config.base)), adapted=str(resolve(config.adapted)), instruct=str(resolve(config.instruct)))
    inputs = (config.base, config.adapted, config.instruct, *config.input, *([config.adapter] if config.adapter else []))

    def texts() -> Iterator[str]:
        return texts_of(config, config.input, split="train")

    return _into_folder("propagate", config, inputs, lambda output: stage(config, output=output, reporter=reporter, texts=texts))


def calibrate(config: configs.CalibrateConfig, reporter: Reporter = SILENT) -> Report:
    """Tune a chat model on given conversations, or on the answers of its own original."""
    from lep_core.calibration.calibrate import calibrate as stage
    from lep_core.models import resolve

    models = {name: value for name in ("model", "teacher", "template_from", "judge") if (value := getattr(config, name)) is not None}
    config = config.replace(**{name: str(resolve(value)) for name, value in models.items()})
    output, checkpoints = Path(config.output), _checkpoints_of(config)
    texts = _training_texts(config)
    inputs = (
        config.model,
        *config.data,
        *config.prompt_file,
        *config.input,
        *config.heldout,
        *config.items,
        *filter(None, (config.teacher, config.template_from, config.adapter, config.judge)),
    )
    check_apart(checkpoints, output, *existing_paths(inputs))

    def run(folder: Path) -> Report:
        return stage(
            config,
            texts=texts["texts"] if config.input else None,
            heldout=texts["heldout"] if config.input or config.heldout else None,
            output=folder,
            checkpoints=checkpoints,
            reporter=reporter,
        )

    return _into_folder("calibrate", config, inputs, run, replace=config.resume and _was_stopped(output, "calibrate"))


def evaluate(config: configs.EvaluateConfig, reporter: Reporter = SILENT) -> Report:
    """Measure models on the same text and items."""
    from lep_core.evaluation.evaluate import evaluate as stage
    from lep_core.evaluation.partial import drop_partial, partial_folder
    from lep_core.models.adapters import mention_adapters

    if config.resume and config.output is None:
        raise ConfigError("resume", "--resume is given without the --output of the evaluation that was stopped", "Give --output DIR")
    mention_adapters(config.model, reporter)
    partial = None if config.output is None else partial_folder(config.output)

    def run(output: Path | None) -> Report:
        return stage(config, texts=lambda: measuring_texts(config), output=output, partial=partial, reporter=reporter)

    inputs = (*config.model, *config.input, *config.items, *config.shot_items, *filter(None, (config.harness_path,)))
    replace = config.resume and config.output is not None and _was_stopped(Path(config.output), "evaluate")
    report = _into_optional_folder("evaluate", config, inputs, run, replace=replace)
    if partial is not None and not report.to_json()["stopped"]:
        # Only now the result has its final name.
        drop_partial(partial)
    return report


def benchmark_speed(config: configs.BenchmarkSpeedConfig, reporter: Reporter = SILENT) -> Report:
    """Measure characters per second of models on the same prompts."""
    from lep_core.evaluation.speed import benchmark_speed as stage
    from lep_core.models.adapters import mention_adapters

    mention_adapters(config.model, reporter)

    def run(output: Path | None) -> Report:
        return stage(config, texts=lambda: measuring_texts(config), reporter=reporter)

    return _into_optional_folder("benchmark-speed", config, (*config.model, *config.input), run)


def explore_embeddings(config: configs.ExploreEmbeddingsConfig, reporter: Reporter = SILENT) -> Report:
    """Nearest neighbours of words in several models, and a common map of their rows."""
    from lep_core.embeddings.explore import explore_embeddings as stage
    from lep_core.models import resolve

    config = config.replace(model=tuple(str(resolve(model)) for model in config.model))
    return _into_optional_folder("explore-embeddings", config, config.model, lambda _: stage(config, reporter))


def generate(config: configs.GenerateConfig, reporter: Reporter = SILENT) -> Report:
    """Let models answer one prompt."""
    from lep_core.inference.generate import generate as stage
    from lep_core.models.adapters import mention_adapters

    mention_adapters(config.model, reporter)
    return stage(config, reporter=reporter)


def export(config: configs.ExportConfig, reporter: Reporter = SILENT) -> Report:
    """Write a model folder for others, with a model card and proof of equal logits."""
    from lep_core.export.folder import export_model as stage
    from lep_core.export.hub import check_push, push_folder
    from lep_core.models import resolve
    from lep_core.models.adapters import mention_adapters

    if config.push_to:
        check_push(config.push_to)
    config = config.replace(model=str(resolve(config.model)))
    mention_adapters([config.model], reporter)

    def run(output: Path) -> Any:
        return stage(config, output=output, reporter=reporter, texts=texts_of(config, config.input) if config.input else ())

    report: Any = _into_folder("export", config, (config.model, *config.input), run, report_file=False)
    if config.push_to:
        address = push_folder(Path(config.output), config.push_to, private=config.private, reporter=reporter)
        report = dataclasses.replace(report, pushed_to=address)
    return report


def adapt(config: configs.AdaptConfig, reporter: Reporter = SILENT) -> Report:
    """All stages in one, measured."""
    from lep_core.adapt import adapt as run

    return run(config, reporter)


def demo(config: configs.DemoConfig, reporter: Reporter = SILENT) -> Report:
    """The whole path on the small generated world that ships with LEP Studio."""
    from lep_core.demo.run import demo as run

    return run(config, reporter)


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("add-corpus", configs.AddCorpusConfig, add_corpus, light=True),
        Verb(
            "measure-fertility",
            configs.MeasureFertilityConfig,
            lambda config, reporter: measure_fertility(config, reporter=reporter),
            light=True,
        ),
        Verb("build-tokenizer", configs.BuildTokenizerConfig, build_tokenizer),
        Verb("initialize", configs.InitializeConfig, initialize),
        Verb("preflight", configs.TrainConfig, preflight, light=True, about=preflight.__doc__),
        Verb("sweep-learning-rate", configs.SweepConfig, sweep_learning_rate),
        Verb("train", configs.TrainConfig, train),
        Verb("propagate", configs.PropagateConfig, propagate),
        Verb("calibrate", configs.CalibrateConfig, calibrate),
        Verb("evaluate", configs.EvaluateConfig, evaluate),
        Verb("benchmark-speed", configs.BenchmarkSpeedConfig, benchmark_speed),
        Verb("explore-embeddings", configs.ExploreEmbeddingsConfig, explore_embeddings, light=True),
        Verb("generate", configs.GenerateConfig, generate),
        Verb("export", configs.ExportConfig, export),
        Verb("adapt", configs.AdaptConfig, adapt),
        Verb("demo", configs.DemoConfig, demo),
    )
}


def _tokenizer_name(source: Any) -> str:
    """Where a tokenizer came from; one made in memory goes by its class."""
    return str(source) if isinstance(source, (str, Path)) else getattr(source, "name_or_path", "") or type(source).__name__


def texts_of(config: Any, inputs: Iterable[str], *, split: str = "all") -> Iterator[str]:
    """The documents' texts of files, folders or corpora, streamed; `split` counts for corpora that have a held-out part."""
    from lep_core.corpus.load import read_documents

    for document in read_documents(tuple(inputs), text_field=config.text_field, encoding=config.encoding, split=split):
        yield document.text


def measuring_texts(config: configs.EvaluateConfig | configs.BenchmarkSpeedConfig) -> Iterator[str]:
    """Texts to measure on, one of each input in turn: a limit on their number then reaches every input. Corpora give their held-out part."""
    waiting = [texts_of(config, (source,), split="heldout") for source in config.input]
    while waiting:
        for texts in tuple(waiting):
            text = next(texts, None)
            if text is None:
                waiting.remove(texts)
            else:
                yield text


def _checkpoints_of(config: configs.TrainConfig | configs.CalibrateConfig) -> Path:
    output = Path(config.output)
    return Path(config.checkpoints) if config.checkpoints else output.with_name(output.name + ".checkpoints")


def _training_inputs(config: configs.TrainConfig) -> tuple[str, ...]:
    return (config.model, *config.input, *config.replay, *config.heldout, *([config.initial] if config.initial else []))


def _training_texts(config: configs.TrainConfig | configs.CalibrateConfig) -> dict[str, Any]:
    """`texts`, `heldout` and `replay` of a training. Held out is decided by the text: whatever is measured on is never learned, not even
    as a repetition in another file."""
    from lep_core.corpus.split import digest_of

    @cache
    def held() -> set[bytes]:
        return _heldout_digests(config)

    def learned(inputs: Iterable[str], split: str) -> Iterator[str]:
        found = False
        for document in _training_documents(config, inputs, split):
            if digest_of(document.text) not in held():
                found = True
                yield document.text
        if not found:
            raise CorpusError(f"all text of {', '.join(inputs)} is held out for measuring", "Give text to learn from besides it")

    def measured() -> Iterator[str]:
        given = _training_documents(config, config.heldout, "heldout") if config.heldout else _training_documents(config, config.input)
        return (document.text for document in given if digest_of(document.text) in held())

    return {
        "texts": lambda: learned(config.input, "train" if config.heldout else "all"),
        "heldout": measured,
        "replay": (lambda: learned(config.replay, "train")) if isinstance(config, configs.TrainConfig) and config.replay else None,
    }


def _training_documents(
    config: configs.TrainConfig | configs.CalibrateConfig, inputs: Iterable[str], split: str = "all"
) -> Iterator[Document]:
    from lep_core.corpus.load import read_documents

    return read_documents(
        tuple(inputs), text_field=config.text_field, encoding=config.encoding, split=split, unit_bytes=TRAINING_DOCUMENT_BYTES
    )


def _heldout_digests(config: configs.TrainConfig | configs.CalibrateConfig) -> set[bytes]:
    """Digests of the documents that `train` measures on.

    Given ones; else those that corpora hold out, and of all other text a share that is decided by a hash of each document.
    """
    from lep_core.corpus.split import HELDOUT, SplitBalance, digest_of

    if config.heldout:
        return {digest_of(document.text) for document in _training_documents(config, config.heldout, "heldout")}
    balance = SplitBalance(HELDOUT_SHARE)
    held: set[bytes] = set()
    for document in _training_documents(config, config.input):
        digest = digest_of(document.text)
        if (document.split or balance.decide(digest)) == HELDOUT:
            held.add(digest)
    if (correction := balance.correction()) is not None:
        digest, split = correction
        held = held | {digest} if split == HELDOUT else held - {digest}
    return held


def _was_stopped(output: Path, verb: str) -> bool:
    """Whether the folder holds what a stopped run of the verb had finished; going on replaces it."""
    try:
        record = read_json(output / REPORT_FILE)
        return record["verb"] == verb and record["report"]["stopped"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def existing_paths(inputs: Iterable[str]) -> list[Path]:
    """Those of the inputs that are paths here (and not hub ids)."""
    return [Path(item) for item in inputs if Path(item).exists()]


def _into_folder(
    verb: str, config: Any, inputs: Iterable[str], run: Callable[[Path], Report], *, report_file: bool = True, replace: bool = False
) -> Report:
    output = Path(config.output)
    check_apart(output, *existing_paths(inputs))
    if ranks.rank() > 0:
        # Of several processes the first one writes; the others only compute their share.
        return run(output)
    with atomic_folder(output, overwrite=config.overwrite or replace) as folder:
        report = run(folder)
        if report_file:
            write_json(folder / REPORT_FILE, report_record(verb, config, report))
    return report


def _into_optional_folder(
    verb: str, config: Any, inputs: Iterable[str], run: Callable[[Path | None], Report], *, replace: bool = False
) -> Report:
    return run(None) if config.output is None else _into_folder(verb, config, inputs, run, replace=replace)


def report_record(verb: str, config: Config, report: Report | None = None) -> dict[str, Any]:
    """What `report.json` in a result folder holds; the report is null until there is one."""
    from lep_core import __version__

    return {"verb": verb, "version": __version__, "config": config.to_mapping(), "report": None if report is None else report.to_json()}
