"""A tensor on its way to a file, and a virtual one that no file will hold; with the small facts that both lowering steps use."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tensormap.checkpoints.catalog import TensorInfo
from tensormap.language import mapping as m
from tensormap.lowering import plan
from tensormap.lowering.boxes import Placed
from tensormap.lowering.compose import Box

Aimless: TypeAlias = tuple[tuple[int, ...], plan.Region, int, tuple[int, ...]]
"""A copy whose target has no number yet: sizes, source, and the target's offset and strides. Most steps are made as one."""


@dataclass(slots=True)
class Draft:
    """A tensor that will be written: `steps` have targets whose tensor number is not settled yet (0)."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    explicit: bool
    steps: list[plan.Step | Aimless]
    rule: m.Rule
    first: int  # the first source tensor it needs, for order on disk
    covered: int = 0


@dataclass(slots=True)
class Virtual:
    """A tensor between two equations: pieces in its flat row of elements."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    rule: m.Rule
    pieces: list[tuple[Box, tuple[int, ...], plan.Formula]] = field(default_factory=list)


def describe(info: TensorInfo) -> str:
    return f"{info.name} is {info.dtype} {list(info.shape)}"


def offset_at(part: Placed, place: Map[str, int]) -> int:
    if not part.coefficients:
        return part.offset
    offset = part.offset
    for name, coefficient in part.coefficients:
        offset += coefficient * place[name]
    return offset


def count_of(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
