"""Weights and tokenizers loaded strictly, embeddings taken out, frozen weights hashed.

V rows (vocabulary, padding included), D hidden.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lep_core.errors import ModelError, TokenizerError
from lep_core.models.folder import (
    DTYPES,
    IGNORED,
    INPUT_NAME,
    OUTPUT_NAME,
    ModelFolder,
    inspect_model,
    read_json_object,
    read_vocabulary,
    resolve,
)
from lep_core.models.safetensors_files import DAMAGED, TensorSlot, begin_tensor_hash, tensors_sha256
from lep_core.models.writing import TEMPLATE_FILE, EmbeddingPair

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

LONGEST_REASON = 300
TEMPLATE_LIMIT_BYTES = 1_000_000
HEADER_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
}


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a folder, exactly as tokenizer.json describes it.

    AutoTokenizer is avoided on purpose: for some model types it rebuilds the tokenizer from vocabulary and merges and loses the rest.

    Raises:
        TokenizerError: there is no tokenizer.json, or it is damaged.
    """
    path = resolve(source)
    read_vocabulary(path)
    config = read_json_object(path / "tokenizer_config.json") if (path / "tokenizer_config.json").is_file() else {}
    _check_template_size(path, config)
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    def load() -> PreTrainedTokenizerFast:
        Tokenizer.from_file(str(path / "tokenizer.json"))
        return PreTrainedTokenizerFast.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)

    try:
        tokenizer = load()
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # The Rust library raises a bare Exception, or a PanicException that is a BaseException.
        raise TokenizerError(
            f"{path / 'tokenizer.json'} cannot be loaded ({type(error).__name__}: {error})", "Give an unchanged tokenizer folder"
        ) from error
    known = read_vocabulary(path)[0]
    more = next((token for token in tokenizer.get_added_vocab() if token not in known), None)
    if more is not None:
        # transformers gives such a token an id behind all others, where the embedding may have no row.
        raise TokenizerError(
            f"tokenizer_config.json or special_tokens_map.json of {path} adds the token {more!r}, which tokenizer.json does not have",
            "Add the token to tokenizer.json (transformers: save_pretrained), or remove it there",
        )
    # Stages decide for themselves how long a text may be.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _check_template_size(path: Path, config: Mapping[str, Any]) -> None:
    file = path / TEMPLATE_FILE
    size = max(len(str(config.get("chat_template") or "")), file.stat().st_size if file.is_file() else 0)
    if size > TEMPLATE_LIMIT_BYTES:
        raise TokenizerError(
            f"the chat template of {path} has {size:,} bytes, more than {TEMPLATE_LIMIT_BYTES:,}",
            "Give the template that belongs to the model",
        )


def load_model(
    source: str | Path, *, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32", quantization: Any = None
) -> PreTrainedModel:
    """The whole model in `dtype` on `device`, in evaluation mode; any missing, unexpected or mismatched tensor is refused.

    `quantization` is a quantization config of transformers: the linear layers of the body are then stored in fewer bits.
    """
    folder = inspect_model(source)
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    # Quantised layers are made on their device and do not move later.
    options = {} if quantization is None else {"quantization_config": quantization, "device_map": {"": device}}
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder.path),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=wanted,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        reason = f"{type(error).__name__}: {error}"[:LONGEST_REASON]
        raise ModelError(f"transformers cannot load {folder.path} ({reason})", "Check config.json and the weights") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    model, info = loaded
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys", "error_msgs"):
        if problems := sorted(str(item) for item in info[kind]):
            raise ModelError(
                f"loading {folder.path} met {kind.replace('_', ' ')}: {', '.join(problems[:3])} ({len(problems)} in all)",
                "Give matching files",
            )
    return (model if quantization is not None else model.to(device)).eval()


def load_embeddings(folder: ModelFolder) -> EmbeddingPair:
    """Input embedding and head in the model's dtype, memory-mapped from the files; the head is None when tied."""
    return EmbeddingPair(
        input_VD=load_slot(folder.slots[folder.input_name]),
        output_VD=None if folder.output_name is None else load_slot(folder.slots[folder.output_name]),
    )


def load_slot(slot: TensorSlot) -> Tensor:
    """One tensor of a file, memory-mapped."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(slot.path, framework="pt") as stream:
            return stream.get_tensor(slot.name)
    except SafetensorError as error:
        raise ModelError(f"{slot.name} cannot be read from {slot.path} ({error})", DAMAGED) from error


class MappedTensor:
    """One tensor of a file, memory-mapped by ourselves so that the pages it has taken can be given back."""

    def __init__(self, slot: TensorSlot) -> None:
        with open(slot.path, "rb") as stream:
            # A private mapping: torch asks for memory that could be written to.
            self._mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        dtype = getattr(torch, DTYPES[slot.dtype])
        count = slot.bytes // dtype.itemsize
        aligned = slot.begin % dtype.itemsize == 0
        self.tensor = (
            torch.frombuffer(self._mapping, dtype=dtype, count=count, offset=slot.begin).reshape(slot.shape) if aligned else load_slot(slot)
        )

    def release(self) -> None:
        """Give its pages back; they are read again when they are next used. The tensor must not have been written to."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)


def check_finite(matrix_VD: Tensor, name: str, *, block_rows: int = 8192) -> None:
    """Raise ModelError when a matrix holds NaN or infinity; names the first such row."""
    for begin in range(0, len(matrix_VD), block_rows):
        # The extremes are NaN where any number is, and take a fiftieth of the time of looking at each.
        if all(bool(extreme.isfinite()) for extreme in torch.aminmax(matrix_VD[begin : begin + block_rows])):
            continue
        bad_B = ~torch.isfinite(matrix_VD[begin : begin + block_rows]).all(dim=1)
        if bad_B.any():
            row = begin + int(bad_B.nonzero()[0])
            raise ModelError(
                f"{name} holds NaN or infinity, first in row {row}", "Give sound weights; a training run with such a loss cannot be used"
            )


def frozen_sha256(source: ModelFolder | str | Path) -> str:
    """One hash over all tensors but embedding and head, read from the files; it does not depend on sharding."""
    folder = source if isinstance(source, ModelFolder) else inspect_model(source)
    return tensors_sha256(folder.frozen_slots)


def frozen_sha256_of_module(model: torch.nn.Module) -> str:
    """`frozen_sha256` of a loaded model; equal to that of its folder when loaded in the same dtype. A LoRA adapter does not count."""
    digest = hashlib.sha256()
    state: dict[str, Any] = {
        name.replace(".base_layer.", "."): tensor for name, tensor in model.state_dict().items() if ".lora_" not in name
    }
    for name in sorted(state):
        if name in (INPUT_NAME, OUTPUT_NAME) or IGNORED.search(name):
            continue
        tensor = state[name].detach()
        begin_tensor_hash(digest, name, HEADER_DTYPES[tensor.dtype], tensor.shape)
        digest.update(tensor.reshape(-1).cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
