"""Megatron-Core checkpoints: tensor, pipeline and expert parallelism. What Megatron computes from them: `test_megatron.py`."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case


def _dense(**changes: Any) -> dict[str, Any]:
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
    "original_max_position_embeddings": 8192,
}


def _case(name: str, model: str, config: dict[str, Any], settings: dict[str, Any], **more: Any) -> Case:
    return Case(name, "megatron/llama", f"{model}ForCausalLM", config, "megatron", set=settings, **more)


def _mixtral(name: str, settings: dict[str, Any], **changes: Any) -> Case:
    config = _dense(num_local_experts=4, num_experts_per_tok=2, num_hidden_layers=2) | changes
    return Case(name, "megatron/mixtral", "MixtralForCausalLM", config, "megatron", set=settings)


def _qwen3_moe(name: str, settings: dict[str, Any], **changes: Any) -> Case:
    config = _dense(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=20, norm_topk_prob=True) | changes
    return Case(name, "megatron/qwen3_moe", "Qwen3MoeForCausalLM", config, "megatron", set=settings)


def _deepseek(name: str, settings: dict[str, Any], **changes: Any) -> Case:
    config = {
        "hidden_size": 48,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "q_lora_rank": 20,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 10,
        "v_head_dim": 12,
        "intermediate_size": 52,
        "moe_intermediate_size": 20,
        "n_routed_experts": 8,
        "n_shared_experts": 2,
        "num_experts_per_tok": 4,
        "n_group": 4,
        "topk_group": 2,
        "first_k_dense_replace": 1,
        "num_hidden_layers": 3,
        "vocab_size": 131,
        "max_position_embeddings": 64,
        "num_mtp_layers": 0,
        "rms_norm_eps": 1e-6,
    }
    return Case(name, "megatron/deepseek_v3", "DeepseekV3ForCausalLM", config | changes, "megatron", set=settings)


def _gpt2(name: str, settings: dict[str, Any], **changes: Any) -> Case:
    config = {
        "n_embd": 48,
        "n_head": 6,
        "n_inner": 52,
        "n_layer": 2,
        "n_positions": 64,
        "vocab_size": 131,
    }
    return Case(name, "megatron/gpt2", "GPT2LMHeadModel", config | changes, "megatron", set=settings)


YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "mscale": 1.0,
    "mscale_all_dim": 0.8,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 16,
}

CASES = (
    _case("llama", "Llama", _dense(), {}),
    _case("llama-tp2", "Llama", _dense(), {"tp": 2, "divisible": 4}),
    _case("llama-more-ranks-than-groups", "Llama", _dense(num_attention_heads=8), {"tp": 4, "divisible": 1}),
    _case("llama-two-per-group", "Llama", _dense(num_key_value_heads=3, intermediate_size=54), {"tp": 3}),
    _case("llama-tied-pp2", "Llama", _dense(tie_word_embeddings=True), {"pp": 2}),
    _case("llama-tp2-pp3-uneven", "Llama", _dense(num_hidden_layers=12), {"tp": 2, "pp": 3, "stages": [5, 4, 3]}),
    _case("llama3", "Llama", _dense(rope_parameters=LLAMA3, max_position_embeddings=256), {"tp": 2}),
    _case("llama-local-names", "Llama", _dense(num_key_value_heads=6), {"tp": 2, "spec": "local"}),
    _case("llama-many-files", "Llama", _dense(num_hidden_layers=4), {"pp": 2}, shard_size="50KB"),
    _case("mistral", "Mistral", _dense(sliding_window=6), {"tp": 2}),
    _case("qwen2-tp2", "Qwen2", _dense(), {"tp": 2}),
    _case("qwen2-more-ranks-than-groups", "Qwen2", _dense(num_key_value_heads=1, num_attention_heads=4), {"tp": 4}),
    _case("qwen3-tp2-pp2", "Qwen3", _dense(), {"tp": 2, "pp": 2}),
    _case("qwen3-tied-bfloat16", "Qwen3", _dense(tie_word_embeddings=True), {"tp": 2}, dtype=torch.bfloat16),
    _mixtral("mixtral", {}),
    _mixtral("mixtral-tp2-ep2", {"tp": 2, "ep": 2}),
    _mixtral("mixtral-pp2-apart", {"pp": 2, "spec": "local"}, sliding_window=6),
    _mixtral("mixtral-ep2-apart", {"ep": 2, "experts": "apart"}),
    _qwen3_moe("qwen3-moe-ep3", {"ep": 3, "experts": "apart"}, norm_topk_prob=False),
    _qwen3_moe("qwen3-moe-tp2-pp2", {"tp": 2, "pp": 2, "spec": "local"}, tie_word_embeddings=True),
    _qwen3_moe("qwen3-moe-tp2-pp3-ep2", {"tp": 2, "pp": 3, "ep": 2, "stages": [5, 4, 2]}, num_hidden_layers=11),
    _deepseek("deepseek", {}),
    _deepseek("deepseek-tp2-ep2", {"tp": 2, "ep": 2}, rope_parameters=YARN),
    _deepseek("deepseek-local-tp2-pp2", {"tp": 2, "pp": 2, "stages": [3, 9], "spec": "local"}, num_hidden_layers=12),
    _deepseek("deepseek-direct-queries", {"pp": 3, "spec": "local"}, q_lora_rank=None, first_k_dense_replace=0),
    _deepseek("deepseek-direct-queries-tp2", {"tp": 2}, q_lora_rank=None),
    _gpt2("gpt2-tp2-pp2", {"tp": 2, "pp": 2}),
    _gpt2("gpt2-tp3-untied-exact-gelu", {"tp": 3}, tie_word_embeddings=False, activation_function="gelu", n_inner=None),
    _gpt2("gpt2-local-pp3", {"pp": 3, "stages": [3, 6, 2], "spec": "local", "tp": 2}, n_layer=11),
)
