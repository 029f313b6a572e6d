"""The script that everybody writes: load a shard, do the work in torch, save it. `python -m benchmarks.naive JOB SOURCE TARGET`.

What another shard holds is left alone, which spares these scripts some work.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.checkpoint import EXPERTS, HEAD, HEADS, KV

Tensors = dict[str, torch.Tensor]
GROUP = HEADS // KV


def rename(tensors: Tensors) -> Tensors:
    """Every tensor under another name."""
    return {f"transformer.{name}": tensor for name, tensor in tensors.items()}


def fuse(tensors: Tensors) -> Tensors:
    """Query, key and value interleaved by head, gate and up one after the other."""
    out: Tensors = {}
    for name, tensor in tensors.items():
        hidden = tensor.shape[-1]
        key, value = name.replace("q_proj", "k_proj"), name.replace("q_proj", "v_proj")
        up = name.replace("gate_proj", "up_proj")
        if name.endswith("q_proj.weight") and key in tensors and value in tensors:
            parts = [tensor.view(KV, GROUP * HEAD, hidden)]
            parts += [tensors[each].view(KV, HEAD, hidden) for each in (key, value)]
            out[name.replace("q_proj", "qkv")] = torch.cat(parts, 1).reshape(-1, hidden)
        elif name.endswith("gate_proj.weight") and up in tensors:
            out[name.replace("gate_proj", "gate_up")] = torch.cat([tensor, tensors[up]])
        elif not name.endswith(("k_proj.weight", "v_proj.weight", "up_proj.weight")):
            out[f"fused.{name}"] = tensor
    return out


def unfuse(tensors: Tensors) -> Tensors:
    """The inverse of `fuse`."""
    out: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith("qkv.weight"):
            hidden = tensor.shape[-1]
            parts = tensor.view(KV, (GROUP + 2) * HEAD, hidden).split([GROUP * HEAD, HEAD, HEAD], 1)
            for letter, part in zip("qkv", parts, strict=True):
                out[name.replace("qkv", f"{letter}_proj")] = part.reshape(-1, hidden).contiguous()
        elif name.endswith("gate_up.weight"):
            for word, part in zip(("gate", "up"), tensor.chunk(2), strict=True):
                out[name.replace("gate_up", f"{word}_proj")] = part.contiguous()
        else:
            out[name] = tensor
    return out


def experts(tensors: Tensors) -> Tensors:
    """Experts stacked, gate and up one after the other."""
    out: Tensors = {}
    for name, tensor in tensors.items():
        if ".experts." not in name:
            out[name] = tensor
        elif ".experts.0.gate_proj" in name:
            names = [name.replace(".experts.0.", f".experts.{number}.") for number in range(EXPERTS)]
            ups = [each.replace("gate_proj", "up_proj") for each in names]
            if all(each in tensors for each in (*names, *ups)):
                pairs = [torch.cat([tensors[gate], tensors[up]]) for gate, up in zip(names, ups, strict=True)]
                out[name.replace(".experts.0.gate_proj.weight", ".experts.gate_up_proj")] = torch.stack(pairs)
        elif ".experts.0.down_proj" in name:
            names = [name.replace(".experts.0.", f".experts.{number}.") for number in range(EXPERTS)]
            if all(each in tensors for each in names):
                stacked = torch.stack([tensors[each] for each in names])
                out[name.replace(".experts.0.down_proj.weight", ".experts.down_proj")] = stacked
    return out


def transpose(tensors: Tensors) -> Tensors:
    """Every matrix transposed."""
    return {name: tensor.T.contiguous() if tensor.ndim == 2 else tensor for name, tensor in tensors.items()}


def cast(dtype: torch.dtype) -> Callable[[Tensors], Tensors]:
    """Every tensor in another dtype."""
    return lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()}


JOBS: dict[str, Callable[[Tensors], Tensors]] = {
    "rename": rename,
    "fuse": fuse,
    "unfuse": unfuse,
    "experts": experts,
    "transpose": transpose,
    "to-bfloat16": cast(torch.bfloat16),
    "to-float32": cast(torch.float32),
    "to-float16": cast(torch.float16),
    "tiny": rename,
}


def neox(source: Path) -> Iterator[tuple[str, Tensors]]:
    """Merge the two ranks of each layer file of GPT-NeoX, and take queries, keys, values, gate and up apart."""
    for first in sorted(source.glob("*/layer_*-model_00-*.pt")):
        ranks = [torch.load(Path(str(first).replace("model_00", f"model_{rank:02}"))) for rank in range(2)]
        out: Tensors = {}
        for name in ranks[0]:
            parts = [rank[name] for rank in ranks]
            if name.endswith("query_key_value.weight"):
                heads = [HEADS // 2 * HEAD, KV // 2 * HEAD, KV // 2 * HEAD]
                split = [part.split(heads) for part in parts]
                for letter, own in zip("qkv", zip(*split, strict=True), strict=True):
                    out[name.replace("query_key_value", f"{letter}_proj")] = torch.cat(own)
            elif name.endswith("linear1.weight"):
                split = [part.chunk(2) for part in parts]
                for word, own in zip(("up", "gate"), zip(*split, strict=True), strict=True):
                    out[name.replace("linear1", f"{word}_proj")] = torch.cat(own)
            elif parts[0].ndim == 1:
                out[name] = parts[0].clone()
            else:
                out[name] = torch.cat(parts, 1 if name.endswith(("dense.weight", "linear2.weight")) else 0)
        yield first.stem, out


def main() -> None:
    """Run the job, shard by shard."""
    job, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    if job == "neox":
        for name, tensors in neox(source):
            save_file(tensors, target / f"{name}.safetensors", {"format": "pt"})
        return
    for path in sorted(source.glob("*.safetensors")):
        save_file(JOBS[job](load_file(path)), target / path.name, {"format": "pt"})


if __name__ == "__main__":
    main()
