"""DeepSeek-V3 in fp8 with a scale for each 128 x 128 block: what transformers and DeepSeek's own script make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tensormap
from tests.parity.harness import Case, build, load_strictly, logits, random_tokens
from tests.parity.optional import peer
from tests.stored import read_safetensors

CONFIG = {
    "hidden_size": 136,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "num_hidden_layers": 3,
    "vocab_size": 99,
    "max_position_embeddings": 64,
    "q_lora_rank": 130,
    "kv_lora_rank": 20,
    "qk_nope_head_dim": 50,
    "qk_rope_head_dim": 6,
    "v_head_dim": 44,
    "intermediate_size": 260,
    "moe_intermediate_size": 136,
    "n_routed_experts": 4,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
}
# transformers' own dequantisation takes only whole blocks
WHOLE_BLOCKS = CONFIG | {
    "hidden_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "q_lora_rank": 128,
    "kv_lora_rank": 128,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 128,
    "v_head_dim": 64,
    "intermediate_size": 256,
    "moe_intermediate_size": 128,
}
WHOLE = ("norm", "gate", "eh_proj", "embed_tokens", "lm_head", "head", "enorm", "hnorm")


def is_whole(name: str) -> bool:
    """Say which weights the published files do not quantise."""
    return name.endswith("_bias") or any(part.endswith(WHOLE) for part in name.split(".")[-2:-1])


def quantised(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return weights in fp8 with scales, and what they stand for: fp8 times its block's scale, in float32, rounded once."""
    generator = torch.Generator().manual_seed(4)
    stored, meant = {}, {}
    for name, tensor in tensors.items():
        if is_whole(name):
            stored[name] = meant[name] = tensor
            continue
        rows, columns = tensor.shape
        scale = torch.rand(-(-rows // 128), -(-columns // 128), generator=generator) * 0.02 + 0.001
        spread = scale.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :columns]
        stored[name] = (tensor.float() / spread).clamp(-448, 448).to(torch.float8_e4m3fn)
        stored[f"{name}_scale_inv"] = scale
        meant[name] = (stored[name].float() * spread).to(torch.bfloat16)
    return stored, meant


def predicting(tensors: dict[str, torch.Tensor], extra: int, width: int) -> dict[str, torch.Tensor]:
    """Return layers that predict a further token: like the last one, with an embedding, norms and a head of their own."""
    found: dict[str, torch.Tensor] = {}
    last = {name: tensor for name, tensor in tensors.items() if name.startswith("model.layers.2.")}
    for number in range(3, 3 + extra):
        found |= {name.replace(".2.", f".{number}.", 1): tensor.clone() for name, tensor in last.items()}
        for name, shape in {
            "embed_tokens": (99, width),
            "enorm": (width,),
            "hnorm": (width,),
            "eh_proj": (width, 2 * width),
            "shared_head.norm": (width,),
            "shared_head.head": (99, width),
        }.items():
            found[f"model.layers.{number}.{name}.weight"] = torch.randn(shape).to(torch.bfloat16)
    return found


@pytest.mark.parametrize(("sizes", "extra"), [(CONFIG, 0), (CONFIG, 1), (WHOLE_BLOCKS, 0)])
def test_fp8(sizes: dict[str, Any], extra: int, tmp_path: Path) -> None:
    config = sizes | {"num_nextn_predict_layers": extra}
    model = build(Case("fp8", "deepseek_v3/fp8", "DeepseekV3ForCausalLM", config, "bf16", dtype=torch.bfloat16))
    assert isinstance(model, transformers.PreTrainedModel)
    model.save_pretrained(tmp_path / "whole")
    tensors = {name: stored.tensor() for name, stored in read_safetensors(tmp_path / "whole").items()}
    tensors |= predicting(tensors, extra, config["hidden_size"])
    stored, meant = quantised(tensors)
    (tmp_path / "fp8").mkdir()
    peer("safetensors.torch").save_file(stored, tmp_path / "fp8" / "model.safetensors")
    saved = json.loads((tmp_path / "whole" / "config.json").read_text())
    stated = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    (tmp_path / "fp8" / "config.json").write_text(json.dumps(saved | {"quantization_config": stated}))

    tensormap.apply(tensormap.load("deepseek_v3/fp8"), tmp_path / "fp8", tmp_path / "bf16", to="bf16")
    found = {name: each.tensor() for name, each in read_safetensors(tmp_path / "bf16").items()}
    assert sorted(found) == sorted(meant)
    for name, tensor in meant.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
    assert "quantization_config" not in json.loads((tmp_path / "bf16" / "config.json").read_text())
    if not extra:
        here = load_strictly(tmp_path / "bf16", dtype=torch.bfloat16)
        inputs = random_tokens(here)
        found_logits = logits(here, inputs)
        if sizes is WHOLE_BLOCKS:
            method = transformers.FineGrainedFP8Config(dequantize=True)
            theirs = load_strictly(tmp_path / "fp8", dtype=torch.bfloat16, quantization_config=method)
            assert torch.equal(found_logits, logits(theirs, inputs))
