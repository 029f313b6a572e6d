"""Mixtures of experts that came later, asked as those of `fused_experts.py` are."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.cases.fused_experts import BIASED, BODY, LATENT, NAMED, NARROW, ROUTED, TIED
from tests.parity.harness import Case


def _case(name: str, family: str, model: str, *parts: dict[str, Any], **more: Any) -> Case:
    config = {key: value for part in parts for key, value in part.items()}
    model = f"{model}ForCausalLM"
    return Case(name, f"{family}/fused", model, config, "fused", here="published", other=model, **more)


MIXED = {"mlp_layer_types": ["sparse", "dense", "sparse"]}
SHARED = {"shared_expert_intermediate_size": 36}
WINDOWS = {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"], "sliding_window": 8}
DELTA = {
    "num_hidden_layers": 4,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 6,
    "linear_value_head_dim": 10,
}
MIMO = {"num_key_value_heads": 1, "v_head_dim": 6, "n_routed_experts": 6, "num_experts_per_tok": 2}
LINEAR = {key: value for key, value in LATENT.items() if key != "q_lora_rank"} | NARROW
LINEAR |= {"num_local_experts": 5, "num_experts_per_tok": 2}
KIMI = LINEAR | {"linear_head_dim": 8, "linear_num_heads": 4, "num_hidden_layers": 5, "q_lora_rank": None}
BAILING = LINEAR | {"head_dim": 8, "n_group": 1, "topk_group": 1, "layer_group_size": 3}
EYES = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 40, "patch_size": 4}

THREE_WAYS = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]}


def _glm4v(name: str, text: dict[str, Any], vision: dict[str, Any]) -> Case:
    config = {
        "text_config": BODY | ROUTED | {"head_dim": 16, "rope_parameters": THREE_WAYS} | text,
        "vision_config": EYES | {"image_size": 16} | vision,
    }
    model = "Glm4vMoeForConditionalGeneration"
    return Case(name, "glm4v_moe/fused", model, config, "fused", here="published", other=model)


CASES = (
    _case("plain", "mellum", "Mellum", BODY, NAMED, NARROW),
    _case("a-dense-layer-biases-tied", "mellum", "Mellum", BODY, NAMED, NARROW, MIXED, BIASED, TIED),
    _case("plain", "qwen3_5_moe", "Qwen3_5Moe", BODY, NAMED, NARROW, SHARED, DELTA),
    _case(
        "biases-bfloat16",
        "qwen3_5_moe",
        "Qwen3_5Moe",
        BODY,
        NAMED,
        NARROW,
        SHARED,
        DELTA,
        BIASED,
        {"layer_types": ["full_attention", "linear_attention"] * 2, "moe_intermediate_size": 24},
        dtype=torch.bfloat16,
    ),
    _case("windows", "mimo_v2_flash", "MiMoV2Flash", BODY, NARROW, MIMO, WINDOWS),
    _case(
        "seven-layers-biases",
        "mimo_v2_flash",
        "MiMoV2Flash",
        BODY,
        NARROW,
        MIMO,
        BIASED,
        {"num_hidden_layers": 7, "sliding_window": 8},
    ),
    _case("plain", "flint", "Flint", BODY, NAMED, NARROW, SHARED, {"sliding_window": 8}),
    _case(
        "twelve-layers-biases",
        "flint",
        "Flint",
        BODY,
        NAMED,
        NARROW,
        SHARED,
        BIASED,
        {"num_hidden_layers": 12, "decoder_sparse_step": 2, "mlp_only_layers": [3], "sliding_window": 8},
    ),
    _case("plain", "hy_v3", "HYV3", BODY, NAMED, NARROW),
    _case("biases", "hy_v3", "HYV3", BODY, NAMED, NARROW, BIASED, MIXED, {"num_shared_experts": 2, "mlp_bias": True}),
    _case("plain", "laguna", "Laguna", BODY, NAMED, NARROW, SHARED, {"sliding_window": 8}),
    _case(
        "mixed-biases",
        "laguna",
        "Laguna",
        BODY,
        NAMED,
        NARROW,
        SHARED,
        MIXED,
        BIASED,
        {"num_attention_heads_per_layer": [6, 4, 2], "sliding_window": 8},
    ),
    _case("plain", "kolibri1", "Kolibri1", BODY, NAMED, NARROW, SHARED, WINDOWS),
    _case("plain", "axk1", "AXK1", LATENT, ROUTED),
    _case("mixed-biases", "axk1", "AXK1", LATENT, ROUTED, BIASED, MIXED),
    _case("plain", "kimi_linear", "KimiLinear", KIMI, back={"dense": "block_sparse_moe"}),
    _case(
        "biases",
        "kimi_linear",
        "KimiLinear",
        KIMI,
        BIASED,
        MIXED,
        {
            "q_lora_rank": 20,
            "num_hidden_layers": 3,
            "layer_types": ["full_attention", "linear_attention", "full_attention"],
        },
        back={"dense": "block_sparse_moe"},
    ),
    _case("plain", "bailing_hybrid", "BailingHybrid", BAILING),
    _case("mixed-biases", "bailing_hybrid", "BailingHybrid", BAILING, BIASED, MIXED, {"layer_group_size": 2}),
    _glm4v("plain", {}, {}),
    _glm4v("no-biases-eyes-biased", {"attention_bias": False, "first_k_dense_replace": 2}, {"attention_bias": True}),
)
