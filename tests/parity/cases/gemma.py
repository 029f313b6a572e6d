"""Gemma in flax: einsums, as Google DeepMind publishes them. What these einsums compute: `test_gemma.py`."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case

BODY = {
    "hidden_size": 60,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 14,
    "intermediate_size": 52,
    "num_hidden_layers": 3,
    "vocab_size": 131,
    "max_position_embeddings": 64,
}
LOCAL = {"query_pre_attn_scalar": 20, "sliding_window": 4}
STRETCHED = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
SAID = {"scalar": 20, "window": 4}


def _case(name: str, model: str, gating: str, back: dict[str, Any], dtype: torch.dtype, **more: Any) -> Case:
    return Case(
        name,
        "gemma/flax",
        f"{model}ForCausalLM",
        BODY | more,
        "flax",
        set={"gating": gating},
        back=back | {"gating": gating},
        dtype=dtype,
    )


CASES = (
    _case("one-key-head", "Gemma", "plain", {}, torch.float32, num_key_value_heads=1),
    _case("joined", "Gemma", "plain", {}, torch.bfloat16, num_key_value_heads=6, num_hidden_layers=12),
    _case("gemma2", "Gemma2", "plain", SAID, torch.float32, **LOCAL),
    _case("gemma2-turned", "Gemma2", "turned", SAID, torch.float32, **LOCAL),
    _case("gemma3", "Gemma3", "turned", SAID | {"stretch": 1.0}, torch.float32, num_hidden_layers=7, **LOCAL),
    _case(
        "gemma3-twenty-seven-layers",
        "Gemma3",
        "turned",
        {"scalar": 20},
        torch.float32,
        query_pre_attn_scalar=20,
        sliding_window=1024,
        num_hidden_layers=27,
        rope_parameters=STRETCHED,
    ),
    _case(
        "gemma3-stretched",
        "Gemma3",
        "turned",
        SAID | {"stretch": 8.0},
        torch.float32,
        **LOCAL,
        num_hidden_layers=7,
        rope_parameters=STRETCHED,
    ),
)
