"""torchtune's checkpoints. What torchtune computes from them, and its own converters: `test_torchtune.py`."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case


def _body(**changes: Any) -> dict[str, Any]:
    return {
        "hidden_size": 60,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "intermediate_size": 52,
        "num_hidden_layers": 3,
        "vocab_size": 131,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
    } | changes


def _case(name: str, mapping: str, model: str, **more: Any) -> Case:
    dtype = more.pop("dtype", torch.float32)
    return Case(name, f"torchtune/{mapping}", f"{model}ForCausalLM", _body(**more), "torchtune", dtype=dtype)


CASES = (
    _case("llama", "llama", "Llama"),
    _case("llama-twelve-layers", "llama", "Llama", num_hidden_layers=12, num_key_value_heads=6),
    _case("llama-bfloat16", "llama", "Llama", dtype=torch.bfloat16),
    _case("mistral", "llama", "Mistral", sliding_window=None),
    _case("qwen2", "qwen2", "Qwen2"),
    _case("qwen2-tied", "qwen2", "Qwen2", tie_word_embeddings=True, num_key_value_heads=1),
    _case("phi3", "phi3", "Phi3", original_max_position_embeddings=64, pad_token_id=0),
    _case("gemma", "gemma2", "Gemma", head_dim=14, num_key_value_heads=1),
    # no cap, since torchtune caps the hidden state where Gemma 2 caps the logits
    _case("gemma2", "gemma2", "Gemma2", head_dim=14, query_pre_attn_scalar=20, final_logit_softcapping=1e5),
)
