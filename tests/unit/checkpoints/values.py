"""Tensors of a file by their keys: as torch holds them, and as we say where they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tensormap.checkpoints.catalog import Catalog, OpenFile
from tensormap.checkpoints.read import load_tensor
from tests.stored import Stored

FIXTURES = Path(__file__).parents[2] / "fixtures"
FIXTURE_FILES = sorted(path for suffix in ("pt", "pth", "bin") for path in FIXTURES.rglob(f"*.{suffix}"))


def flat(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], torch.Tensor]]:
    """Yield every tensor of nested dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        yield keys, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from flat(each, (*keys, str(key)))
    elif isinstance(value, list | tuple):
        for k, each in enumerate(value):
            yield from flat(each, (*keys, str(k)))


def values(path: Path, found: OpenFile) -> dict[tuple[str, ...], Stored]:
    """Read every tensor of an opened file."""
    source = type(found.file)(path.name, found.file.size, found.file.mtime_ns, found.file.header)
    catalog = Catalog(
        path.parent, found.format, (source,), {str(k): info for k, info in enumerate(found.tensors.values())}
    )
    read = {}
    for k, keys in enumerate(found.tensors):
        array = load_tensor(catalog, str(k))
        read[keys] = Stored(found.tensors[keys].dtype, array.shape, array.tobytes())
    return read
