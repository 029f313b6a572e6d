"""Further peers, which are asked where they are installed: timm, open_clip, openai-whisper, diffusers, torchtitan and others.

Some of them import what cannot stand beside this torch or is of no use here: torchvision, whose operators are compiled for GPUs,
numba, which compiles what the models never call, kernels for GPUs, jax, downloads. While a peer is imported, these names are
there and mean nothing: a model that did compute with them would compute nonsense.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
from transformers.utils import is_torchvision_available

STOOD_IN = (
    "torchvision",
    "numba",
    "torchtitan.distributed.minimal_async_ep",
    "recurrentgemma.jax",
    "jaxtyping",
    "cached_path",
)
FOR = ("timm", "open_clip", "whisper", "torchtitan", "recurrentgemma", "olmo_core")


class _Meaningless(ModuleType):
    """A module in which every name is found."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"{self.__name__}.{name}")


class _StandIns:
    """Finds every module of those names."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        found = any(name == each or name.startswith(f"{each}.") for each in STOOD_IN)
        return importlib.machinery.ModuleSpec(name, self) if found else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Meaningless(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Stand in, as long as this lasts, for what means nothing here; nobody else sees it."""
    is_torchvision_available()  # transformers remembers its first answer
    finder = _StandIns()
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Meaningless)]:
            del sys.modules[name]


def peer(name: str) -> Any:
    """Import a peer, or skip the test: its absence, or that of what it needs, says nothing about a mapping."""
    try:
        with _stand_ins() if name.split(".", maxsplit=1)[0] in FOR else nullcontext():
            return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported: {error}")
