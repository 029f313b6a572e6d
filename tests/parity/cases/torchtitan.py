"""torchtitan's checkpoints. What its own adapters and models make of them: `test_torchtitan.py`."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case

BODY = {
    "hidden_size": 60,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 52,
    "num_hidden_layers": 3,
    "vocab_size": 131,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
EXPERTS = {
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 28,
    "norm_topk_prob": True,
    "mlp_only_layers": [],
}
LATENT = {
    "num_key_value_heads": 6,
    "kv_lora_rank": 20,
    "q_lora_rank": 28,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 6,
    "v_head_dim": 14,
    "n_routed_experts": 6,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
}


def _case(name: str, mapping: str, model: str, dtype: torch.dtype = torch.float32, **more: Any) -> Case:
    return Case(name, f"torchtitan/{mapping}", f"{model}ForCausalLM", BODY | more, "torchtitan", dtype=dtype)


CASES = (
    _case("llama", "llama3", "Llama"),
    _case("llama-twelve-layers-tied", "llama3", "Llama", num_hidden_layers=12, tie_word_embeddings=True),
    _case("llama-bfloat16", "llama3", "Llama", torch.bfloat16, num_key_value_heads=6),
    _case("qwen3", "qwen3", "Qwen3", head_dim=14),
    _case("qwen3-tied", "qwen3", "Qwen3", head_dim=10, tie_word_embeddings=True),
    _case("qwen3-experts", "qwen3", "Qwen3Moe", head_dim=14, **EXPERTS),
    _case("deepseek", "deepseek_v3", "DeepseekV3", **LATENT),
    _case("deepseek-whole-queries", "deepseek_v3", "DeepseekV3", **LATENT | {"q_lora_rank": None}),
)
