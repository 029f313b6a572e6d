"""What a pickle says without being run: names instead of classes, and objects that were not built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

KEY_CAP = 2**60  # larger integers may share a hash


class Fault(Exception):
    """The pickle is invalid, or more than any checkpoint needs. The text says why."""


class Truncated(Exception):
    """The data ends before the pickle does."""


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function by name."""

    module: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Instance:
    """An object that was not built: what it was made from, and the state, items and elements it was given."""

    kind: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


class Rules(Protocol):
    """What globals and persistent ids stand for. Both may raise Fault, and nothing else."""

    def build(self, called: Global, arguments: tuple[Any, ...]) -> Any: ...

    def persistent(self, identifier: Any) -> Any: ...


def hashable(value: Any, depth: int = 2) -> bool:
    """Tell whether a value may be a key: cheap to hash, and equal to nothing by more than its value."""
    if isinstance(value, tuple):
        return depth > 0 and len(value) <= 64 and all(hashable(each, depth - 1) for each in value)
    if isinstance(value, int):
        return -KEY_CAP < value < KEY_CAP
    return value is None or isinstance(value, (str, bytes, float, complex, Global, Instance))
