"""An opened checkpoint: its catalog, and tensors that are read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tensormap.checkpoints.catalog import Catalog, TensorInfo
from tensormap.checkpoints.read import load_tensor


@dataclass(frozen=True, slots=True)
class LazyCatalog(Mapping[str, Any]):
    """A checkpoint as a read-only dictionary from names to numpy arrays; each access reads that tensor and no other."""

    catalog: Catalog

    def __getitem__(self, name: str) -> Any:
        return load_tensor(self.catalog, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.catalog.tensors)

    def __len__(self) -> int:
        return len(self.catalog.tensors)

    def info(self, name: str) -> TensorInfo:
        """Return a tensor's dtype, shape and place without reading it. KeyError if there is none of this name."""
        return self.catalog.tensors[name]
