"""What a token costs a model, from its config.json alone: the arithmetic behind "fewer tokens, larger head".

Forward pass, one multiplication and one addition per weight and token, as counted by Kaplan et al. 2020 (Scaling Laws for Neural Language
Models, table 1) and Hoffmann et al. 2022 (Training Compute-Optimal Large Language Models, appendix F). For one token, with D hidden, A = heads x head size,
K = key-value heads x head size, F inner width, V vocabulary rows and L tokens attended to:

    attention    2 D A (query) + 4 D K (key, value; K < A with grouped queries) + 2 A D (output) + 4 L A (scores and weighted sum)
    MLP          6 D F with a gate, 4 D F without; of a mixture of experts the chosen and the shared ones, and 2 D E for the router
    head         2 V D
    input row    0: it is looked up, not multiplied

Norms, biases, activations and rotations are left out: less than 2 % (held against an independent count of operators in the tests).

So the same text costs body x tokens, which falls with a better vocabulary, and head x tokens, which falls with it and grows with the vocabulary.
Two predictions of characters per second follow, both relative to another model:

    bandwidth    at batch 1 a decoding step reads every weight that it uses once (and the cache of keys and values), and memory is what it
                 waits for: characters per byte read. This is the one that a speed test at batch 1 shows, and the page shows it.
    compute      long prompts, training and large batches wait for arithmetic: characters per operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Model types whose MLP has no gate: two matrices instead of three.
WITHOUT_GATE = frozenset(
    {
        "bloom",
        "codegen",
        "falcon",
        "gpt2",
        "gpt_bigcode",
        "gpt_neo",
        "gpt_neox",
        "gptj",
        "mpt",
        "nemotron",
        "opt",
        "phi",
        "persimmon",
        "starcoder2",
    }
)
# Attention of another form: latent keys and values, states instead of attention.
_OTHER_FORMS = ("kv_lora_rank", "ssm_cfg", "state_size", "linear_num_key_heads")
_SPELLINGS = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "inner": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
}


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """What each token multiplies and reads; `*_weights` count parameters that are used for one token."""

    body_weights: int
    head_weights: int
    attention_width: int  # heads x head size, over all layers
    cache_width: int  # keys and values of one token, over all layers
    window: int | None = None  # tokens attended to at most

    def body_flops(self, attended: float = 0.0) -> float:
        """Operations of one token in the layers, with so many tokens attended to."""
        return 2 * self.body_weights + 4 * self._seen(attended) * self.attention_width

    @property
    def head_flops(self) -> float:
        """Operations of one token in the head."""
        return 2.0 * self.head_weights

    def flops_per_token(self, attended: float = 0.0) -> float:
        """Operations of one token's forward pass."""
        return self.body_flops(attended) + self.head_flops

    def bytes_per_token(self, attended: float = 0.0, *, weight_bytes: float = 2.0) -> float:
        """Bytes that one decoding step at batch 1 reads: the weights in use, and the keys and values of the tokens attended to."""
        return weight_bytes * (self.body_weights + self.head_weights + self._seen(attended) * self.cache_width)

    def flops_of_text(self, tokens: float) -> float:
        """Operations of reading `tokens` tokens as one text: each attends to those before it, half of them on average."""
        return tokens * self.flops_per_token((tokens + 1) / 2)

    def _seen(self, attended: float) -> float:
        return attended if self.window is None else min(attended, self.window)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One model against another over the same text; above 1 is faster, `relative_cost` below 1 is cheaper."""

    relative_cost: float
    relative_body_cost: float
    relative_head_cost: float
    compute_speedup: float
    bandwidth_speedup: float


def model_cost(config: Mapping[str, Any], *, rows: int | None = None) -> ModelCost | None:
    """The costs of a model with this config.json; None where its layers have a form that is not counted here.

    Args:
        rows: rows of the head, if not `vocab_size`.
    """
    if isinstance(inner := config.get("text_config"), Mapping):
        config = {**config, **inner}
    values = {name: _first(config, keys) for name, keys in _SPELLINGS.items()}
    hidden, layers, heads = values["hidden"], values["layers"], values["heads"]
    rows = _whole(config.get("vocab_size")) if rows is None else rows
    if hidden is None or layers is None or heads is None or rows is None or any(config.get(key) for key in _OTHER_FORMS):
        return None
    head_size = _whole(config.get("head_dim")) or hidden // heads
    groups = _whole(config.get("num_key_value_heads")) or heads
    width, small = heads * head_size, groups * head_size
    attention = layers * (2 * hidden * width + 2 * hidden * small)
    mlp = _mlp_weights(config, hidden=hidden, inner=values["inner"] or 4 * hidden, layers=layers, experts=values["experts"])
    if mlp is None:
        return None
    window = _whole(config.get("sliding_window")) if config.get("use_sliding_window", True) and not config.get("layer_types") else None
    return ModelCost(
        body_weights=attention + mlp,
        head_weights=rows * hidden,
        attention_width=layers * width,
        cache_width=2 * layers * small,
        window=window,
    )


def gain(
    model: ModelCost,
    tokens: float,
    reference: ModelCost,
    reference_tokens: float,
    *,
    attended: float = 0.0,
    weight_bytes: tuple[float, float] = (2.0, 2.0),
) -> Gain:
    """What `model` gains over `reference` on a text that costs them so many tokens.

    Args:
        attended: tokens attended to on average by the reference; the model's are as many characters.
        weight_bytes: bytes of a weight, of the model and of the reference.
    """
    seen = attended * tokens / reference_tokens
    body = tokens * model.body_flops(seen) / (reference_tokens * reference.body_flops(attended))
    head = tokens * model.head_flops / (reference_tokens * reference.head_flops)
    cost = tokens * model.flops_per_token(seen) / (reference_tokens * reference.flops_per_token(attended))
    own, other = weight_bytes
    read = (
        tokens
        * model.bytes_per_token(seen, weight_bytes=own)
        / (reference_tokens * reference.bytes_per_token(attended, weight_bytes=other))
    )
    return Gain(relative_cost=cost, relative_body_cost=body, relative_head_cost=head, compute_speedup=1 / cost, bandwidth_speedup=1 / read)


def _mlp_weights(config: Mapping[str, Any], *, hidden: int, inner: int, layers: int, experts: int | None) -> int | None:
    """Weights of all layers' MLPs that one token uses."""
    matrices = 2 if config.get("model_type") in WITHOUT_GATE else 3
    dense = matrices * hidden * inner
    if not experts:
        return layers * dense
    chosen = _whole(config.get("num_experts_per_tok"))
    if chosen is None:
        return None
    width = _whole(config.get("moe_intermediate_size")) or inner
    shared_width = _whole(config.get("shared_expert_intermediate_size")) or (_whole(config.get("n_shared_experts")) or 0) * width
    sparse = (
        matrices * hidden * (chosen * width + shared_width)
        + hidden * experts
        + (hidden if config.get("shared_expert_intermediate_size") else 0)
    )
    step, dense_layers = _whole(config.get("decoder_sparse_step")) or 1, set(config.get("mlp_only_layers") or ())
    first = _whole(config.get("first_k_dense_replace")) or 0
    count = sum((layer + 1) % step == 0 and layer not in dense_layers and layer >= first for layer in range(layers))
    return count * sparse + (layers - count) * dense


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((value for key in keys if (value := _whole(config.get(key))) is not None), None)


def _whole(value: Any) -> int | None:
    """A positive whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
