"""Checkpoints of several files as Hugging Face lays them out: which tensor goes into which shard, their names, the index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii
from math import prod

from tensormap.checkpoints.refusal import refusal, shown
from tensormap.checkpoints.safetensors import byte_sizes

_LINES = 4096  # of an index that are held one by one

Described = tuple[str, str, tuple[int, ...]]
"""A tensor's name, dtype and shape."""


def split(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Group tensors of these byte sizes, in order, into shards of at most `limit` bytes; a larger tensor gets its own.

    The same groups in the same order as huggingface_hub's `split_state_dict_into_shards_factory`.
    """
    shards: list[list[int]] = []
    current: list[int] = []
    filled = 0
    for k, size in enumerate(sizes):
        if size > limit:
            shards.append([k])
            continue
        if filled + size > limit:
            shards.append(current)
            current, filled = [], 0
        current.append(k)
        filled += size
    if current:
        shards.append(current)
    return shards


def shard_names(stem: str, count: int, suffix: str) -> list[str]:
    """Name the files of a checkpoint: `model.safetensors` alone, else `model-00001-of-00004.safetensors` and so on."""
    if count == 1:
        return [f"{stem}{suffix}"]
    return [f"{stem}-{k:05d}-of-{count:05d}{suffix}" for k in range(1, count + 1)]


def index(shards: Sequence[tuple[str, Sequence[Described]]]) -> str:
    """Return the text of `model.safetensors.index.json` for shards of (file name, tensors), as transformers writes it."""
    where: dict[str, str] = {}
    total = elements = 0
    for file, tensors in shards:
        for name, _, _ in tensors:
            if name in where:
                raise refusal(
                    "tensor-in-two-shards", f"{shown(name)} is in both {shown(where[name])} and {shown(file)}"
                )
            where[name] = file
        total += sum(byte_sizes(tensors))
        elements += sum(count * prod(shape) for shape, count in Counter(shape for _, _, shape in tensors).items())
    table = {"metadata": {"total_parameters": elements, "total_size": total}, "weight_map": {}}
    head, tail = json.dumps(table, indent=2).rsplit("{}", 1)
    if not where:
        return f"{head}{{}}{tail}\n"
    quoted = {file: encode_basestring_ascii(file) for file, _ in shards}
    names = sorted(where)
    body = ",\n".join(
        ",\n".join([f"    {encode_basestring_ascii(name)}: {quoted[where[name]]}" for name in names[k : k + _LINES]])
        for k in range(0, len(names), _LINES)
    )
    return f"{head}{{\n{body}\n  }}{tail}\n"
