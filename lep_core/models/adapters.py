"""The LoRA adapter that `train --lora` leaves beside the weights of its result, in the format of peft.

Whoever loads such a folder gets the unchanged body and the trained embeddings. `propagate` merges the adapter into the instruct model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lep_core.progress import Reporter

ADAPTER_FOLDER = "adapter"
CONFIG_NAME = "adapter_config.json"


def mention_adapters(sources: Iterable[str], reporter: Reporter) -> None:
    """Say of each model folder with an adapter that only the folder's own weights are read."""
    for source in sources:
        if (Path(os.path.expanduser(source)) / ADAPTER_FOLDER / CONFIG_NAME).is_file():
            reporter.message(
                f"{source}: the LoRA adapter in {ADAPTER_FOLDER}/ is left out here; propagate merges it into an instruct model"
            )
