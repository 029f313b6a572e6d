"""GGUF files of decoders before and beside LLaMA, asked of llama.cpp and its converter as those of `gguf.py` are."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.cases.gguf import BASE, RMS
from tests.parity.harness import Case


def _case(name: str, mapping: str, model: str, config: dict[str, Any], **more: Any) -> Case:
    return Case(name, f"gguf/{mapping}", model, config, "gguf", **more)


SAME_HEADS = BASE | {"num_key_value_heads": 6}
BIGCODE = {"n_embd": 72, "n_head": 6, "n_layer": 2, "vocab_size": 120, "n_positions": 64}
FALCON = {"hidden_size": 72, "num_attention_heads": 6, "num_hidden_layers": 2, "vocab_size": 120}
GROUPED = FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}
BLOOM = {"hidden_size": 72, "n_head": 6, "n_layer": 2, "vocab_size": 120}
MPT = {"d_model": 72, "n_heads": 6, "n_layers": 2, "vocab_size": 120, "max_seq_len": 64}
STABLE = BASE | {"rope_parameters": {"rope_type": "default", "rope_theta": 12000.0, "partial_rotary_factor": 0.5}}
NEOX = SAME_HEADS | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
COHERE = BASE | {"rope_parameters": {"rope_type": "default", "rope_theta": 12000.0}, "logit_scale": 0.25}
WINDOWS = COHERE | {"num_hidden_layers": 5, "sliding_window": 4, "rotary_pct": 1.0}
GRANITE = RMS | {
    "attention_multiplier": 0.2,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.5,
    "logits_scaling": 2.0,
}
GRANITE_MOE = GRANITE | {"num_local_experts": 3, "num_experts_per_tok": 2}
PHI = SAME_HEADS | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
GLM = RMS | {
    "head_dim": 12,
    "max_position_embeddings": 72,
    "pad_token_id": 0,
}  # as many positions as the converter says

CASES = (
    _case("plain", "starcoder", "GPTBigCodeForCausalLM", BIGCODE),
    _case(
        "untied-bfloat16-eleven-layers",
        "starcoder",
        "GPTBigCodeForCausalLM",
        BIGCODE | {"n_layer": 11, "tie_word_embeddings": False},
        dtype=torch.bfloat16,
    ),
    _case("one-key-head", "falcon", "FalconForCausalLM", FALCON),
    _case("two-norms-one-key-head", "falcon", "FalconForCausalLM", GROUPED | {"num_kv_heads": 1}),
    _case("two-norms", "falcon", "FalconForCausalLM", GROUPED | {"tie_word_embeddings": False}),
    _case("one-norm", "falcon", "FalconForCausalLM", GROUPED | {"num_ln_in_parallel_attn": 1}, dtype=torch.bfloat16),
    _case("plain", "bloom", "BloomForCausalLM", BLOOM),
    _case(
        "untied-bfloat16-eleven-layers",
        "bloom",
        "BloomForCausalLM",
        BLOOM | {"n_layer": 11, "tie_word_embeddings": False},
        dtype=torch.bfloat16,
    ),
    _case("plain", "gptneox", "GPTNeoXForCausalLM", NEOX),
    _case("in-a-row", "gptneox", "GPTNeoXForCausalLM", NEOX | {"use_parallel_residual": False}),
    _case("plain", "mpt", "MptForCausalLM", MPT),
    _case("clipped", "mpt", "MptForCausalLM", MPT | {"attn_config": {"clip_qkv": 0.75}, "tie_word_embeddings": False}),
    _case("plain", "stablelm", "StableLmForCausalLM", STABLE),
    _case(
        "parallel-biases-eleven-layers",
        "stablelm",
        "StableLmForCausalLM",
        STABLE | {"use_parallel_residual": True, "use_qkv_bias": True, "num_hidden_layers": 11},
    ),
    _case(
        "head-norms", "stablelm", "StableLmForCausalLM", STABLE | {"use_parallel_residual": True, "qk_layernorm": True}
    ),
    _case("plain", "command-r", "CohereForCausalLM", COHERE),
    _case("head-norms", "command-r", "CohereForCausalLM", COHERE | {"use_qk_norm": True, "num_hidden_layers": 64}),
    _case("plain", "cohere2", "Cohere2ForCausalLM", WINDOWS),
    _case("plain", "granite", "GraniteForCausalLM", GRANITE),
    _case(
        "tied-biases-bfloat16",
        "granite",
        "GraniteForCausalLM",
        GRANITE | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
        dtype=torch.bfloat16,
    ),
    _case("tied", "granitemoe", "GraniteMoeForCausalLM", GRANITE_MOE | {"tie_word_embeddings": True}),
    _case(
        "shared-eleven-experts",
        "granitemoe",
        "GraniteMoeSharedForCausalLM",
        GRANITE_MOE | {"num_local_experts": 11, "shared_intermediate_size": 40},
    ),
    _case("plain", "phi2", "PhiForCausalLM", PHI | {"intermediate_size": 288}),
    _case("plain", "chatglm", "GlmForCausalLM", GLM),
    _case("fused", "chatglm", "GlmForCausalLM", GLM, set={"qkv": "fused"}),
    _case("tied-no-biases", "chatglm", "GlmForCausalLM", GLM | {"attention_bias": False, "tie_word_embeddings": True}),
    _case("wide-heads", "glm4", "Glm4ForCausalLM", GLM | {"head_dim": 16}),
    _case("tied-no-biases", "glm4", "Glm4ForCausalLM", GLM | {"attention_bias": False, "tie_word_embeddings": True}),
)

_ATTENTION = {"alibi": True, "alibi_bias_max": 8, "clip_qkv": None}

# what published configs say, which the converter needs, and transformers 5 does not write
PUBLISHED: dict[str, dict[str, Any]] = {
    "gguf-falcon-one-key-head": {"num_kv_heads": 1},
    "gguf-gptneox-plain": {"rotary_pct": 0.5},
    "gguf-gptneox-in-a-row": {"rotary_pct": 0.5},
    "gguf-mpt-plain": {"architectures": ["MPTForCausalLM"], "attn_config": _ATTENTION},
    "gguf-mpt-clipped": {"architectures": ["MPTForCausalLM"], "attn_config": _ATTENTION | {"clip_qkv": 0.75}},
}

# models that transformers has no class for: LLaMA, brought into their layout by another mapping first
PUBLISHED_CASES = (
    _case("plain", "internlm2", "LlamaForCausalLM", RMS, here="internlm2"),
    _case("eleven-layers", "internlm2", "LlamaForCausalLM", RMS | {"num_hidden_layers": 11}, here="internlm2"),
    _case(
        "plain",
        "baichuan",
        "LlamaForCausalLM",
        RMS | {"num_attention_heads": 9, "num_key_value_heads": 9, "num_hidden_layers": 32},
        here="baichuan",
    ),
)

# by which mapping a model comes into the layout in which the converter is given it
VIA = {
    "gguf-internlm2-plain": ("internlm2/llama", "internlm2"),
    "gguf-internlm2-eleven-layers": ("internlm2/llama", "internlm2"),
    "gguf-baichuan-plain": ("baichuan/llama", "baichuan"),
    "gguf-chatglm-fused": ("glm/chatglm", "chatglm"),
}

# what the converter, 0.1.1, does not write
NOT_CONVERTED: dict[str, tuple[type[Exception], str]] = {
    "gguf-stablelm-head-norms": (ValueError, "a generator that returns the norms where it should yield from them"),
    "gguf-baichuan-plain": (RecursionError, "its function calls itself instead of the one above"),
}
