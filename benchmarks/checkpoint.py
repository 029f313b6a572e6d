"""Checkpoints to measure with: random weights, real shapes. `python -m benchmarks.checkpoint KIND PATH NUMBER [DTYPE]`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tensormap.checkpoints import safetensors
from tensormap.dtypes import BY_NAME

HIDDEN, INNER, HEADS, KV, HEAD, VOCABULARY = 2048, 5632, 32, 8, 64, 32000
EXPERTS, EXPERT_INNER = 64, 768

Tensors = list[tuple[str, tuple[int, ...]]]


def llama(folder: Path, size: int, dtype: str = "bfloat16", shards: int = 4) -> None:
    """Write a LLaMA of about `size` bytes: as many layers as fit."""
    layer = {
        **_attention(),
        "mlp.gate_proj.weight": (INNER, HIDDEN),
        "mlp.up_proj.weight": (INNER, HIDDEN),
        "mlp.down_proj.weight": (HIDDEN, INNER),
    }
    tensors, layers = _decoder(layer, size // BY_NAME[dtype].size)
    write(folder, tensors, dtype, shards, _config("llama", "LlamaForCausalLM", layers, dtype))


def experts(folder: Path, size: int, dtype: str = "bfloat16", shards: int = 4) -> None:
    """Write a Qwen3-MoE of about `size` bytes with 64 experts to a layer, each expert's matrices tensors of their own."""
    norms = {f"self_attn.{each}_norm.weight": (HEAD,) for each in "qk"}
    layer: dict[str, tuple[int, ...]] = {**_attention(), **norms, "mlp.gate.weight": (EXPERTS, HIDDEN)}
    for number in range(EXPERTS):
        for name, shape in (
            ("gate", (EXPERT_INNER, HIDDEN)),
            ("up", (EXPERT_INNER, HIDDEN)),
            ("down", (HIDDEN, EXPERT_INNER)),
        ):
            layer[f"mlp.experts.{number}.{name}_proj.weight"] = shape
    tensors, layers = _decoder(layer, size // BY_NAME[dtype].size)
    config = _config("qwen3_moe", "Qwen3MoeForCausalLM", layers, dtype)
    mixture = {
        "num_experts": EXPERTS,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": EXPERT_INNER,
        "mlp_only_layers": [],
    }
    write(folder, tensors, dtype, shards, config | mixture)


def single(folder: Path, size: int, dtype: str = "bfloat16") -> None:
    """Write one tensor of about `size` bytes."""
    columns = HIDDEN * 8
    write(folder, [("weight", (size // BY_NAME[dtype].size // columns // 2 * 2, columns))], dtype, 1)


def tiny(folder: Path, count: int) -> None:
    """Write one file of `count` tensors of 16 numbers each."""
    write(folder, [(f"blocks.{number}.scale", (16,)) for number in range(count)], "bfloat16", 1)


def write(folder: Path, tensors: Tensors, dtype: str, shards: int, config: dict[str, Any] | None = None) -> None:
    """Write tensors of random bits that are ordinary numbers, in `shards` files of about one size, with an index."""
    folder.mkdir(parents=True)
    width = BY_NAME[dtype].size
    groups: list[Tensors] = [[] for _ in range(shards)]
    share = sum(_product(shape) for _, shape in tensors) / shards
    reached = 0
    for name, shape in tensors:
        groups[min(shards - 1, int(reached // share))].append((name, shape))
        reached += _product(shape)
    groups = [group for group in groups if group]  # a large tensor may have taken the place of two
    shards = len(groups)
    weights = {}
    pattern = _pattern(dtype)
    for number, group in enumerate(groups):
        path = "model.safetensors" if shards == 1 else f"model-{number + 1:05}-of-{shards:05}.safetensors"
        layout = safetensors.layout([(name, dtype, shape) for name, shape in group], {"format": "pt"})
        with (folder / path).open("wb") as file:
            file.write(layout.pieces[0].data)
            left = sum(_product(shape) for _, shape in group) * width
            while left:
                left -= file.write(pattern[: min(left, len(pattern))])
        weights.update({name: path for name, _ in group})
    if shards > 1:
        index = {"metadata": {"total_size": reached * width}, "weight_map": weights}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config, indent=2))


def _attention() -> dict[str, tuple[int, ...]]:
    return {
        "self_attn.q_proj.weight": (HEADS * HEAD, HIDDEN),
        "self_attn.k_proj.weight": (KV * HEAD, HIDDEN),
        "self_attn.v_proj.weight": (KV * HEAD, HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
    }


def _decoder(layer: dict[str, tuple[int, ...]], elements: int) -> tuple[Tensors, int]:
    """Return the tensors of a decoder of about `elements` elements, and the number of its layers."""
    layers = max(1, (elements - 2 * VOCABULARY * HIDDEN) // sum(map(_product, layer.values())))
    tensors: Tensors = [("model.embed_tokens.weight", (VOCABULARY, HIDDEN))]
    for number in range(layers):
        tensors += [(f"model.layers.{number}.{name}", shape) for name, shape in layer.items()]
    return [*tensors, ("model.norm.weight", (HIDDEN,)), ("lm_head.weight", (VOCABULARY, HIDDEN))], layers


def _config(kind: str, architecture: str, layers: int, dtype: str) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": kind,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV,
        "head_dim": HEAD,
        "num_hidden_layers": layers,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
    }


def _pattern(dtype: str) -> bytes:
    """Some megabytes of numbers around one."""
    import numpy as np

    numbers = np.random.default_rng(os.getpid()).standard_normal(1 << 21, np.float32)
    if dtype == "bfloat16":
        return (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return numbers.astype(dtype).tobytes()


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


MAKERS = {"llama": llama, "experts": experts, "single": single, "tiny": tiny}

if __name__ == "__main__":
    MAKERS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])  # type: ignore[operator]
