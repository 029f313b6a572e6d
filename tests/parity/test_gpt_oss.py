"""gpt-oss in MXFP4: transformers' own dequantiser makes the same weights and computes the same logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

import tensormap
from tests.parity.harness import Case, build, load_strictly, logits, random_tokens
from tests.stored import assert_same, read_safetensors

CONFIG = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 20,
    "num_hidden_layers": 3,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "sliding_window": 4,
    "vocab_size": 99,
    "max_position_embeddings": 131072,
}
# what the published config.json says beside the sizes
PUBLISHED = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "experts_per_token": 2,
    "hidden_act": "silu",
    "initial_context_length": 4096,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "model_type": "gpt_oss",
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "quantization_config": {
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
        "quant_method": "mxfp4",
    },
}
OPENAI = {
    "num_hidden_layers": 3,
    "num_experts": 5,
    "experts_per_token": 2,
    "vocab_size": 99,
    "hidden_size": 96,
    "intermediate_size": 160,
    "swiglu_limit": 7.0,
    "head_dim": 20,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "sliding_window": 4,
    "initial_context_length": 4096,
    "rope_theta": 150000,
    "rope_scaling_factor": 32.0,
    "rope_ntk_alpha": 1.0,
    "rope_ntk_beta": 32.0,
}


def publish(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Write a model as it is published; return the tensors that are stored, and those that are meant."""
    model = build(Case("mxfp4", "gpt_oss/mxfp4", "GptOssForCausalLM", CONFIG, "bf16", dtype=torch.bfloat16))
    generator = torch.Generator().manual_seed(5)
    stored: dict[str, torch.Tensor] = {}
    meant: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name] = meant[name] = tensor.contiguous()
            continue
        experts, inputs, outputs = tensor.shape
        blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8, generator=generator)
        scales = torch.randint(119, 124, blocks.shape[:3], dtype=torch.uint8, generator=generator)
        stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        meant[name] = convert_moe_packed_tensors(blocks, scales)
        assert meant[name].shape == tensor.shape
    folder.mkdir()
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG | PUBLISHED))
    return stored, meant


def test_mxfp4(tmp_path: Path) -> None:
    _, meant = publish(tmp_path / "mxfp4")
    tensormap.apply("gpt_oss/mxfp4", tmp_path / "mxfp4", tmp_path / "bf16", to="bf16")
    found = load_file(tmp_path / "bf16" / "model.safetensors")
    assert sorted(found) == sorted(meant)
    for name, tensor in meant.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
    assert "quantization_config" not in json.loads((tmp_path / "bf16" / "config.json").read_text())
    here = load_strictly(tmp_path / "bf16", dtype=torch.bfloat16)
    method: Any = transformers.Mxfp4Config(dequantize=True)
    theirs = load_strictly(tmp_path / "mxfp4", dtype=torch.bfloat16, quantization_config=method)
    inputs = random_tokens(here)
    assert torch.equal(logits(here, inputs), logits(theirs, inputs))


def test_as_openai_stores_it(tmp_path: Path) -> None:
    """Names and the joined queries, keys and values, by slices as transformers' converter takes them."""
    stored, _ = publish(tmp_path / "hf")
    mapping = tensormap.load("gpt_oss/openai")
    tensormap.apply(mapping, tmp_path / "hf", tmp_path / "openai", to="openai")
    found = load_file(tmp_path / "openai" / "model.safetensors")
    assert json.loads((tmp_path / "openai" / "config.json").read_text()) == OPENAI
    for layer in range(3):
        ours, theirs = f"block.{layer}.", f"model.layers.{layer}."
        for part in ("weight", "bias"):
            joined = found[f"{ours}attn.qkv.{part}"]
            for name, rows in {"q": slice(0, 120), "k": slice(120, 160), "v": slice(160, None)}.items():
                assert torch.equal(joined[rows], stored[f"{theirs}self_attn.{name}_proj.{part}"])
        for one, other in {
            "attn.norm.scale": "input_layernorm.weight",
            "attn.out.weight": "self_attn.o_proj.weight",
            "attn.out.bias": "self_attn.o_proj.bias",
            "attn.sinks": "self_attn.sinks",
            "mlp.norm.scale": "post_attention_layernorm.weight",
            "mlp.gate.weight": "mlp.router.weight",
            "mlp.gate.bias": "mlp.router.bias",
            "mlp.mlp1_weight.blocks": "mlp.experts.gate_up_proj_blocks",
            "mlp.mlp1_weight.scales": "mlp.experts.gate_up_proj_scales",
            "mlp.mlp1_bias": "mlp.experts.gate_up_proj_bias",
            "mlp.mlp2_weight.blocks": "mlp.experts.down_proj_blocks",
            "mlp.mlp2_weight.scales": "mlp.experts.down_proj_scales",
            "mlp.mlp2_bias": "mlp.experts.down_proj_bias",
        }.items():
            assert torch.equal(found[ours + one], stored[theirs + other]), one
    for one, other in {"embedding": "model.embed_tokens", "unembedding": "lm_head"}.items():
        assert torch.equal(found[f"{one}.weight"], stored[f"{other}.weight"])
    assert len(found) == 3 * 15 + 3
    tensormap.apply(mapping, tmp_path / "openai", tmp_path / "back", to="hf")
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(tmp_path / "hf"))
    method: Any = transformers.Mxfp4Config(dequantize=True)
    before, after = (
        load_strictly(tmp_path / name, dtype=torch.bfloat16, quantization_config=method) for name in ("hf", "back")
    )
    inputs = random_tokens(before)
    assert torch.equal(logits(after, inputs), logits(before, inputs))
