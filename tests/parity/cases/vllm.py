"""vLLM's sharded state. What vLLM's own loader makes of the same models: `test_vllm.py`."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case


def _case(
    name: str, model: str, settings: dict[str, Any], /, *, dtype: torch.dtype = torch.float32, **changes: Any
) -> Case:
    config = {
        "hidden_size": 48,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 10,
        "intermediate_size": 52,
        "num_hidden_layers": 2,
        "vocab_size": 131,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
    } | changes
    return Case(name, "vllm/llama", f"{model}ForCausalLM", config, "vllm", set=settings, dtype=dtype)


CASES = (
    _case("llama", "Llama", {}),
    _case("llama-tp2-biases", "Llama", {"tp": 2}, attention_bias=True, mlp_bias=True, num_hidden_layers=12),
    _case("llama-tied-more-ranks-than-heads", "Llama", {"tp": 4}, tie_word_embeddings=True),
    _case("mistral-one-key-head-tp4", "Mistral", {"tp": 4}, num_key_value_heads=1),
    _case("qwen2-more-ranks-than-heads", "Qwen2", {"tp": 4}, head_dim=6, dtype=torch.bfloat16),
    _case("qwen3-tp2", "Qwen3", {"tp": 2}),
    _case(
        "qwen3-tp4-without-scales",
        "Qwen3",
        {"tp": 4, "scales": "none"},
        num_key_value_heads=4,
        tie_word_embeddings=True,
    ),
)
