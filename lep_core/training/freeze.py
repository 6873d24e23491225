"""A model taken apart for training: a frozen body, and the two matrices that learn (method section 3).

The body never sees token ids: it receives rows of the input embedding and gives the last hidden states, which the loss multiplies
with the head. No parameter of the model requires a gradient, so no weight gradient is ever computed; the gradient that leaves
the body at its lower end belongs to the rows of the input embedding.

Shapes: V vocabulary rows (padding included), D hidden size, B sequences, L tokens of a sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lep_core.errors import ModelError
from lep_core.models import EmbeddingPair, ModelFolder, load_embeddings, load_model
from lep_core.training.quantize import quantization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROBE_TOKENS = 16
_PROBE_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}


@dataclass(eq=False)
class SplitModel:
    """A frozen body and float32 master matrices; `output_VD is input_VD` when the model is tied.

    `head_VD` is what the loss multiplies with: the master itself in float32, else its copy in the dtype of the computation,
    refreshed after each update. `adapter` holds the factors of a LoRA adapter on the body (see `lora`), parameters of the model.
    """

    folder: ModelFolder
    model: PreTrainedModel
    body: torch.nn.Module
    input_VD: Tensor
    output_VD: Tensor
    head_VD: Tensor
    dtype: torch.dtype
    adapter: dict[str, Tensor] = field(default_factory=dict)
    adapter_settings: Any = None

    @property
    def tied(self) -> bool:
        return self.output_VD is self.input_VD

    @property
    def device(self) -> torch.device:
        return self.input_VD.device

    @property
    def matrices(self) -> dict[str, Tensor]:
        """The matrices that learn, by name: embedding, head if it is another one, and the factors of the adapter if there is one."""
        return {"input": self.input_VD} | ({} if self.tied else {"output": self.output_VD}) | self.adapter

    def embed(self, ids_BL: Tensor) -> Tensor:
        """Rows of the input embedding in the dtype of the computation, B x L x D."""
        return torch.nn.functional.embedding(ids_BL, self.input_VD).to(self.dtype)

    def hidden(self, embedded_BLD: Tensor) -> Tensor:
        """Last hidden states, B x L x D. Documents in one sequence see each other, as in the paper."""
        return self.body(inputs_embeds=embedded_BLD, use_cache=False).last_hidden_state

    def refresh_head(self) -> None:
        """Take the updated master over into the head that the loss reads."""
        if self.head_VD is not self.output_VD:
            self.head_VD.copy_(self.output_VD)

    def trained_pair(self) -> EmbeddingPair:
        """Both matrices in the model's own dtype, on the CPU, for writing."""
        dtype = getattr(torch, self.folder.dtype)
        return EmbeddingPair(
            input_VD=self.input_VD.detach().to("cpu", dtype),
            output_VD=None if self.tied else self.output_VD.detach().to("cpu", dtype),
        )


def load_split(folder: ModelFolder, *, device: torch.device, dtype: torch.dtype, quantize: str = "none") -> SplitModel:
    """Load a model folder for training; `quantize` stores the body in fewer bits (`quantize.quantization`).

    Raises:
        ModelError: the model does more to its embeddings or logits than looking up and multiplying (scaling, capping, a bias).
    """
    model = load_model(folder.path, device=device, dtype=dtype, quantization=quantization(quantize, dtype)).requires_grad_(False)
    body = model.get_decoder()
    embedding = model.get_parameter(folder.input_name)
    head = embedding if folder.output_name is None else model.get_parameter(folder.output_name)
    _check_plain(model, body, embedding, head, folder)
    input_VD = embedding.data
    output_VD = head_VD = input_VD if folder.tied else head.data
    if dtype != torch.float32:
        # Masters come from the files: the loaded copies were rounded to the dtype of the computation.
        pair = load_embeddings(folder)
        input_VD = pair.input_VD.to(device, torch.float32)
        output_VD = input_VD if pair.output_VD is None else pair.output_VD.to(device, torch.float32)
        if not folder.tied:
            embedding.data = embedding.data.new_empty(0, folder.hidden_size)
    return SplitModel(folder=folder, model=model, body=body, input_VD=input_VD, output_VD=output_VD, head_VD=head_VD, dtype=dtype)


@torch.no_grad()
def _check_plain(model: PreTrainedModel, body: torch.nn.Module, embedding_VD: Tensor, head_VD: Tensor, folder: ModelFolder) -> None:
    """Look-up, body, product with the head: that must be all the model does, else training would fit another function."""
    ids_BL = torch.arange(min(_PROBE_TOKENS, folder.vocab_size), device=embedding_VD.device)[None]
    expected_BLV = model(input_ids=ids_BL, use_cache=False).logits.float()
    hidden_BLD = body(inputs_embeds=torch.nn.functional.embedding(ids_BL, embedding_VD), use_cache=False).last_hidden_state
    difference = ((hidden_BLD @ head_VD.T).float() - expected_BLV).abs().max()
    if not bool(difference <= _PROBE_TOLERANCE.get(head_VD.dtype, 5e-2) * expected_BLV.abs().max().clamp(min=1e-6)):
        if not bool(expected_BLV.isfinite().all()):
            raise ModelError(f"{folder.path} computes NaN or infinite logits", "Give a model with sound weights")
        raise ModelError(
            f"{folder.architecture} scales, caps or shifts its embeddings or logits, which training does not support",
            "Choose a model with a plain embedding and head, such as LLaMA, Mistral or Qwen",
        )
