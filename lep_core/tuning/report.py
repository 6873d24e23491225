"""What an instruction tuning returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TuneReport:
    """The result of `tune`; units are in the names, None = not measured.

    `conversations` are learned from, `heldout_conversations` measured; `unusable` records of the data were no conversations,
    `cut` conversations lost their last turns and `dropped` ones were left out because they were too long. `sequences` are the rows that
    are computed: one a conversation, more where the template renders earlier turns differently later. Token counts are those of one pass.
    `loss_before` and `loss_after` are nats an answer token on the held-out conversations; only bits a byte can be compared across vocabularies.
    """

    conversations: int
    heldout_conversations: int
    unusable: int
    cut: int
    dropped: int
    sequences: int
    answer_tokens: int
    prompt_tokens: int
    steps: int
    loss_before: float | None
    loss_after: float | None
    answer_bits_per_byte_before: float | None
    answer_bits_per_byte_after: float | None
    seconds: float
    tokens_per_second: float
    padding_share: float
    peak_memory_gib: float
    stopped: bool
    preset: str
    scope: str
    full_parts: tuple[str, ...]
    lora_rank: int | None
    lora_alpha: int | None
    learned_parameters: int
    learning_rate: float
    batch_size: int
    max_length: int
    template: str
    appended_tokens: tuple[str, ...]
    merged_adapter: str | None
    threads: int
    precision: str
    device: str

    def to_json(self) -> dict[str, Any]:
        """JSON values by field name."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
