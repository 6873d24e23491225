"""One frozen dataclass per verb: the only place where a setting is named, explained, bounded and given its default.

The command line's flags, the forms of the user interface, the reference page and `run.json` are all made from these fields.
A config checks itself when it is made and raises `ConfigError` with the field's name.
"""

from lep_core.config.base import Config, base_type, field_type, flag, is_optional, is_repeatable, option
from lep_core.config.common import DEVICES, PRECISIONS
from lep_core.config.corpus import AddCorpusConfig
from lep_core.config.embeddings import ExploreEmbeddingsConfig
from lep_core.config.evaluation import HARNESS_PREFIX, ITEM_TASKS, TASKS, BenchmarkSpeedConfig, EvaluateConfig, GenerateConfig
from lep_core.config.export import EXPORT_FORMATS, ExportConfig
from lep_core.config.path import AdaptConfig, DemoConfig
from lep_core.config.propagation import METHODS, PAPER_METHODS, PropagateConfig
from lep_core.config.tokenizer import DEFAULT_NEW_TOKENS, DEFAULT_VOCAB_SIZE, VARIANTS, BuildTokenizerConfig, MeasureFertilityConfig
from lep_core.config.training import HEADS, INITIALIZATIONS, METHODS_WITH_TEXT, InitializeConfig, SweepConfig, TrainConfig
from lep_core.config.tuning import CalibrateConfig

__all__ = [
    "DEFAULT_NEW_TOKENS",
    "DEFAULT_VOCAB_SIZE",
    "DEVICES",
    "EXPORT_FORMATS",
    "HARNESS_PREFIX",
    "HEADS",
    "INITIALIZATIONS",
    "ITEM_TASKS",
    "METHODS",
    "METHODS_WITH_TEXT",
    "PAPER_METHODS",
    "PRECISIONS",
    "TASKS",
    "VARIANTS",
    "AdaptConfig",
    "AddCorpusConfig",
    "BenchmarkSpeedConfig",
    "BuildTokenizerConfig",
    "CalibrateConfig",
    "Config",
    "DemoConfig",
    "EvaluateConfig",
    "ExploreEmbeddingsConfig",
    "ExportConfig",
    "GenerateConfig",
    "InitializeConfig",
    "MeasureFertilityConfig",
    "PropagateConfig",
    "SweepConfig",
    "TrainConfig",
    "base_type",
    "field_type",
    "flag",
    "is_optional",
    "is_repeatable",
    "option",
]
