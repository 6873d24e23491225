"""The forward pass of one body for many sequences at once, each with the embedding and head of its own variant.

One step of decoding takes the last token of every sequence: its row of its variant's embedding goes into the body, all rows go through
the layers as one batch, and what comes out goes through each variant's head. Linear layers, which are nearly all of the work, thus read
their weights once for all sequences. Attention is computed sequence by sequence over keys and values of its own length: no padding, no
mask, no rebuilding when a sequence joins or leaves, and a long prompt costs its neighbours no memory.

`PlainBody` serves models whose forward pass is not known to be that plain (see `bodies.py`): one variant, one sequence after the other.

B sequences, L new tokens, P tokens kept, H heads, K key-value heads, G heads a key-value head, d their width, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from lep_core.inference.bodies import is_shareable
from lep_core.inference.variant import Variant

ATTENTION = "lep_sequences"
BATCH_SEQUENCES = 16
# Room for this many tokens of an answer is taken at once; after that it grows by half.
SPARE_TOKENS = 256


class Body(Protocol):
    """What the engine asks of a body; `batch_sequences` is how many sequences one step may take."""

    batch_sequences: int

    def new_cache(self, prompt_tokens: int, most_tokens: int) -> Any:
        """What a sequence of at most so many tokens keeps between steps."""

    def read(self, variant: Variant, ids: Sequence[int], cache: Any, *, last: bool) -> torch.Tensor | None:
        """Read a piece of a prompt; the logits (V,) after its `last` piece."""

    def step(self, variants: Sequence[Variant], tokens: Sequence[int], caches: Sequence[Any]) -> list[torch.Tensor]:
        """Read one token of each sequence; logits (G, V) for each stretch of sequences of one variant."""


def body_of(model: Any) -> Body:
    """The body of a loaded model."""
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    return SharedBody(model) if is_shareable(config) else PlainBody(model)


class KeyValues:
    """Keys and values of one sequence, in buffers that grow now and then: a step copies nothing but its own token.

    `length` is moved on by the body after a whole forward pass, so that a pass that fails half-way leaves the sequence as it was.
    """

    def __init__(self, expected: int, most: int) -> None:
        self.length = 0
        self._most = most
        self._room = min(expected, most)
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def add(self, layer: int, keys_KLd: torch.Tensor, values_KLd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all tokens so far, these included, as (1, K, P, d)."""
        end = self.length + keys_KLd.shape[1]
        buffers = self._layers.get(layer)
        if buffers is None or buffers[0].shape[2] < end:
            buffers = self._layers[layer] = self._grown(buffers, end, keys_KLd, values_KLd)
        keys_1KPd, values_1KPd = (buffer.narrow(2, 0, end) for buffer in buffers)
        keys_1KPd[0, :, self.length :] = keys_KLd
        values_1KPd[0, :, self.length :] = values_KLd
        return keys_1KPd, values_1KPd

    def _grown(self, old: tuple[torch.Tensor, torch.Tensor] | None, end: int, *new_KLd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if end > self._room:
            self._room = max(end, min(self._most, self._room * 3 // 2))
        fresh = [new.new_empty((1, new.shape[0], self._room, new.shape[2])) for new in new_KLd]
        if old is not None:
            for buffer, before in zip(fresh, old, strict=True):
                buffer[:, :, : self.length] = before[:, :, : self.length]
        return fresh[0], fresh[1]


class SharedBody:
    """The layers of a plain decoder, for sequences of any of its variants."""

    batch_sequences = BATCH_SEQUENCES

    def __init__(self, model: torch.nn.Module) -> None:
        self.model: Any = model
        self._decoder: Any = self.model.get_decoder()
        _register_attention()

    def new_cache(self, prompt_tokens: int, most_tokens: int) -> KeyValues:
        return KeyValues(prompt_tokens + SPARE_TOKENS, most_tokens)

    @torch.inference_mode()
    def read(self, variant: Variant, ids: Sequence[int], cache: KeyValues, *, last: bool) -> torch.Tensor | None:
        ids_L = torch.tensor(ids, dtype=torch.long, device=variant.device)
        hidden_1LD = self._forward(F.embedding(ids_L, variant.input_VD)[None], [cache])
        return F.linear(hidden_1LD[0, -1], variant.head_VD) if last else None

    @torch.inference_mode()
    def step(self, variants: Sequence[Variant], tokens: Sequence[int], caches: Sequence[KeyValues]) -> list[torch.Tensor]:
        groups = [(group[0], len(group)) for group in (list(same) for _, same in groupby(variants, key=id_of))]
        ids_B = torch.tensor(tokens, dtype=torch.long, device=variants[0].device)
        parts = [F.embedding(ids_G, one.input_VD) for ids_G, (one, _) in zip(_split(ids_B, groups), groups, strict=True)]
        hidden_B1D = self._forward((parts[0] if len(parts) == 1 else torch.cat(parts))[:, None], caches)
        return [F.linear(hidden_GD, one.head_VD) for hidden_GD, (one, _) in zip(_split(hidden_B1D[:, 0], groups), groups, strict=True)]

    def release_embeddings(self) -> None:
        """Let go of the model's own embedding and head, which the variants hold where they are needed."""
        for module in (self.model.get_input_embeddings(), self.model.get_output_embeddings()):
            module.weight = torch.nn.Parameter(module.weight.new_empty((0, module.weight.shape[1])), requires_grad=False)

    def _forward(self, embedded_BLD: torch.Tensor, caches: Sequence[KeyValues]) -> torch.Tensor:
        """Hidden states after the last norm for L new tokens of each sequence."""
        length = embedded_BLD.shape[1]
        starts_B1 = torch.tensor([[cache.length] for cache in caches], device=embedded_BLD.device)
        positions_BL = starts_B1 if length == 1 else starts_B1 + torch.arange(length, device=embedded_BLD.device)
        with _attention_by_sequence(self.model.config):
            result = self._decoder(
                inputs_embeds=embedded_BLD, position_ids=positions_BL, past_key_values=_Sequences(caches), use_cache=True
            )
        for cache in caches:
            cache.length += length
        return result.last_hidden_state


class PlainBody:
    """Any causal language model: its own forward pass, one sequence at a time."""

    batch_sequences = 1

    def __init__(self, model: torch.nn.Module) -> None:
        self.model: Any = model

    def new_cache(self, prompt_tokens: int, most_tokens: int) -> dict[str, Any]:
        return {"past_key_values": None}

    @torch.inference_mode()
    def read(self, variant: Variant, ids: Sequence[int], cache: dict[str, Any], *, last: bool) -> torch.Tensor | None:
        ids_1L = torch.tensor([list(ids)], dtype=torch.long, device=variant.device)
        result = self.model(input_ids=ids_1L, use_cache=True, logits_to_keep=1, **cache)
        cache["past_key_values"] = result.past_key_values
        return result.logits[0, -1]

    def step(self, variants: Sequence[Variant], tokens: Sequence[int], caches: Sequence[dict[str, Any]]) -> list[torch.Tensor]:
        found = [self.read(one, [token], cache, last=True) for one, token, cache in zip(variants, tokens, caches, strict=True)]
        return [logits_V[None] for logits_V in found if logits_V is not None]


def id_of(variant: Variant) -> int:
    """The key that sorts and groups sequences by variant."""
    return id(variant)


class _Sequences:
    """What the layers take for their cache: each sequence's keys and values go to its own."""

    is_compileable = False

    def __init__(self, caches: Sequence[KeyValues]) -> None:
        self._caches = caches

    def update(
        self, keys_BKLd: torch.Tensor, values_BKLd: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        found = [cache.add(layer_idx, keys_BKLd[row], values_BKLd[row]) for row, cache in enumerate(self._caches)]
        return [keys for keys, _ in found], [values for _, values in found]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return max(cache.length for cache in self._caches)


def attention_by_sequence(
    module: torch.nn.Module,
    query_BHLd: torch.Tensor,
    keys: Sequence[torch.Tensor],
    values: Sequence[torch.Tensor],
    attention_mask: Any,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of each sequence over its own keys and values (1, K, P, d); gives (B, L, H, d)."""
    heads, length = query_BHLd.shape[1:3]
    found = []
    for row, (keys_1KPd, values_1KPd) in enumerate(zip(keys, values, strict=True)):
        query_1HLd = query_BHLd[row : row + 1]
        if length == 1:
            if sliding_window is not None and keys_1KPd.shape[2] > sliding_window:
                keys_1KPd, values_1KPd = keys_1KPd[:, :, -sliding_window:], values_1KPd[:, :, -sliding_window:]
            # The heads that share keys become the queries of one head: nothing is repeated, and no mask is needed.
            kv_heads = keys_1KPd.shape[1]
            query_1KGd = query_1HLd.reshape(1, kv_heads, heads // kv_heads, -1)
            out_1KGd = F.scaled_dot_product_attention(query_1KGd, keys_1KPd, values_1KPd, scale=scaling)
            found.append(out_1KGd.reshape(1, 1, heads, -1))
        else:
            found.append(_piece_attention(query_1HLd, keys_1KPd, values_1KPd, scaling, sliding_window).transpose(1, 2))
    return (found[0] if len(found) == 1 else torch.cat(found)).contiguous(), None


def _piece_attention(
    query_1HLd: torch.Tensor, keys_1KPd: torch.Tensor, values_1KPd: torch.Tensor, scaling: float | None, sliding_window: int | None
) -> torch.Tensor:
    """Attention of several new tokens of one sequence, the last L of P."""
    length, total = query_1HLd.shape[2], keys_1KPd.shape[2]
    repeats = query_1HLd.shape[1] // keys_1KPd.shape[1]
    if repeats > 1:
        keys_1KPd, values_1KPd = keys_1KPd.repeat_interleave(repeats, dim=1), values_1KPd.repeat_interleave(repeats, dim=1)
    if length == total and (sliding_window is None or total <= sliding_window):
        return F.scaled_dot_product_attention(query_1HLd, keys_1KPd, values_1KPd, is_causal=True, scale=scaling)
    keys_P = torch.arange(total, device=query_1HLd.device)
    behind_LP = keys_P[total - length :, None] - keys_P[None, :]
    seen_LP = behind_LP >= 0
    if sliding_window is not None:
        seen_LP &= behind_LP < sliding_window
    return F.scaled_dot_product_attention(query_1HLd, keys_1KPd, values_1KPd, attn_mask=seen_LP, scale=scaling)


def _register_attention() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attention_by_sequence)


@contextmanager
def _attention_by_sequence(config: Any) -> Generator[None, None, None]:
    """Let the layers use `attention_by_sequence`; a kind of attention without a mask function of its own gets no mask."""
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def _split(rows: torch.Tensor, groups: Sequence[tuple[Variant, int]]) -> Sequence[torch.Tensor]:
    return [rows] if len(groups) == 1 else rows.split([count for _, count in groups])
