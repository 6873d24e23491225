"""What a training returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """The result of `train`; units are in the names, None = not measured.

    `tokens_seen` counts trained positions since step 0, over all resumptions; `seconds`, `tokens_per_second` and `peak_memory_gib` are
    those of this process, the first of `processes` (`tokens_per_second` of the optimizer steps alone, in all processes together).
    `corpus_tokens` is the length of the packed text. `moves` says how far training moved the rows of embedding and head (`move.Move`),
    `passes` how often the text was read, `warnings` what of this was too much for comfort (`lep_core.risk`), and `suggested_anchor` what
    would have held rows that moved far.
    With `adapter`, the subfolder of the result that holds a LoRA adapter, `bits_per_byte_after` and `samples_after` are those of the model
    with the adapter, while the folder's own weights are the unchanged body and the trained embeddings.
    """

    steps: int
    tokens_seen: int
    bits_per_byte_before: float | None
    bits_per_byte_after: float | None
    heldout_bytes: int
    tokens_per_second: float
    peak_memory_gib: float
    frozen_sha256_before: str
    frozen_sha256_after: str
    stopped: bool
    seconds: float
    samples_before: tuple[str, ...]
    samples_after: tuple[str, ...]
    learning_rate: float
    batch_size: int
    micro_batch_size: int
    block_size: int
    corpus_tokens: int
    corpus_documents: int
    threads: int
    precision: str
    device: str
    processes: int = 1
    strategy: str = "ddp"
    adapter: str | None = None
    adapter_parameters: int = 0
    gradient_checkpointing: bool = False
    quantize: str = "none"
    optimizer: str = "adamw"
    anchor: float = 0.0
    moves: tuple[dict[str, Any], ...] = ()
    passes: float = 0.0
    warnings: tuple[str, ...] = ()
    suggested_anchor: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values by field name."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
