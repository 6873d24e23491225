"""Small numbers for small GPUs, by bitsandbytes: the frozen body in 8 or 4 bits, the optimizer's moments in 8.

What learns stays float32, so no precision of the training itself is lost; the body's rounding is measured like everything else, by bits
per byte on held-out text. The written model has the body of the source, not the rounded one.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

import torch

from lep_core.errors import ConfigError


def check_bitsandbytes(field: str, value: str, device: torch.device) -> None:
    """Raise `ConfigError` when a setting needs bitsandbytes on a CUDA device and there is none."""
    flag = "--" + field.replace("_", "-")
    if device.type != "cuda":
        raise ConfigError(field, f"{flag} {value} works on CUDA devices only, and this is {device.type}", f"Leave {flag} out")
    if find_spec("bitsandbytes") is None:
        raise ConfigError(field, f"{flag} {value} needs the package bitsandbytes", "Install it: pip install 'lep-studio[cuda]'")


def quantization(bits: str, dtype: torch.dtype) -> Any:
    """The settings with which transformers loads a body in `8bit` or `4bit`; None for `none`. Embedding and head stay as they are."""
    if bits == "none":
        return None
    from transformers import BitsAndBytesConfig

    if bits == "8bit":
        # It says for every layer in every step that bfloat16 inputs are rounded through float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
