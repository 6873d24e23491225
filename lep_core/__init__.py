"""LEP Studio: teach an open language model another language with Learned Embedding Propagation (arXiv 2412.21140).

The whole pipeline from a notebook:

    import lep_core as lep

    lep.add_corpus(lep.AddCorpusConfig(input=("novels.txt",), output="corpus"))
    lep.build_tokenizer(lep.BuildTokenizerConfig(base="base", input=("corpus",), output="tokenizer"))
    lep.initialize(lep.InitializeConfig(base="base", tokenizer="tokenizer", output="initialized"))
    lep.train(lep.TrainConfig(model="initialized", input=("corpus",), output="trained"))
    lep.propagate(lep.PropagateConfig(base="base", adapted="trained", instruct="instruct", output="result"))
    report = lep.evaluate(lep.EvaluateConfig(model=("instruct", "result"), input=("corpus",)))

or `lep.adapt(lep.AdaptConfig(...))` for all of it. Every function takes the config that the command line and the user interface
use, an optional `Reporter`, and returns a report with `to_json()`.
"""

from lep_core.config import (
    AdaptConfig,
    AddCorpusConfig,
    BenchmarkSpeedConfig,
    BuildTokenizerConfig,
    CalibrateConfig,
    DemoConfig,
    EvaluateConfig,
    ExploreEmbeddingsConfig,
    ExportConfig,
    GenerateConfig,
    InitializeConfig,
    MeasureFertilityConfig,
    PropagateConfig,
    SweepConfig,
    TrainConfig,
)
from lep_core.errors import LepError
from lep_core.pipeline import (
    adapt,
    add_corpus,
    benchmark_speed,
    build_tokenizer,
    calibrate,
    demo,
    evaluate,
    explore_embeddings,
    export,
    generate,
    initialize,
    measure_fertility,
    preflight,
    propagate,
    sweep_learning_rate,
    train,
)
from lep_core.progress import Reporter, SilentReporter

__version__ = "0.1.0"

__all__ = [
    "AdaptConfig",
    "AddCorpusConfig",
    "BenchmarkSpeedConfig",
    "BuildTokenizerConfig",
    "CalibrateConfig",
    "DemoConfig",
    "EvaluateConfig",
    "ExploreEmbeddingsConfig",
    "ExportConfig",
    "GenerateConfig",
    "InitializeConfig",
    "LepError",
    "MeasureFertilityConfig",
    "PropagateConfig",
    "Reporter",
    "SilentReporter",
    "SweepConfig",
    "TrainConfig",
    "adapt",
    "add_corpus",
    "benchmark_speed",
    "build_tokenizer",
    "calibrate",
    "demo",
    "evaluate",
    "explore_embeddings",
    "export",
    "generate",
    "initialize",
    "measure_fertility",
    "preflight",
    "propagate",
    "sweep_learning_rate",
    "train",
]
