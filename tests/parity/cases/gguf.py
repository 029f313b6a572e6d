"""GGUF files, architecture by architecture; `tests/parity/test_gguf.py` asks llama.cpp, its converter and transformers of them."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case

BASE = {
    "hidden_size": 72,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "vocab_size": 120,
    "max_position_embeddings": 64,
}
RMS = BASE | {"rms_norm_eps": 1e-5}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 50000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 50000.0, "factor": 4.0, "original_max_position_embeddings": 32}
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "mlp_only_layers": []}
GEMMA = RMS | {"head_dim": 16, "query_pre_attn_scalar": 16}
LATENT = RMS | {
    "num_key_value_heads": 6,
    "kv_lora_rank": 20,
    "q_lora_rank": 28,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 3,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
OPEN = RMS | {
    "head_dim": 32,
    "num_local_experts": 3,
    "num_experts_per_tok": 2,
    "sliding_window": 4,
    "num_hidden_layers": 3,
    "max_position_embeddings": 512,
}
MAMBA2 = {
    "hidden_size": 64,
    "vocab_size": 128,
    "num_hidden_layers": 2,
    "state_size": 16,
    "num_heads": 8,
    "head_dim": 16,
}
MAMBA2 |= {"n_groups": 2, "chunk_size": 4}


def _case(name: str, mapping: str, model: str, config: dict[str, Any], **more: Any) -> Case:
    return Case(name, f"gguf/{mapping}", model, config, "gguf", **more)


CASES = (
    _case("plain", "llama", "LlamaForCausalLM", RMS | {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
    _case(
        "tied-biases-bfloat16-eleven-layers",
        "llama",
        "LlamaForCausalLM",
        RMS | {"num_hidden_layers": 11, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
        dtype=torch.bfloat16,
    ),
    _case("wide-heads", "llama", "LlamaForCausalLM", RMS | {"head_dim": 16}),
    _case(
        "llama3",
        "llama",
        "LlamaForCausalLM",
        RMS | {"rope_parameters": LLAMA3},
        back={"factor": 32.0, "context": 16},
    ),
    _case("yarn", "llama", "LlamaForCausalLM", RMS | {"rope_parameters": YARN}),
    _case(
        "mistral",
        "llama",
        "MistralForCausalLM",
        RMS | {"head_dim": 16, "sliding_window": None},
        back={"family": "mistral"},
    ),
    _case("plain", "mixtral", "MixtralForCausalLM", RMS | {"num_local_experts": 3, "num_experts_per_tok": 2}),
    _case("plain", "qwen2", "Qwen2ForCausalLM", RMS),
    _case("tied-yarn", "qwen2", "Qwen2ForCausalLM", RMS | {"tie_word_embeddings": True, "rope_parameters": YARN}),
    _case("plain", "qwen2moe", "Qwen2MoeForCausalLM", RMS | EXPERTS | {"shared_expert_intermediate_size": 40}),
    _case(
        "yarn",
        "qwen2moe",
        "Qwen2MoeForCausalLM",
        RMS | EXPERTS | {"shared_expert_intermediate_size": 40, "rope_parameters": YARN},
    ),
    _case("plain", "qwen3", "Qwen3ForCausalLM", RMS | {"head_dim": 16}),
    _case("tied-yarn", "qwen3", "Qwen3ForCausalLM", RMS | {"tie_word_embeddings": True, "rope_parameters": YARN}),
    _case(
        "yarn",
        "qwen3moe",
        "Qwen3MoeForCausalLM",
        RMS | EXPERTS | {"head_dim": 16, "norm_topk_prob": True, "rope_parameters": YARN},
    ),
    _case(
        "eleven-experts",
        "qwen3moe",
        "Qwen3MoeForCausalLM",
        RMS | EXPERTS | {"head_dim": 16, "num_experts": 11, "norm_topk_prob": True},
    ),
    _case(
        "plain",
        "gemma2",
        "Gemma2ForCausalLM",
        GEMMA | {"num_hidden_layers": 3, "sliding_window": 5},
        lossless=False,  # 1 + weight is rounded
    ),
    _case("bfloat16", "gemma2", "Gemma2ForCausalLM", GEMMA, dtype=torch.bfloat16),
    _case(
        "forty-six-layers",  # by which its scale is known
        "gemma2",
        "Gemma2ForCausalLM",
        GEMMA | {"num_hidden_layers": 46, "query_pre_attn_scalar": 12},
        lossless=False,
    ),
    _case(
        "sixty-two-layers",  # by which its scale is known
        "gemma3",
        "Gemma3ForCausalLM",
        GEMMA | {"num_hidden_layers": 62, "query_pre_attn_scalar": 12},
        lossless=False,
    ),
    _case("plain", "gemma3", "Gemma3ForCausalLM", GEMMA | {"num_hidden_layers": 6}, lossless=False),
    _case(
        "linear",
        "gemma3",
        "Gemma3ForCausalLM",
        GEMMA
        | {
            "num_hidden_layers": 7,
            "sliding_window": 6,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 500000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 12000.0},
            },
        },
        lossless=False,
    ),
    _case(
        "partial-rotary",
        "phi3",
        "Phi3ForCausalLM",
        RMS
        | {
            "hidden_size": 96,
            "vocab_size": 32064,  # its padding token is 32000
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 12000.0, "partial_rotary_factor": 0.75},
        },
    ),
    _case("plain", "starcoder2", "Starcoder2ForCausalLM", BASE),
    _case("untied", "starcoder2", "Starcoder2ForCausalLM", BASE | {"tie_word_embeddings": False}),
    _case(
        "plain",
        "gpt2",
        "GPT2LMHeadModel",
        {"n_embd": 72, "n_head": 6, "n_layer": 2, "vocab_size": 120, "n_positions": 64},
    ),
    _case(
        "plain",
        "mamba",
        "MambaForCausalLM",
        {"hidden_size": 64, "state_size": 8, "num_hidden_layers": 2, "vocab_size": 120},
        lossless=False,  # the exponential of A_log
        tolerance=1e-5,
    ),
    _case("second", "deepseek2", "DeepseekV2ForCausalLM", LATENT | {"topk_method": "greedy"}),
    _case(
        "second-lite",
        "deepseek2",
        "DeepseekV2ForCausalLM",
        LATENT | {"topk_method": "greedy", "q_lora_rank": None, "num_hidden_layers": 27},  # by which llama.cpp knows it
    ),
    _case(
        "second-groups",
        "deepseek2",
        "DeepseekV2ForCausalLM",
        LATENT | {"topk_method": "group_limited_greedy", "n_routed_experts": 6, "n_group": 2, "topk_group": 1},
    ),
    _case(
        "third-yarn",
        "deepseek2",
        "DeepseekV3ForCausalLM",
        LATENT
        | {
            "n_routed_experts": 12,
            "n_group": 2,
            "num_experts_per_tok": 3,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": True,
            "rope_parameters": YARN | {"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    _case("windows", "gpt-oss", "GptOssForCausalLM", OPEN),
    _case(
        "bfloat16-eleven-layers",
        "gpt-oss",
        "GptOssForCausalLM",
        OPEN | {"num_hidden_layers": 11, "num_local_experts": 11},
        dtype=torch.bfloat16,
    ),
    _case("groups", "mamba2", "Mamba2ForCausalLM", MAMBA2, lossless=False, tolerance=1e-5),
    _case(
        "tied-bfloat16-eleven-layers",
        "mamba2",
        "Mamba2ForCausalLM",
        MAMBA2 | {"num_hidden_layers": 11, "tie_word_embeddings": True, "n_groups": 1},
        dtype=torch.bfloat16,
    ),
)

# models of which transformers' own reader of GGUF files knows all settings
READ = (
    CASES[0],
    _case("default", "qwen2", "Qwen2ForCausalLM", RMS),
    _case("default", "qwen3", "Qwen3ForCausalLM", RMS | {"head_dim": 128}),
    _case(
        "default",
        "qwen3moe",
        "Qwen3MoeForCausalLM",
        RMS | EXPERTS | {"head_dim": 16, "moe_intermediate_size": 768, "norm_topk_prob": True},
    ),
    _case("default", "gemma2", "Gemma2ForCausalLM", RMS | {"head_dim": 256}),
    _case("default", "gemma3", "Gemma3ForCausalLM", RMS | {"head_dim": 256, "num_hidden_layers": 6}),
    _case("default", "phi3", "Phi3ForCausalLM", RMS | {"vocab_size": 32064}),
    _case("default", "starcoder2", "Starcoder2ForCausalLM", BASE | {"vocab_size": 49152}),
    _case("default", "gpt2", "GPT2LMHeadModel", {"n_embd": 72, "n_head": 6, "n_layer": 2}),
    _case("default", "mamba", "MambaForCausalLM", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 120}),
)
