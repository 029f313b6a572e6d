"""The script that everybody writes: load a shard, do the work in torch, save it. `python -m benchmarks.naive JOB SOURCE TARGET`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.checkpoint import HEAD, HEADS, KV

Tensors = dict[str, torch.Tensor]


def rename(tensors: Tensors) -> Tensors:
    """Every tensor under another name."""
    return {f"transformer.{name[::-1]}": tensor for name, tensor in tensors.items()}


def fuse(tensors: Tensors) -> Tensors:
    """Query, key and value interleaved by head, gate and up one after the other; what another shard holds is left alone."""
    out: Tensors = {}
    group = HEADS // KV
    for name, tensor in tensors.items():
        hidden = tensor.shape[-1]
        key, value = name.replace("q_proj", "k_proj"), name.replace("q_proj", "v_proj")
        up = name.replace("gate_proj", "up_proj")
        if name.endswith("q_proj.weight") and key in tensors and value in tensors:
            parts = [tensor.view(KV, group * HEAD, hidden)]
            parts += [tensors[each].view(KV, HEAD, hidden) for each in (key, value)]
            out[name.replace("q_proj", "qkv")] = torch.cat(parts, 1).reshape(-1, hidden)
        elif name.endswith("gate_proj.weight") and up in tensors:
            out[name.replace("gate_proj", "gate_up")] = torch.cat([tensor, tensors[up]])
        elif not name.endswith(("k_proj.weight", "v_proj.weight", "up_proj.weight")):
            out[f"fused.{name}"] = tensor
    return out


def interleave(tensors: Tensors) -> Tensors:
    """Gate and up transposed and interleaved element by element."""
    out: Tensors = {}
    for name, tensor in tensors.items():
        up = name.replace("gate_proj", "up_proj")
        if name.endswith("gate_proj.weight") and up in tensors:
            out[name.replace("gate_proj", "gate_up")] = torch.stack([tensor.T, tensors[up].T], -1).flatten(1)
        elif not name.endswith("up_proj.weight"):
            out[name] = tensor
    return out


def transpose(tensors: Tensors) -> Tensors:
    """Every matrix transposed."""
    return {name: tensor.T.contiguous() if tensor.ndim == 2 else tensor for name, tensor in tensors.items()}


JOBS = {
    "rename": rename,
    "fuse": fuse,
    "interleave": interleave,
    "transpose": transpose,
    "to-bfloat16": lambda tensors: {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()},
    "to-float32": lambda tensors: {name: tensor.to(torch.float32) for name, tensor in tensors.items()},
    "tiny": rename,
    "to-float16": lambda tensors: {name: tensor.to(torch.float16) for name, tensor in tensors.items()},
}


def main() -> None:
    """Run the job, shard by shard."""
    job, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in sorted(source.glob("*.safetensors")):
        save_file(JOBS[job](load_file(path)), target / path.name, {"format": "pt"})


if __name__ == "__main__":
    main()
