"""What the tests here run again and again: two small conversions with everything in them, and what they have to give."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import tensormap
from tensormap.lowering.plan import Plan
from tensormap.runtime.execute import run

Tree = dict[str, bytes]

TILE = 256  # bytes to a tile, in all runs here
HIDDEN, HEADS, HEAD, FORWARD, WORDS = 8, 2, 4, 12, 16
OLD: Tree = {"config.json": b'{"old": 1}', "model.safetensors": b"old weights", "sub/notes.txt": b"old notes"}


@dataclass(frozen=True)
class Workload:
    """A plan, the options it was made with, and the files that a run which nothing disturbs writes."""

    name: str
    plan: Plan
    source: Path
    options: tuple[str, ...]  # for the command line
    whole: Tree = field(repr=False)
    mapping: str = "neox/llama"


def llama(folder: Path, *, layers: int = 2, width: int = 1) -> None:
    """Write a LLaMA with random weights as Hugging Face stores it."""
    hidden, forward = HIDDEN * width, FORWARD * width
    shapes = {"model.embed_tokens": (WORDS, hidden), "model.norm": (hidden,), "lm_head": (WORDS, hidden)}
    for number in range(layers):
        layer = f"model.layers.{number}."
        shapes |= {layer + "input_layernorm": (hidden,), layer + "post_attention_layernorm": (hidden,)}
        shapes |= {layer + f"self_attn.{each}_proj": (hidden, hidden) for each in "qkvo"}
        shapes |= {layer + f"mlp.{each}_proj": (forward, hidden) for each in ("gate", "up")}
        shapes |= {layer + "mlp.down_proj": (hidden, forward)}
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    tensors = {f"{name}.weight": random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "llama", "hidden_size": hidden, "intermediate_size": forward, "vocab_size": WORDS}
    config |= {"num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": HEADS}
    config |= {"max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')


def to_torch(folder: Path, *, layers: int = 2, width: int = 1) -> Workload:
    """A Hugging Face checkpoint to the torch files of two ranks."""
    source = folder / "llama"
    llama(source, layers=layers, width=width)
    options = ("--to", "neox", "--set", "tp=2")
    plan = tensormap.plan("neox/llama", source, "neox", {"tp": 2}).steps
    return Workload("torch", plan, source, options, _whole(plan, folder))


def to_safetensors(folder: Path, *, layers: int = 2, width: int = 1) -> Workload:
    """The torch files of two ranks to shards with an index."""
    made = to_torch(folder / "before", layers=layers, width=width)
    source = folder / "neox"
    run(made.plan, source)
    shard = str(600 * width * width)
    options = ("--to", "hf", "--max-shard-size", shard)
    plan = tensormap.plan("neox/llama", source, "hf", max_shard_size=shard).steps
    assert len(plan.outputs) > 3
    return Workload("safetensors", plan, source, options, _whole(plan, folder))


def to_gguf(folder: Path) -> Workload:
    """A Hugging Face checkpoint to one GGUF file."""
    source = folder / "llama"
    llama(source)
    plan = tensormap.plan("gguf/llama", source, "gguf").steps
    return Workload("gguf", plan, source, ("--to", "gguf"), _whole(plan, folder), "gguf/llama")


def _whole(plan: Plan, folder: Path) -> Tree:
    run(plan, folder / "whole")
    files = tree(folder / "whole")
    assert files is not None
    shutil.rmtree(folder / "whole")
    return files


def tree(folder: Path) -> Tree | None:
    """Read all files below a directory; None where there is none."""
    if not folder.exists():
        return None
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def plant(folder: Path, files: Tree) -> None:
    """Write files below a directory."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def beside(target: Path) -> list[str]:
    """List what lies beside a target that is alone in its directory."""
    return sorted(each.name for each in target.parent.iterdir() if each != target)
