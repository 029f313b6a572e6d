"""LitGPT's checkpoints. What LitGPT computes from them, and its own converter: `test_litgpt.py`."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case


def _body(**changes: Any) -> dict[str, Any]:
    return {
        "hidden_size": 48,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 10,
        "intermediate_size": 52,
        "num_hidden_layers": 2,
        "vocab_size": 131,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
    } | changes


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
TIED = {"tie_word_embeddings": True}


def _llama(name: str, model: str, config: dict[str, Any], **more: Any) -> Case:
    back = {"tied": "yes"} if config.get("tie_word_embeddings") else {}
    return Case(name, "litgpt/llama", f"{model}ForCausalLM", config, "litgpt", back=back, **more)


CASES = (
    _llama("llama", "Llama", _body()),
    _llama("llama-twelve-layers", "Llama", _body(num_hidden_layers=12), shard_size="100KB"),
    _llama("llama3-tied", "Llama", _body(rope_parameters=LLAMA3, max_position_embeddings=128) | TIED),
    _llama("llama-bfloat16", "Llama", _body(), dtype=torch.bfloat16),
    _llama("mistral", "Mistral", _body(sliding_window=6)),
    _llama("qwen2", "Qwen2", _body(num_key_value_heads=1)),
    _llama("qwen3-tied", "Qwen3", _body() | TIED),
)
