"""OLMo-core's checkpoints. What its own converter and models make of them: `test_olmo_core.py`."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case


def _case(name: str, model: str, dtype: torch.dtype = torch.float32, **more: Any) -> Case:
    config = {
        "hidden_size": 60,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "intermediate_size": 52,
        "num_hidden_layers": 3,
        "vocab_size": 131,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
    } | more
    return Case(name, "olmo/core", f"{model}ForCausalLM", config, "core", dtype=dtype)


SLIDES, FULL = "sliding_attention", "full_attention"
CASES = (
    _case("olmo2", "Olmo2", num_hidden_layers=12),
    _case("olmo2-tied", "Olmo2", torch.bfloat16, num_key_value_heads=6, tie_word_embeddings=True),
    _case("olmo3", "Olmo3", num_hidden_layers=6, sliding_window=4, layer_types=[SLIDES] * 3 + [FULL, SLIDES, FULL]),
)
