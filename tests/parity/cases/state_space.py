"""State space and recurrent models as their authors publish them."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case

BODY = {"hidden_size": 24, "vocab_size": 99, "num_hidden_layers": 3}
MAMBA = BODY | {"state_size": 5, "time_step_rank": 3, "conv_kernel": 3}
MAMBA2 = BODY | {"state_size": 5, "num_heads": 6, "head_dim": 8, "n_groups": 2, "chunk_size": 4}
GRIFFIN = BODY | {
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "intermediate_size": 104,
    "lru_width": 36,
    "attention_window_size": 5,
    "num_hidden_layers": 4,
}
BAMBA = BODY | {
    "hidden_size": 48,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 52,
    "attn_layer_indices": [1],
    "mamba_n_heads": 6,
    "mamba_d_head": 16,
    "mamba_n_groups": 2,
    "mamba_d_state": 5,
    "mamba_chunk_size": 4,
}


def _mamba(name: str, config: dict[str, Any], **more: Any) -> Case:
    return Case(name, "mamba/ssm", "MambaForCausalLM", config, "ssm", **more)


def _mamba2(name: str, config: dict[str, Any], **more: Any) -> Case:
    return Case(name, "mamba2/ssm", "Mamba2ForCausalLM", config, "ssm", **more)


CASES = (
    _mamba("tied", MAMBA),
    _mamba("biases", MAMBA | {"use_bias": True, "num_hidden_layers": 11}),
    _mamba("no-convolution-bias", MAMBA | {"use_conv_bias": False}, dtype=torch.bfloat16),
    _mamba2("untied", MAMBA2),
    _mamba2("tied", MAMBA2 | {"tie_word_embeddings": True, "n_groups": 1}),
    _mamba2("biases", MAMBA2 | {"use_bias": True, "use_conv_bias": False, "num_hidden_layers": 11}),
    Case("plain", "rwkv/blinkdl", "RwkvForCausalLM", BODY | {"num_hidden_layers": 12}, "blinkdl"),
    Case(
        "odd-widths",
        "rwkv/blinkdl",
        "RwkvForCausalLM",
        BODY | {"intermediate_size": 52},
        "blinkdl",
    ),
    Case("griffin", "recurrent_gemma/griffin", "RecurrentGemmaForCausalLM", GRIFFIN, "griffin", back={"window": 5}),
    Case(
        "other-kinds",
        "recurrent_gemma/griffin",
        "RecurrentGemmaForCausalLM",
        GRIFFIN | {"num_hidden_layers": 11, "block_types": ["attention", "recurrent"], "lru_width": None},
        "griffin",
        back={"window": 5, "kinds": ["attention", "recurrent"]},
        dtype=torch.bfloat16,
    ),
    Case("hybrid", "bamba/ssm", "BambaForCausalLM", BAMBA, "ssm"),
    Case(
        "tied-bfloat16",
        "bamba/ssm",
        "BambaForCausalLM",
        BAMBA | {"tie_word_embeddings": True, "num_hidden_layers": 11, "attn_layer_indices": [3, 10]},
        "ssm",
        dtype=torch.bfloat16,
    ),
)
