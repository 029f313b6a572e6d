"""MLX's checkpoints. What mlx-lm makes of them: `test_mlx.py`."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.cases.fused_experts import BODY, FOUR_HEADS, LATENT, LOCAL, NAMED, QWEN, ROUTED
from tests.parity.harness import Case


def _case(name: str, mapping: str, model: str, *configs: dict[str, Any], **more: Any) -> Case:
    config = {key: value for each in configs for key, value in each.items()}
    return Case(name, f"mlx/{mapping}", f"{model}ForCausalLM", config, "mlx", **more)


HEADS = FOUR_HEADS | {"hidden_size": 48, "num_attention_heads": 6}
TIED = {"tie_word_embeddings": True}
CASES = (
    _case("llama", "llama", "Llama", HEADS, {"num_hidden_layers": 12}),
    _case("llama-tied", "llama", "Llama", HEADS, TIED),
    _case("mistral-bfloat16", "llama", "Mistral", BODY, dtype=torch.bfloat16),
    _case("qwen2", "llama", "Qwen2", FOUR_HEADS, {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
    _case("qwen3", "llama", "Qwen3", BODY, TIED),
    _case("mixtral", "mixtral", "Mixtral", FOUR_HEADS, LOCAL),
    _case(
        "qwen2-moe",
        "qwen_moe",
        "Qwen2Moe",
        FOUR_HEADS,
        QWEN,
        {"shared_expert_intermediate_size": 36, "mlp_only_layers": []},
    ),
    _case("qwen3-moe", "qwen_moe", "Qwen3Moe", BODY, QWEN, {"num_experts": 11}),
    _case(
        "qwen3-moe-every-second", "qwen_moe", "Qwen3Moe", BODY, QWEN, {"decoder_sparse_step": 2, "mlp_only_layers": []}
    ),
    _case("olmoe", "olmoe", "Olmoe", FOUR_HEADS, NAMED),
    _case("deepseek", "deepseek_v3", "DeepseekV3", LATENT, ROUTED, {"first_k_dense_replace": 1}),
    _case(
        "deepseek-whole-queries",
        "deepseek_v3",
        "DeepseekV3",
        LATENT,
        ROUTED,
        {"first_k_dense_replace": 1, "q_lora_rank": None},
    ),
)
