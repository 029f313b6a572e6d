"""Decoders with fused projections <-> the same models with everything apart. Restated formulas: `test_decoders.py`."""

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
        "pad_token_id": 0,
    } | changes


def _gpt(**changes: Any) -> dict[str, Any]:
    return {"n_embd": 48, "n_head": 8, "n_layer": 2, "vocab_size": 131, "n_positions": 64} | changes


TIED = {"tie_word_embeddings": True}


def _phi3(name: str, config: dict[str, Any], **more: Any) -> Case:
    config = config | {"original_max_position_embeddings": 64}
    return Case(name, "phi3/llama", "Phi3ForCausalLM", config, "llama", here="phi3", other="LlamaForCausalLM", **more)


def _codegen(name: str, config: dict[str, Any]) -> Case:
    return Case(name, "codegen/gptj", "CodeGenForCausalLM", config, "gptj", here="codegen", other="GPTJForCausalLM")


def _internlm2(name: str, config: dict[str, Any], **more: Any) -> Case:
    return Case(name, "internlm2/llama", "LlamaForCausalLM", config, "internlm2", here="llama", **more)


def _other(name: str, mapping: str, model: str, config: dict[str, Any], **more: Any) -> Case:
    return Case(name, mapping, model, config, mapping.split("/")[1], **more)


def _baichuan(name: str, config: dict[str, Any]) -> Case:
    return Case(name, "baichuan/llama", "LlamaForCausalLM", config, "baichuan", here="llama")


def _gemma(name: str, model: str, config: dict[str, Any]) -> Case:
    back = {"d": config["head_dim"], "family": model.lower()} | ({"scalar": 20} if model == "Gemma2" else {})
    return Case(name, "gemma/pytorch", f"{model}ForCausalLM", config, "pytorch", back=back)


GLM = {"head_dim": 12, "eos_token_id": 1, "partial_rotary_factor": 0.5}
OLMO = {"eos_token_id": 1, "pad_token_id": 1}
OPT = {"hidden_size": 48, "num_attention_heads": 6, "num_hidden_layers": 2, "ffn_dim": 52, "vocab_size": 131}
OPT |= {"max_position_embeddings": 64, "word_embed_proj_dim": 48}
SMALL_OPT = {"do_layer_norm_before": False, "word_embed_proj_dim": 20}
BLOOM = {"hidden_size": 60, "n_head": 6, "n_layer": 2, "vocab_size": 132}
DBRX: dict[str, Any] = {
    "d_model": 48,
    "n_heads": 6,
    "n_layers": 2,
    "max_seq_len": 32,
    "vocab_size": 131,
    "pad_token_id": 0,
}
DBRX |= {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0}}
DBRX |= {"ffn_config": {"hidden_size": 48, "ffn_hidden_size": 20, "moe_num_experts": 11, "moe_top_k": 2}}
GPT2 = _gpt(n_head=6, activation_function="gelu", n_layer=12)

CASES = (
    _phi3("plain", _body()),
    _phi3("tied-bfloat16", _body() | TIED, dtype=torch.bfloat16),
    _phi3("twelve-layers", _body(num_hidden_layers=12, num_key_value_heads=6)),
    _codegen("plain", _gpt(rotary_dim=4)),
    _codegen("twelve-heads", _gpt(n_head=12, rotary_dim=2, n_inner=52)),
    _internlm2("plain", _body()),
    _internlm2("tied-bfloat16", _body(num_key_value_heads=1) | TIED, dtype=torch.bfloat16),
    _baichuan("plain", _body(num_key_value_heads=6, vocab_size=130)),
    Case("plain", "glm/chatglm", "GlmForCausalLM", _body(**GLM), "chatglm"),
    Case("no-biases", "glm/chatglm", "GlmForCausalLM", _body(**GLM, attention_bias=False), "chatglm"),
    Case("plain", "olmo/original", "OlmoForCausalLM", _body(**OLMO), "olmo"),
    Case("tied", "olmo/original", "OlmoForCausalLM", _body(**OLMO, clip_qkv=0.5) | TIED, "olmo"),
    Case("plain", "opt/metaseq", "OPTForCausalLM", OPT, "metaseq", back={"heads": 6}),
    Case("350m", "opt/metaseq", "OPTForCausalLM", OPT | SMALL_OPT, "metaseq", back={"heads": 6}),
    _other("plain", "bloom/megatron_deepspeed", "BloomForCausalLM", BLOOM, back={"d": 10}),
    _other("tp3", "bloom/megatron_deepspeed", "BloomForCausalLM", BLOOM, set={"tp": 3}, back={"d": 10}),
    _other("plain", "gpt2/nanogpt", "GPT2LMHeadModel", GPT2),
    _gemma("multi-query", "Gemma", _body(head_dim=14, num_key_value_heads=1)),
    _gemma("gemma2", "Gemma2", _body(head_dim=14, query_pre_attn_scalar=20)),
    Case("eleven-experts", "dbrx/mlx", "DbrxForCausalLM", DBRX, "mlx", here="published"),
)
