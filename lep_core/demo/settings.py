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
    "anchor": 1.0,
    "batch_size": 16,
    "block_size": 128,
    "warmup_steps": 60,
    "replay_share": 0.2,
    # Two hundred questions in each language.
    "limit": 400,
}

# Fields of CalibrateConfig. The original is right less often than the propagated model: a small rate takes over its habits, not its faults.
DEMO_CALIBRATION: dict[str, Any] = {
    "preset": "laptop",
    "learning_rate": 3e-5,
    "copy_share": 0.2,
    "max_new_tokens": 64,
    "limit": 400,
}
