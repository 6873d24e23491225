"""Fields that several configs have."""

from __future__ import annotations

import dataclasses
from typing import Any

from lep_core.config.base import option

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")


def output_option() -> Any:
    return option(help="folder that the result is written to", kind="folder")


def overwrite_option() -> Any:
    return option(False, help="replace the output folder if it is not empty")


def input_option(
    help: str = "text files or folders: txt, md, jsonl, csv, tsv, parquet, also gz, zst or zip; hf://dataset when online",
    default: Any = dataclasses.MISSING,
) -> Any:
    return option(default, help=help, kind="text")


def text_field_option() -> Any:
    return option(
        None, help="column or key that holds the text; found by itself when it is called text, content or document", advanced=True
    )


def encoding_option() -> Any:
    return option(None, help="encoding of plain text files; detected when not given", advanced=True)


def seed_option() -> Any:
    return option(0, help="seed of everything random", minimum=0, maximum=2**32 - 1, advanced=True)


def device_option() -> Any:
    return option("auto", help="where to compute; auto takes a GPU when there is one", choices=DEVICES, advanced=True)


def precision_option() -> Any:
    return option(
        "auto",
        help="number format of the computation; auto takes bfloat16 where the hardware is fast at it, weights that learn stay float32",
        choices=PRECISIONS,
        advanced=True,
    )


def threads_option() -> Any:
    return option(
        None,
        help="CPU threads; by default all physical cores, one for models under 10 million parameters",
        minimum=1,
        maximum=1024,
        advanced=True,
    )
