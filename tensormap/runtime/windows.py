"""How a box of a stored tensor is read: in runs, one beside the other in a window, gaps that are worth it read over."""

from __future__ import annotations

from tensormap.runtime.boxes import row_major
from tensormap.runtime.parts import Place

GAP = 4 << 10  # bytes between two runs that are read rather than skipped


def window(place: Place, sizes: tuple[int, ...]) -> tuple[int, list[tuple[int, int]], tuple[int, ...]]:
    """Return how a box of one place is read: the bytes of one read, the axes that repeat it, each (size, stride in the file),
    outermost first, and the strides of the box in the window, where those reads lie one after the other.
    """
    order = sorted((stride, axis) for axis, stride in enumerate(place.strides) if stride and sizes[axis] > 1)
    run = place.item
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
    return run, [(size, stride) for size, stride, _ in reversed(loops)], tuple(strides)
