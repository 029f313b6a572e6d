"""Planning at the size of the largest models, from headers alone: sparse files without data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.jobs import MAPPINGS
from tensormap.checkpoints import safetensors
from tests.headers.header import Header

COLUMNS = ("checkpoint", "tensors", "shards", "mapping", "written", "wall s", "CPU s", "s per 100k", "peak MB")
Described = list[tuple[str, str, tuple[int, ...]]]

MIXTURES = {"25k": (32, 256), "50k": (64, 256), "100k": (128, 256), "200k": (128, 512)}
"""Layers and experts of mixtures in the shape of Qwen3-MoE. With hidden 7168 and experts of 2048 the last has 2.9e12 elements."""


def scale(folder: Path, count: int) -> Iterator[list[object]]:
    """Yield the lines of the table: catalog and plan of each checkpoint, in processes of their own."""
    published = Header.read("deepseek-v3.fp8")
    tensors = [(name, dtype, shape) for name, (dtype, shape) in published.tensors.items()]
    sparse(folder / "deepseek-v3", tensors, 163, dict(published.config))
    yield from _planned("DeepSeek-V3, fp8", folder / "deepseek-v3", 163, "deepseek_v3/fp8", "bf16", count)
    yield from mixtures(folder, MIXTURES, count)


def mixtures(folder: Path, labels: Iterable[str], count: int) -> Iterator[list[object]]:
    """Yield the lines of mixtures: their experts fused, and every tensor renamed."""
    for label in labels:
        layers, experts = MIXTURES[label]
        place = folder / f"mixture-{label}"
        described, config = mixture(layers, experts)
        shards = max(1, len(described) // 600)
        sparse(place, described, shards, config)
        yield from _planned(f"mixture, {label}", place, shards, "qwen3_moe/fused", "fused", count)
        yield from _planned(f"mixture, {label}", place, shards, str(MAPPINGS / "mixture.tmap"), "renamed", count)


def _planned(label: str, place: Path, shards: int, mapping: str, side: str, count: int) -> Iterator[list[object]]:
    script = (
        "import sys, tensormap; plan = tensormap.plan(sys.argv[1], sys.argv[2], sys.argv[3]).steps;"
        "print(len(plan.inputs), sum(len(each.tensors) for each in plan.outputs))"
    )
    command = [sys.executable, "-c", script, mapping, str(place), side]
    read, written = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    timing = measure.Timing()
    for _ in range(count):
        wall, cpu, peak = measure.run(command)
        timing.wall.append(wall)
        timing.cpu.append(cpu)
        timing.peak = max(timing.peak, peak)
    rate = timing.median / max(read, written) * 1e5
    yield [label, read, shards, Path(mapping).stem, written, timing.median, timing.busy, rate, round(timing.peak)]


def mixture(layers: int, experts: int) -> tuple[Described, dict[str, Any]]:
    """Return the tensors and the config of a mixture of experts as published, in the shape of Qwen3-MoE."""
    hidden, inner, heads, kv, head, words = 7168, 2048, 64, 8, 128, 152_064
    layer: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (heads * head, hidden),
        "self_attn.k_proj.weight": (kv * head, hidden),
        "self_attn.v_proj.weight": (kv * head, hidden),
        "self_attn.o_proj.weight": (hidden, heads * head),
        "self_attn.q_norm.weight": (head,),
        "self_attn.k_norm.weight": (head,),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate.weight": (experts, hidden),
    }
    for number in range(experts):
        for name, shape in (("gate", (inner, hidden)), ("up", (inner, hidden)), ("down", (hidden, inner))):
            layer[f"mlp.experts.{number}.{name}_proj.weight"] = shape
    described: Described = [
        ("model.embed_tokens.weight", "bfloat16", (words, hidden)),
        ("model.norm.weight", "bfloat16", (hidden,)),
        ("lm_head.weight", "bfloat16", (words, hidden)),
    ]
    for number in range(layers):
        described += [(f"model.layers.{number}.{name}", "bfloat16", shape) for name, shape in layer.items()]
    return described, {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "hidden_size": hidden,
        "intermediate_size": 4 * inner,
        "moe_intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": head,
        "num_hidden_layers": layers,
        "num_experts": experts,
        "num_experts_per_tok": 8,
        "vocab_size": words,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": False,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "torch_dtype": "bfloat16",
    }


def sparse(folder: Path, tensors: Described, shards: int, config: dict[str, Any]) -> None:
    """Write a checkpoint's headers, index and config; the files have their full sizes and no data."""
    folder.mkdir(parents=True)
    share = -(-len(tensors) // shards)
    weights: dict[str, str] = {}
    for number in range(shards):
        own = tensors[number * share : (number + 1) * share]
        if not own:
            continue
        path = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        layout = safetensors.layout(own, {"format": "pt"})
        with (folder / path).open("wb") as file:
            file.write(layout.pieces[0].data)
            file.truncate(layout.size)
        weights.update((name, path) for name, _, _ in own)
    index = {"metadata": {}, "weight_map": weights}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config))
