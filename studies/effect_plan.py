"""The effect study's plan: every number that it depends on, and the cells that it measures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lep_core.config import METHODS
from studies.effect_measure import Row
from studies.effect_pair import PairRecipe

DEFAULT = ("continued-bpe", "mean", "swap")
ADDING = ("continued-bpe", "extension", "optimization")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every number of the study."""

    pair: PairRecipe = field(default_factory=PairRecipe)
    told: int = 6000
    seeds: tuple[int, ...] = (0, 1, 2)
    axis_seeds: tuple[int, ...] = (0, 1, 2)  # of the cells beside the default one
    variants: tuple[str, ...] = ("continued-bpe", "extension", "optimization", "bpe", "unigram", "leaf-pruning")
    initializations: tuple[str, ...] = ("mean", "weighted-mean", "focus", "distillation")
    methods: tuple[str, ...] = METHODS
    new_tokens: int = 1024
    vocab_size: int = 3072
    distillation_steps: int = 200
    adapt_novel_bytes: int = 1_500_000
    adapt_task_bytes: int = 900_000
    replay_bytes: int = 400_000
    replay_share: float = 0.2
    steps: int = 200
    learning_rate: float = 5e-3
    batch_size: int = 16
    block_size: int = 128
    calibration_prompts: int = 1200
    calibration_unfinished: bool = False  # answers of a model that has learned nothing would all be left out
    calibration_copy_share: float = 0.2
    calibration_learning_rate: float = 1e-4
    traditional_conversations: int = 3000
    traditional_epochs: float = 2.0
    heldout_characters: int = 80_000
    pairs_per_language: int = 1000
    items_per_language: int = 300
    copies_per_language: int = 200
    copied_sentences: int = 40
    speed_prompts: int = 4
    speed_characters: int = 200


TINY = Plan(
    pair=PairRecipe(
        vocab_size=700,
        tokenizer_english_bytes=20_000,
        tokenizer_russian_bytes=4_000,
        hidden_size=32,
        intermediate_size=64,
        layers=1,
        heads=2,
        task_bytes=20_000,
        base_steps=6,
        batch_size=4,
        block_size=48,
        role_steps=3,
        instruct_steps=3,
        instruct_batch_size=8,
    ),
    told=40,
    seeds=(0, 1),
    axis_seeds=(0,),
    variants=("continued-bpe", "leaf-pruning"),
    initializations=("mean", "weighted-mean"),
    methods=("swap", "conversion"),
    new_tokens=40,
    adapt_novel_bytes=20_000,
    adapt_task_bytes=10_000,
    replay_bytes=8_000,
    steps=3,
    batch_size=4,
    block_size=48,
    calibration_prompts=12,
    calibration_unfinished=True,
    traditional_conversations=32,
    heldout_characters=4_000,
    pairs_per_language=12,
    items_per_language=10,
    copies_per_language=6,
    copied_sentences=2,
    speed_prompts=1,
    speed_characters=20,
)


@dataclass(frozen=True)
class Cell:
    """One way to adapt; `made`: original, untrained, adapted, calibrated, traditional, tuned-alike, base or base-adapted."""

    made: str
    variant: str = ""
    initialization: str = ""
    method: str = ""

    def row(self) -> Row:
        return {"made": self.made, "variant": self.variant, "initialization": self.initialization, "method": self.method}

    def of(self, variant: str) -> Cell:
        """The same way with another vocabulary."""
        return replace(self, variant=variant)

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.made, self.variant, self.initialization, self.method)))


def combinations(plan: Plan) -> list[tuple[str, str]]:
    """(vocabulary, initialisation): the default, then one axis at a time."""
    variant, initialization, _ = DEFAULT
    pairs = [(one, initialization) for one in plan.variants] + [(variant, one) for one in plan.initializations]
    return list(dict.fromkeys([(variant, initialization), *pairs]))
