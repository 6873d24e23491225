"""Proof that a written model folder computes what it should: logits and token ids after loading it with plain transformers.

Probe ids are fixed (they depend on the number of tokens only), logits are computed in float32, and equal means equal bit by bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lep_core.errors import ModelError
from lep_core.models.folder import DTYPES, SMALL_MODEL_BYTES, ModelFolder, inspect_model
from lep_core.models.weights import load_embeddings, load_model
from lep_core.models.writing import EmbeddingPair

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lep_core.models.writing import TensorChange

PROBE_SHAPE = (2, 24)
PROBE_TEXTS = (
    "The quick brown fox jumps over 13 lazy dogs.\n\tSecond  line: naïve café, 12345 + 67.8%!",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Ёлка — 2024 год.",
    " leading and  double   spaces\u00a0\u2009and 漢字かな 🙂👩‍👩‍👧 e\u0301 \u2581 <0x0A> <unk>",
    "def f(x):\n    return x**2  # комментарий\n\n\nEND",
)


@dataclass(frozen=True, kw_only=True)
class LogitsProof:
    """Whether two ways to the same model give the same logits; None when the model is too large to be loaded just for that."""

    logits_equal: bool | None
    max_logit_difference: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


NOT_MADE = LogitsProof(logits_equal=None, max_logit_difference=None)


def is_small(folder: ModelFolder) -> bool:
    """Whether loading the model twice in float32 is cheap enough for a proof."""
    return folder.bytes <= SMALL_MODEL_BYTES


def probe_ids(tokens: int) -> Tensor:
    """Fixed ids below `tokens`, spread over the vocabulary, first and last included."""
    generator = torch.Generator().manual_seed(20_241)
    ids = torch.randint(0, tokens, PROBE_SHAPE, generator=generator)
    ids[0, :2] = torch.tensor([0, tokens - 1])
    return ids


@torch.no_grad()
def probe_logits(model: PreTrainedModel, tokens: int) -> Tensor:
    """Logits of the probe ids, in the model's dtype, padded rows left out."""
    return model(input_ids=probe_ids(tokens)).logits[..., :tokens]


def logits_sha256(source: str | Path) -> str:
    """Hash of a folder's float32 probe logits; equal for folders that compute the same."""
    folder = inspect_model(source)
    logits = probe_logits(load_model(folder.path), folder.tokenizer_size or folder.vocab_size)
    return hashlib.sha256(logits.contiguous().view(torch.uint8).numpy().data).hexdigest()


def prove_written(
    output: Path, *, body: ModelFolder, embeddings: EmbeddingPair | None = None, tensor_changes: Mapping[str, TensorChange] | None = None
) -> LogitsProof:
    """Compare the reloaded folder `output` with `body` in memory carrying the embeddings and the given changes of other tensors.

    Without `embeddings` those are taken that stand in the files of `output`.
    """
    written = inspect_model(output)
    if not is_small(written):
        return NOT_MADE
    embeddings = embeddings or load_embeddings(written)
    tokens = written.tokenizer_size or written.vocab_size
    model = load_model(body.path)
    model.config.vocab_size = embeddings.rows
    model.get_input_embeddings().weight = torch.nn.Parameter(embeddings.input_VD.float())
    head_VD = embeddings.input_VD if embeddings.output_VD is None else embeddings.output_VD
    model.get_output_embeddings().weight = torch.nn.Parameter(head_VD.float())
    for name, change in (tensor_changes or {}).items():
        weight, dtype = model.get_parameter(name), getattr(torch, DTYPES[body.slots[name].dtype])
        weight.data = change(weight.data.to(dtype)).to(dtype).float()
    expected = _sound(probe_logits(model, tokens), body)
    del model
    return _compare(expected, probe_logits(load_model(output), tokens))


def prove_copy(source: ModelFolder, output: Path) -> LogitsProof:
    """Compare two folders that should hold the same model."""
    if not is_small(source):
        return NOT_MADE
    tokens = source.tokenizer_size or source.vocab_size
    expected = _sound(probe_logits(load_model(source.path), tokens), source)
    return _compare(expected, probe_logits(load_model(output), tokens))


def ids_equal(folder: Path) -> bool:
    """Whether `AutoTokenizer` and `tokenizers` give the same ids for the folder, with and without special tokens."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    auto: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    return all(
        auto(text, add_special_tokens=special).input_ids == plain.encode(text, add_special_tokens=special).ids
        for text in PROBE_TEXTS
        for special in (True, False)
    )


def _sound(logits: Tensor, folder: ModelFolder) -> Tensor:
    if not torch.isfinite(logits).all():
        raise ModelError(f"{folder.path} computes NaN or infinite logits", "Give a model with sound weights")
    return logits


def _compare(expected: Tensor, found: Tensor) -> LogitsProof:
    difference = float((expected.double() - found.double()).abs().max())
    return LogitsProof(logits_equal=bool(torch.equal(expected, found)), max_logit_difference=difference)
