"""Checkpoints to measure with: shapes of a LLaMA, random weights, safetensors shards; or very many tiny tensors."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tensormap.checkpoints import safetensors
from tensormap.dtypes import BY_NAME

HIDDEN, INNER, HEADS, KV, HEAD = 2048, 5632, 32, 8, 64


def llama(folder: Path, size: int, dtype: str = "bfloat16", shards: int = 4) -> None:
    """Write about `size` bytes: as many layers as fit, with embeddings of 32000 words."""
    width = BY_NAME[dtype].size
    layer = {
        "self_attn.q_proj.weight": (HEADS * HEAD, HIDDEN),
        "self_attn.k_proj.weight": (KV * HEAD, HIDDEN),
        "self_attn.v_proj.weight": (KV * HEAD, HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
        "mlp.gate_proj.weight": (INNER, HIDDEN),
        "mlp.up_proj.weight": (INNER, HIDDEN),
        "mlp.down_proj.weight": (HIDDEN, INNER),
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
    }
    vocabulary = 32000
    elements = sum(_product(shape) for shape in layer.values())
    layers = max(1, (size // width - 2 * vocabulary * HIDDEN) // elements)
    tensors = [("model.embed_tokens.weight", (vocabulary, HIDDEN)), ("lm_head.weight", (vocabulary, HIDDEN))]
    for number in range(layers):
        tensors += [(f"model.layers.{number}.{name}", shape) for name, shape in layer.items()]
    write(folder, tensors, dtype, shards)


def tiny(folder: Path, count: int) -> None:
    """Write one file of `count` tensors of 16 numbers each."""
    write(folder, [(f"blocks.{number}.scale", (16,)) for number in range(count)], "bfloat16", 1)


def write(folder: Path, tensors: list[tuple[str, tuple[int, ...]]], dtype: str, shards: int) -> None:
    """Write tensors of random bits that are ordinary numbers, in `shards` files of about one size, with an index."""
    folder.mkdir(parents=True)
    width = BY_NAME[dtype].size
    groups: list[list[tuple[str, tuple[int, ...]]]] = [[] for _ in range(shards)]
    share = sum(_product(shape) for _, shape in tensors) / shards
    reached = 0
    for name, shape in tensors:
        groups[min(shards - 1, int(reached // share))].append((name, shape))
        reached += _product(shape)
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
