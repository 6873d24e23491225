"""Weights and tokenizers loaded strictly, embeddings taken out, siblings compared, frozen weights hashed.

V rows (vocabulary, padding included), D hidden.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lep_core.errors import ModelError, SiblingError, TokenizerError
from lep_core.models.folder import IGNORED, INPUT_NAME, OUTPUT_NAME, ModelFolder, inspect_model, read_vocabulary, resolve
from lep_core.models.safetensors_files import begin_tensor_hash, tensors_sha256
from lep_core.models.writing import EmbeddingPair

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

HEADER_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.bool: "BOOL",
}


@dataclass(frozen=True, kw_only=True)
class SiblingReport:
    """Two models that share architecture, hidden size and token ids; `extra_tokens` are the second one's own."""

    shared_tokens: int
    extra_tokens: dict[str, int]


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a folder, exactly as tokenizer.json describes it.

    AutoTokenizer is avoided on purpose: for some model types it rebuilds the tokenizer from vocabulary and merges and loses the rest.

    Raises:
        TokenizerError: there is no tokenizer.json, or it is damaged.
    """
    path = resolve(source)
    read_vocabulary(path)
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    def load() -> PreTrainedTokenizerFast:
        Tokenizer.from_file(str(path / "tokenizer.json"))
        return PreTrainedTokenizerFast.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)

    try:
        return load()
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # The Rust library raises a bare Exception, or a PanicException that is a BaseException.
        raise TokenizerError(
            f"{path / 'tokenizer.json'} cannot be loaded ({type(error).__name__}: {error})", "Give an unchanged tokenizer folder"
        ) from error


def load_model(source: str | Path, *, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32") -> PreTrainedModel:
    """The whole model in `dtype` on `device`, in evaluation mode; any missing, unexpected or mismatched tensor is refused."""
    folder = inspect_model(source)
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder.path), local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=wanted, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"transformers cannot load {folder.path} ({type(error).__name__}: {error})", "Check config.json and the weights"
        ) from error
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
    return model.to(device).eval()


def load_embeddings(folder: ModelFolder) -> EmbeddingPair:
    """Input embedding and head in the model's dtype, memory-mapped from the files; the head is None when tied."""
    return EmbeddingPair(
        input_VD=_load_tensor(folder, folder.input_name),
        output_VD=None if folder.output_name is None else _load_tensor(folder, folder.output_name),
    )


def _load_tensor(folder: ModelFolder, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(folder.slots[name].path, framework="pt") as stream:
        return stream.get_tensor(name)


def check_finite(matrix_VD: Tensor, name: str, *, block_rows: int = 8192) -> None:
    """Raise ModelError when a matrix holds NaN or infinity; names the first such row."""
    for begin in range(0, len(matrix_VD), block_rows):
        bad_B = ~torch.isfinite(matrix_VD[begin : begin + block_rows]).all(dim=1)
        if bad_B.any():
            row = begin + int(bad_B.nonzero()[0])
            raise ModelError(
                f"{name} holds NaN or infinity, first in row {row}", "Give sound weights; a training run with such a loss cannot be used"
            )


def check_siblings(base: ModelFolder, instruct: ModelFolder) -> SiblingReport:
    """Check that embeddings can move from `base` to `instruct`.

    Raises:
        SiblingError: other architecture, shape or tie, or a token that has another id.
    """
    check_same_shape(base, instruct, "base", "instruct")
    base_ids, instruct_ids = (read_vocabulary(folder.path)[0] for folder in (base, instruct))
    hint = "Give the instruct model that was made from this base model"
    for token, number in base_ids.items():
        other = instruct_ids.get(token)
        if other is None:
            raise SiblingError(f"the base model's token {token!r} ({number}) is missing in the instruct model's tokenizer", hint)
        if other != number:
            raise SiblingError(f"the token {token!r} has id {number} in the base and {other} in the instruct model", hint)
    extra = {token: number for token, number in instruct_ids.items() if token not in base_ids}
    added = read_vocabulary(instruct.path)[1]
    ordinary = [token for token in extra if token not in added]
    if ordinary:
        raise SiblingError(f"the instruct model has {len(ordinary)} ordinary tokens more than the base, for example {ordinary[0]!r}", hint)
    return SiblingReport(shared_tokens=len(base_ids), extra_tokens=extra)


def check_same_shape(first: ModelFolder, second: ModelFolder, first_role: str, second_role: str) -> None:
    """Raise SiblingError unless both models have the same architecture, hidden size, depth and tie."""
    facts = {"architecture": "architecture", "hidden_size": "hidden size", "layers": "number of layers"}
    for name, words in facts.items():
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            raise SiblingError(
                f"the {words} of {first_role} and {second_role} differ: {one} and {other}", "Give two models of one family and size"
            )
    if first.tied != second.tied:
        tied, untied = (first_role, second_role) if first.tied else (second_role, first_role)
        raise SiblingError(
            f"the {tied} model has one matrix for embedding and head (tied), the {untied} model has two",
            "Give models that are both tied or both untied: one matrix cannot be carried over to two",
        )


def frozen_sha256(source: ModelFolder | str | Path) -> str:
    """One hash over all tensors but embedding and head, read from the files; it does not depend on sharding."""
    folder = source if isinstance(source, ModelFolder) else inspect_model(source)
    return tensors_sha256(folder.frozen_slots)


def frozen_sha256_of_module(model: torch.nn.Module) -> str:
    """`frozen_sha256` of a loaded model; equal to that of its folder when loaded in the same dtype."""
    digest = hashlib.sha256()
    state: dict[str, Any] = model.state_dict()
    for name in sorted(state):
        if name in (INPUT_NAME, OUTPUT_NAME) or IGNORED.search(name):
            continue
        tensor = state[name].detach()
        begin_tensor_hash(digest, name, HEADER_DTYPES[tensor.dtype], tensor.shape)
        digest.update(tensor.reshape(-1).cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
