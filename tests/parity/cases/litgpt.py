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
QWEN3_MOE = {
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 20,
    "norm_topk_prob": True,
}
GEMMA2 = {"query_pre_attn_scalar": 14, "sliding_window": 6, "num_hidden_layers": 3}


def _plain(**changes: Any) -> dict[str, Any]:
    return {
        "hidden_size": 72,
        "num_attention_heads": 6,
        "num_hidden_layers": 2,
        "vocab_size": 131,
        "max_position_embeddings": 64,
    } | changes


def _falcon(**changes: Any) -> dict[str, Any]:
    return _plain(alibi=False, bias=False, parallel_attn=True, tie_word_embeddings=False) | changes


def _phi3(**changes: Any) -> dict[str, Any]:
    config = _body(hidden_size=60, original_max_position_embeddings=64, pad_token_id=0) | changes
    del config["head_dim"]
    return config


TIED = {"tie_word_embeddings": True}


def _case(name: str, mapping: str, model: str, config: dict[str, Any], **more: Any) -> Case:
    back = {"tied": "yes"} if config.get("tie_word_embeddings") else {}
    return Case(name, f"litgpt/{mapping}", f"{model}ForCausalLM", config, "litgpt", back=back, **more)


def _llama(name: str, model: str, config: dict[str, Any], **more: Any) -> Case:
    return _case(name, "llama", model, config, **more)


CASES = (
    _llama("llama", "Llama", _body()),
    _llama("llama-twelve-layers", "Llama", _body(num_hidden_layers=12), shard_size="100KB"),
    _llama("llama3-tied", "Llama", _body(rope_parameters=LLAMA3, max_position_embeddings=128) | TIED),
    _llama("llama-bfloat16", "Llama", _body(), dtype=torch.bfloat16),
    _llama("mistral", "Mistral", _body(sliding_window=6)),
    _llama("qwen2", "Qwen2", _body(num_key_value_heads=1)),
    _llama("qwen3-tied", "Qwen3", _body() | TIED),
    _case("mixtral", "mixtral", "Mixtral", _body(num_local_experts=5, num_experts_per_tok=2)),
    _case("qwen3-moe-tied", "mixtral", "Qwen3Moe", _body(**QWEN3_MOE) | TIED),
    _case("gemma-tied", "gemma2", "Gemma", _body(num_key_value_heads=1) | TIED),
    _case("gemma2-tied", "gemma2", "Gemma2", _body(**GEMMA2) | TIED),
    _case("gemma2-untied", "gemma2", "Gemma2", _body(**GEMMA2, tie_word_embeddings=False)),
    _case("pythia", "gpt_neox", "GPTNeoX", _plain(intermediate_size=84, rotary_pct=0.5)),
    _case("serial-residual", "gpt_neox", "GPTNeoX", _plain(use_parallel_residual=False, rotary_pct=1.0)),
    _case("falcon-7b-tied", "falcon", "Falcon", _falcon(multi_query=True) | TIED),
    _case("falcon-40b", "falcon", "Falcon", _falcon(new_decoder_architecture=True, num_kv_heads=2)),
    _case("phi-2", "phi", "Phi", _plain(intermediate_size=84, partial_rotary_factor=0.5)),
    _case("phi-2-grouped", "phi", "Phi", _plain(intermediate_size=84, num_key_value_heads=2)),
    _case("olmo2", "olmo2", "Olmo2", _phi3(eos_token_id=1, num_hidden_layers=3)),
    _case("phi3", "phi3", "Phi3", _phi3()),
    _case("phi4-tied", "phi3", "Phi3", _phi3(hidden_size=48, partial_rotary_factor=0.75, sliding_window=6) | TIED),
)
