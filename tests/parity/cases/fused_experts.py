"""Mixtures of experts: checkpoints as published <-> as transformers 5 holds them, all experts of a layer in one tensor.

The other side is read by the same class: transformers 5 loads both forms.
"""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case

BODY = {
    "hidden_size": 40,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "vocab_size": 99,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
FOUR_HEADS = {key: value for key, value in BODY.items() if key != "head_dim"} | {"num_attention_heads": 4}
LATENT = {key: value for key, value in BODY.items() if key != "head_dim"} | {
    "hidden_size": 48,
    "num_key_value_heads": 6,
    "q_lora_rank": 20,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 6,
    "v_head_dim": 14,
}
NAMED = {"num_experts": 5, "num_experts_per_tok": 2}
LOCAL = {"num_local_experts": 5, "num_experts_per_tok": 2}
ROUTED = {
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "n_shared_experts": 2,
    "moe_intermediate_size": 28,
    "n_group": 2,
    "topk_group": 1,
}
INDEXER = {"first_k_dense_replace": 1, "index_n_heads": 4, "index_head_dim": 10}
NARROW = {"moe_intermediate_size": 28}
QWEN = NAMED | NARROW | {"mlp_only_layers": [1]}
ERNIE = {
    "moe_num_experts": 5,
    "moe_k": 2,
    "moe_num_shared_experts": 2,
    "moe_layer_start_index": 1,
    "moe_intermediate_size": 28,
}
JAMBA = NAMED | {
    "num_hidden_layers": 4,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "expert_layer_period": 3,
    "expert_layer_offset": 2,
    "mamba_dt_rank": 7,
    "use_mamba_kernels": False,
}
LFM2 = NAMED | NARROW | {"num_dense_layers": 1, "layer_types": ["conv", "full_attention", "conv"]}
HYBRID = LOCAL | {
    "shared_intermediate_size": 36,
    "layer_types": ["mamba", "attention", "mamba"],
    "mamba_n_heads": 8,
    "mamba_d_head": 10,
    "mamba_d_state": 6,
}
NEMOTRON = {
    "num_hidden_layers": 5,
    "hybrid_override_pattern": "M*E-E",
    "n_routed_experts": 5,
    "moe_intermediate_size": 28,
    "moe_shared_expert_intermediate_size": 36,
    "num_experts_per_tok": 2,
    "mamba_num_heads": 8,
    "mamba_head_dim": 5,
    "ssm_state_size": 6,
    "n_groups": 2,
}
NEXT = QWEN | {
    "num_hidden_layers": 4,
    "shared_expert_intermediate_size": 36,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 6,
    "linear_value_head_dim": 10,
}
BIASED = {"attention_bias": True}
TIED = {"tie_word_embeddings": True}


def _case(name: str, family: str, model: str, *parts: dict[str, Any], **more: Any) -> Case:
    config = {key: value for part in parts for key, value in part.items()}
    return Case(
        name,
        f"{family}/fused",
        f"{model}ForCausalLM",
        config,
        "fused",
        here="published",
        **more,
        other=f"{model}ForCausalLM",
    )


CASES = (
    _case("plain", "mixtral", "Mixtral", BODY, LOCAL),
    _case("tied-twelve-layers", "mixtral", "Mixtral", BODY, LOCAL, TIED, {"num_hidden_layers": 12}),
    _case("twelve-experts-many-files", "mixtral", "Mixtral", BODY, LOCAL, {"num_local_experts": 12}, shard_size="60KB"),
    _case("bfloat16", "mixtral", "Mixtral", BODY, LOCAL, {"intermediate_size": 56}, dtype=torch.bfloat16),
    _case("plain", "minimax", "MiniMax", BODY, LOCAL),
    _case(
        "listed-layers",
        "minimax",
        "MiniMax",
        BODY,
        LOCAL,
        {"layer_types": ["linear_attention", "full_attention", "full_attention"]},
    ),
    _case("five-layers", "minimax", "MiniMax", BODY, LOCAL, {"num_hidden_layers": 5}),
    _case("plain", "minimax_m2", "MiniMaxM2", BODY, LOCAL),
    _case("plain", "phimoe", "Phimoe", FOUR_HEADS, LOCAL),
    _case("biases", "phimoe", "Phimoe", FOUR_HEADS, LOCAL, BIASED, {"lm_head_bias": True}),
    _case("a-dense-layer", "qwen2_moe", "Qwen2Moe", FOUR_HEADS, QWEN, {"shared_expert_intermediate_size": 36}),
    _case(
        "every-second-no-bias",
        "qwen2_moe",
        "Qwen2Moe",
        FOUR_HEADS,
        QWEN,
        {"shared_expert_intermediate_size": 36, "mlp_only_layers": [], "decoder_sparse_step": 2, "qkv_bias": False},
    ),
    _case("a-dense-layer", "qwen3_moe", "Qwen3Moe", BODY, QWEN),
    _case(
        "every-second-biased-tied",
        "qwen3_moe",
        "Qwen3Moe",
        BODY,
        QWEN,
        BIASED,
        TIED,
        {"decoder_sparse_step": 2, "num_hidden_layers": 12},
    ),
    _case("bfloat16", "qwen3_moe", "Qwen3Moe", BODY, QWEN, {"moe_intermediate_size": 24}, dtype=torch.bfloat16),
    _case("plain", "qwen3_next", "Qwen3Next", BODY, NEXT),
    _case("biases", "qwen3_next", "Qwen3Next", BODY, NEXT, BIASED),
    _case("every-second", "qwen3_next", "Qwen3Next", BODY, NEXT, {"mlp_only_layers": [], "decoder_sparse_step": 2}),
    _case("plain", "olmoe", "Olmoe", FOUR_HEADS, NAMED),
    _case("biases", "olmoe", "Olmoe", FOUR_HEADS, NAMED, BIASED),
    _case("plain", "flex_olmo", "FlexOlmo", FOUR_HEADS, NAMED),
    _case("plain", "deepseek_v2", "DeepseekV2", LATENT, ROUTED, {"first_k_dense_replace": 1}),
    _case(
        "plain-queries-biases",
        "deepseek_v2",
        "DeepseekV2",
        LATENT,
        ROUTED,
        BIASED,
        {"q_lora_rank": None, "mlp_bias": True},
    ),
    _case("plain", "deepseek_v3", "DeepseekV3", LATENT, ROUTED, {"first_k_dense_replace": 1}),
    _case(
        "plain-queries", "deepseek_v3", "DeepseekV3", LATENT, ROUTED, {"first_k_dense_replace": 2, "q_lora_rank": None}
    ),
    _case("biases", "deepseek_v3", "DeepseekV3", LATENT, ROUTED, BIASED, {"first_k_dense_replace": 0}),
    _case(
        "plain",
        "deepseek_v32",
        "DeepseekV32",
        LATENT,
        ROUTED,
        INDEXER,
    ),
    _case("plain", "glm_moe_dsa", "GlmMoeDsa", LATENT, ROUTED, INDEXER),
    _case(
        "biases-shared-indexers",
        "glm_moe_dsa",
        "GlmMoeDsa",
        LATENT,
        ROUTED,
        INDEXER,
        BIASED,
        {"index_topk_freq": 2, "num_hidden_layers": 5},
    ),
    _case("plain", "afmoe", "Afmoe", BODY, NAMED, NARROW),
    _case("biases", "afmoe", "Afmoe", BODY, NAMED, NARROW, BIASED, {"num_dense_layers": 2}),
    _case("tied", "cohere2_moe", "Cohere2Moe", BODY, NAMED),
    _case(
        "untied-biases",
        "cohere2_moe",
        "Cohere2Moe",
        BODY,
        NAMED,
        BIASED,
        {"tie_word_embeddings": False, "first_k_dense_replace": 1, "num_shared_experts": 2},
    ),
    _case("one-shared", "cohere2_moe", "Cohere2Moe", BODY, NAMED, {"num_shared_experts": 1}),
    _case("plain", "dots1", "Dots1", BODY, ROUTED, {"first_k_dense_replace": 1}),
    _case("biases", "dots1", "Dots1", BODY, ROUTED, BIASED, {"first_k_dense_replace": 1}),
    _case("plain", "glm4_moe", "Glm4Moe", BODY, ROUTED),
    _case(
        "biases-norms", "glm4_moe", "Glm4Moe", BODY, ROUTED, BIASED, {"use_qk_norm": True, "first_k_dense_replace": 2}
    ),
    _case("plain", "glm4_moe_lite", "Glm4MoeLite", LATENT, ROUTED),
    _case(
        "listed-layers",
        "glm4_moe_lite",
        "Glm4MoeLite",
        LATENT,
        ROUTED,
        {"mlp_layer_types": ["sparse", "dense", "sparse"]},
    ),
    _case("plain", "solar_open", "SolarOpen", BODY, ROUTED),
    _case("plain", "exaone_moe", "ExaoneMoe", BODY, NAMED, NARROW, {"sliding_window": 8}),
    _case("tied", "ernie4_5_moe", "Ernie4_5_Moe", FOUR_HEADS, ERNIE),
    _case("one-shared", "ernie4_5_moe", "Ernie4_5_Moe", FOUR_HEADS, ERNIE, {"moe_num_shared_experts": 1}),
    _case(
        "untied-biases-every-second",
        "ernie4_5_moe",
        "Ernie4_5_Moe",
        FOUR_HEADS,
        ERNIE,
        {
            "tie_word_embeddings": False,
            "use_bias": True,
            "moe_layer_interval": 2,
            "moe_num_shared_experts": 0,
            "num_hidden_layers": 5,
            "moe_layer_end_index": 3,
        },
    ),
    _case("plain", "hunyuan_v1_moe", "HunYuanMoEV1", BODY, {"num_experts": 5, "moe_topk": 2}),
    _case("biases", "hunyuan_v1_moe", "HunYuanMoEV1", BODY, {"num_experts": 5, "moe_topk": 2}, BIASED),
    _case("plain", "jamba", "Jamba", FOUR_HEADS, JAMBA),
    _case("two-experts", "jamba", "Jamba", FOUR_HEADS, JAMBA, {"num_experts": 2}),
    _case("biases", "jamba", "Jamba", FOUR_HEADS, JAMBA, {"mamba_conv_bias": False, "mamba_proj_bias": True}),
    _case("tied", "lfm2_moe", "Lfm2Moe", FOUR_HEADS, LFM2),
    _case(
        "untied-biases",
        "lfm2_moe",
        "Lfm2Moe",
        FOUR_HEADS,
        LFM2,
        {"tie_word_embeddings": False, "conv_bias": True, "use_expert_bias": False},
    ),
    _case("plain", "granitemoe", "GraniteMoe", FOUR_HEADS, LOCAL),
    _case("tied-biases", "granitemoe", "GraniteMoe", FOUR_HEADS, LOCAL, TIED, BIASED),
    _case("plain", "granitemoeshared", "GraniteMoeShared", FOUR_HEADS, LOCAL, {"shared_intermediate_size": 36}),
    _case("nothing-shared", "granitemoeshared", "GraniteMoeShared", FOUR_HEADS, LOCAL),
    _case("one-shared-row", "granitemoeshared", "GraniteMoeShared", FOUR_HEADS, LOCAL, {"shared_intermediate_size": 1}),
    _case("plain", "granitemoehybrid", "GraniteMoeHybrid", FOUR_HEADS, HYBRID),
    _case(
        "one-expert",
        "granitemoehybrid",
        "GraniteMoeHybrid",
        FOUR_HEADS,
        HYBRID,
        {"num_local_experts": 1, "num_experts_per_tok": 1},
    ),
    _case(
        "dense-biases",
        "granitemoehybrid",
        "GraniteMoeHybrid",
        FOUR_HEADS,
        HYBRID,
        {"num_local_experts": 0, "mamba_conv_bias": False, "mamba_proj_bias": True},
    ),
    _case("every-kind", "nemotron_h", "NemotronH", BODY, NEMOTRON),
    _case(
        "latent-biases-tied",
        "nemotron_h",
        "NemotronH",
        BODY,
        NEMOTRON,
        TIED,
        {"moe_latent_size": 20, "mlp_bias": True, "use_bias": True, "use_conv_bias": False},
    ),
)
