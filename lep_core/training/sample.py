"""A short greedy continuation of a prompt, to show what training changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lep_core.training.freeze import SplitModel
from lep_core.training.packing import Encoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NEW_TOKENS = 40


@torch.no_grad()
def continue_text(
    split: SplitModel, encoder: Encoder, tokenizer: PreTrainedTokenizerFast, prompt: str, *, new_tokens: int = NEW_TOKENS
) -> str:
    """The prompt and up to `new_tokens` more tokens, each the likeliest one; ends early at eos. Padded rows are never chosen."""
    ids = [*([] if encoder.bos is None else [encoder.bos]), *encoder.encode([prompt])[0]] or [encoder.eos or 0]
    cache, last = None, ids
    for _ in range(new_tokens):
        embedded_BLD = split.embed(torch.tensor([last], device=split.device))
        output = split.body(inputs_embeds=embedded_BLD, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logits_V = split.head_VD[: len(tokenizer)] @ output.last_hidden_state[0, -1]
        token = int(logits_V.argmax())
        if token == encoder.eos:
            break
        ids.append(token)
        last = [token]
    return str(tokenizer.decode(ids, skip_special_tokens=True))
