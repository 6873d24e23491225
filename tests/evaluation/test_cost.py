"""Counted costs agree with an independent count of the operators that a real forward pass runs."""

from __future__ import annotations

import pytest
import torch

from lep_core.evaluation.cost import ModelCost, gain, model_cost

SMALL = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 500}
CONFIGS = {
    "llama": {**SMALL, "num_key_value_heads": 2, "head_dim": 24},
    "llama-8-heads": {**SMALL, "num_attention_heads": 8, "num_key_value_heads": 8},
    "mistral": {**SMALL, "num_key_value_heads": 1, "sliding_window": None},
    "qwen2": {**SMALL, "num_key_value_heads": 2},
    "qwen3": {**SMALL, "num_key_value_heads": 2, "head_dim": 32},
    "gpt_neox": SMALL,
    "gpt2": {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 500},
    "mixtral": {**SMALL, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {
        **SMALL,
        "num_key_value_heads": 2,
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "shared_expert_intermediate_size": 96,
        "decoder_sparse_step": 2,
        "mlp_only_layers": [],
    },
}
TOKENS = 32


def counted(name):
    """Operations of one forward pass over TOKENS tokens, as torch counts them (attention over all of them, without the causal half)."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModelForCausalLM

    options = {"attn_implementation": "eager"}
    if "moe" in name or name == "mixtral":
        options["experts_implementation"] = "eager"
    config = AutoConfig.for_model(name.split("-")[0], **CONFIGS[name])
    model = AutoModelForCausalLM.from_config(config, **options).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.arange(TOKENS)[None])
    return counter.get_total_flops()


@pytest.mark.parametrize("name", CONFIGS)
def test_operations_agree_with_those_that_torch_counts(name):
    cost = model_cost({**CONFIGS[name], "model_type": name.split("-")[0]})
    assert TOKENS * cost.flops_per_token(attended=TOKENS) == pytest.approx(counted(name), rel=0.02)


def test_the_head_costs_in_proportion_to_the_vocabulary_and_the_input_nothing():
    config = {**CONFIGS["llama"], "model_type": "llama"}
    small, large = model_cost(config), model_cost({**config, "vocab_size": 1500})
    assert large.head_flops == 3 * small.head_flops == 2 * 1500 * 64
    assert large.body_flops(10) == small.body_flops(10)
    assert model_cost(config, rows=1500) == large


def test_fewer_tokens_make_the_body_cheaper_and_a_larger_vocabulary_the_head_dearer():
    old = ModelCost(body_weights=900, head_weights=100, attention_width=0, cache_width=0)
    new = ModelCost(body_weights=900, head_weights=200, attention_width=0, cache_width=0)
    found = gain(new, 60, old, 100)
    assert found.relative_body_cost == pytest.approx(0.6)
    assert found.relative_head_cost == pytest.approx(1.2)
    assert found.relative_cost == pytest.approx(0.6 * 1100 / 1000)
    assert found.compute_speedup == pytest.approx(found.bandwidth_speedup) == pytest.approx(1000 / 660)
    assert gain(new, 60, old, 100, weight_bytes=(1.0, 2.0)).bandwidth_speedup == pytest.approx(2 * 1000 / 660)


def test_the_same_characters_are_attended_to_in_fewer_tokens():
    cost = ModelCost(body_weights=100, head_weights=1, attention_width=10, cache_width=4)
    found = gain(cost, 50, cost, 100, attended=40)
    assert found.relative_body_cost == pytest.approx(0.5 * (200 + 4 * 20 * 10) / (200 + 4 * 40 * 10))
    assert cost.bytes_per_token(40) == 2 * (101 + 160)


def test_a_text_is_attended_to_by_half_on_average():
    cost = ModelCost(body_weights=100, head_weights=0, attention_width=3, cache_width=0)
    assert cost.flops_of_text(7) == sum(200 + 4 * 3 * position for position in range(1, 8))


def test_a_sliding_window_bounds_what_is_attended_to():
    cost = model_cost({**CONFIGS["mistral"], "model_type": "mistral", "sliding_window": 8})
    assert cost.flops_per_token(100) == cost.flops_per_token(8) > cost.flops_per_token(4)


@pytest.mark.parametrize(
    "config",
    [{}, {"hidden_size": "64"}, {**SMALL, "kv_lora_rank": 16}, {**SMALL, "num_local_experts": 4}, {**SMALL, "num_hidden_layers": True}],
)
def test_what_is_not_known_is_not_guessed(config):
    assert model_cost(config) is None
