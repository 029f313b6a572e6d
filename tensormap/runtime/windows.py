"""How a box of a stored tensor is read: in runs, one beside the other in a window, gaps that are worth it read over."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from tensormap.runtime.boxes import row_major
from tensormap.runtime.parts import Place

GAP = 4 << 10  # bytes between two runs that are read rather than skipped


Window: TypeAlias = tuple[int, tuple[tuple[int, int], ...], tuple[int, ...]]


def window(place: Place, sizes: tuple[int, ...]) -> Window:
    """Return how a box of one place is read: the bytes of one read, the axes that repeat it, each (size, stride in the file),
    outermost first, and the strides of the box in the window, where those reads lie one after the other.
    """
    return _window(place.item, place.strides, sizes)


@lru_cache(1024)  # one tile is like another
def _window(item: int, moves: tuple[int, ...], sizes: tuple[int, ...]) -> Window:
    order = sorted((stride, axis) for axis, stride in enumerate(moves) if stride and sizes[axis] > 1)
    run = item
    strides = [0] * len(sizes)
    loops: list[tuple[int, int, int]] = []
    for stride, axis in order:
        if not loops and stride - run <= max(GAP, run):
            strides[axis] = stride
            run += (sizes[axis] - 1) * stride
        else:
            loops.append((sizes[axis], stride, axis))
    inner = row_major([size for size, _, _ in reversed(loops)], run)
    for (_, _, axis), stride in zip(reversed(loops), inner, strict=True):
        strides[axis] = stride
    return run, tuple((size, stride) for size, stride, _ in reversed(loops)), tuple(strides)
