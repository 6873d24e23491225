"""The demo's settings: found by measuring, see docs/demo.md."""

from __future__ import annotations

from typing import Any

# Fields of AdaptConfig; the demo project of the user interface offers the same values.
DEMO_SETTINGS: dict[str, Any] = {
    "variant": "continued-bpe",
    "new_tokens": 500,
    "initialization": "mean",
    "steps": 600,
    "learning_rate": 4e-3,
    "batch_size": 16,
    "block_size": 128,
    "warmup_steps": 60,
    "replay_share": 0.2,
    # Two hundred questions in each language.
    "limit": 400,
}
