"""Decoders as their authors' trainers save them, in torch files of nested dictionaries. Restated formulas: `test_released.py`."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case

PERSIMMON: dict[str, Any] = {
    "hidden_size": 72,
    "num_attention_heads": 6,
    "intermediate_size": 52,
    "num_hidden_layers": 11,
    "vocab_size": 131,
    "max_position_embeddings": 64,
}
BIGCODE: dict[str, Any] = {
    "n_embd": 60,
    "n_head": 6,
    "n_inner": 52,
    "n_layer": 2,
    "vocab_size": 131,
    "n_positions": 32,
}
MPT: dict[str, Any] = {"d_model": 60, "n_heads": 6, "n_layers": 2, "vocab_size": 131, "max_seq_len": 32}


def _case(name: str, mapping: str, model: str, config: dict[str, Any], **more: Any) -> Case:
    return Case(name, mapping, model, config, mapping.split("/")[1], **more)


CASES = (
    _case(
        "eleven-layers", "persimmon/adept", "PersimmonForCausalLM", PERSIMMON, back={"positions": 64, "base": 10000.0}
    ),
    _case("plain", "gpt_bigcode/megatron", "GPTBigCodeForCausalLM", BIGCODE),
    _case(
        "older-eleven-layers-bfloat16",
        "gpt_bigcode/megatron",
        "GPTBigCodeForCausalLM",
        BIGCODE | {"n_layer": 11, "activation_function": "gelu"},
        set={"body": "transformer"},
        dtype=torch.bfloat16,
    ),
    _case(
        "openai-gelu",
        "gpt_bigcode/megatron",
        "GPTBigCodeForCausalLM",
        BIGCODE | {"activation_function": "gelu_new"},
    ),
    _case("clipped", "mpt/composer", "MptForCausalLM", MPT | {"attn_config": {"clip_qkv": 0.75}}),
    _case(
        "untied-eleven-layers", "mpt/composer", "MptForCausalLM", MPT | {"n_layers": 11, "tie_word_embeddings": False}
    ),
)
