"""GGUF files of decoders before and beside LLaMA, asked of llama.cpp and its converter as those of `gguf.py` are."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.cases.gguf import BASE
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
    _case("two-norms", "falcon", "FalconForCausalLM", GROUPED | {"tie_word_embeddings": False}),
    _case("one-norm", "falcon", "FalconForCausalLM", GROUPED | {"num_ln_in_parallel_attn": 1}, dtype=torch.bfloat16),
    _case("plain", "bloom", "BloomForCausalLM", BLOOM),
    _case("bfloat16-eleven-layers", "bloom", "BloomForCausalLM", BLOOM | {"n_layer": 11}, dtype=torch.bfloat16),
    _case("plain", "gptneox", "GPTNeoXForCausalLM", NEOX),
    _case("in-a-row", "gptneox", "GPTNeoXForCausalLM", NEOX | {"use_parallel_residual": False}),
    _case("plain", "mpt", "MptForCausalLM", MPT),
    _case("clipped", "mpt", "MptForCausalLM", MPT | {"attn_config": {"clip_qkv": 0.75}}),
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

NOT_CONVERTED = {
    "gguf-stablelm-head-norms": "0.1.1 collects the norms and loses them: its generator returns where it should yield from",
}
