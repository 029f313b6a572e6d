"""The script that everybody writes: load a shard, do the work in torch, save it. `python -m benchmarks.naive JOB SOURCE TARGET`.

Each job takes out of the tensors what it can do with them; what waits for tensors of another shard is kept until that is loaded.
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
    return {f"transformer.{name}": tensors.pop(name) for name in list(tensors)}


def fuse(tensors: Tensors) -> Tensors:
    """Query, key and value interleaved by head, gate and up one after the other."""
    out: Tensors = {}
    for name in list(tensors):
        layer = name.rpartition(".weight")[0].rpartition(".")[0]
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            found = _taken(tensors, [f"{layer}.{each}_proj.weight" for each in "qkv"])
            if found:
                hidden = found[0].shape[-1]
                rows = (GROUP * HEAD, HEAD, HEAD)
                parts = [each.view(KV, count, hidden) for each, count in zip(found, rows, strict=True)]
                out[f"{layer}.qkv.weight"] = torch.cat(parts, 1).reshape(-1, hidden)
        elif name.endswith(("gate_proj.weight", "up_proj.weight")):
            found = _taken(tensors, [f"{layer}.{each}_proj.weight" for each in ("gate", "up")])
            if found:
                out[f"{layer}.gate_up.weight"] = torch.cat(found)
        else:
            out[f"fused.{name}"] = tensors.pop(name)
    return out


def unfuse(tensors: Tensors) -> Tensors:
    """The inverse of `fuse`."""
    out: Tensors = {}
    for name in list(tensors):
        tensor = tensors.pop(name)
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
    for name in list(tensors):
        layer, dot, _ = name.partition(".experts.")
        if not dot:
            out[name] = tensors.pop(name)
            continue
        names = {
            word: [f"{layer}.experts.{number}.{word}_proj.weight" for number in range(EXPERTS)]
            for word in ("gate", "up", "down")
        }
        found = _taken(tensors, [*names["gate"], *names["up"]])
        if found:
            pairs = [torch.cat(pair) for pair in zip(found[:EXPERTS], found[EXPERTS:], strict=True)]
            out[f"{layer}.experts.gate_up_proj"] = torch.stack(pairs)
        found = _taken(tensors, names["down"])
        if found:
            out[f"{layer}.experts.down_proj"] = torch.stack(found)
    return out


def _taken(tensors: Tensors, names: list[str]) -> list[torch.Tensor]:
    """Take tensors out, if all of them are there."""
    return [tensors.pop(name) for name in names] if all(name in tensors for name in names) else []


def transpose(tensors: Tensors) -> Tensors:
    """Every matrix transposed."""
    taken = {name: tensors.pop(name) for name in list(tensors)}
    return {name: tensor.T.contiguous() if tensor.ndim == 2 else tensor for name, tensor in taken.items()}


def cast(dtype: torch.dtype) -> Callable[[Tensors], Tensors]:
    """Every tensor in another dtype."""
    return lambda tensors: {name: tensors.pop(name).to(dtype) for name in list(tensors)}


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
    waiting: Tensors = {}
    for path in sorted(source.glob("*.safetensors")):
        waiting |= load_file(path)
        save_file(JOBS[job](waiting), target / path.name, {"format": "pt"})
    if waiting:
        raise SystemExit(f"{len(waiting)} tensors were left over")


if __name__ == "__main__":
    main()
