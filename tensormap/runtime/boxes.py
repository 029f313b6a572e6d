"""Boxes: integer arithmetic on sizes and strides. Knows neither bytes on disk nor numpy.

A box is a list of axes, each with a size and one stride for each region it lies in; strides here count bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def row_major(shape: Sequence[int], step: int = 1) -> tuple[int, ...]:
    """Return the strides of a tensor without gaps whose last axis moves by `step`."""
    strides: list[int] = []
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def is_contiguous(sizes: Sequence[int], strides: Sequence[int], item: int) -> bool:
    """Tell whether the box's elements, in row-major order, lie side by side."""
    expected = item
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def extent(sizes: Sequence[int], strides: Sequence[int], item: int) -> int:
    """Return how many bytes lie between a box's first byte and the end of its last element. No size may be 0."""
    return item + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))


def canonical(
    sizes: Sequence[int], regions: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Drop axes of size 1, order the axes by the first region's strides, largest first, and merge those that are contiguous in
    every region. At least one axis remains, if only one of size 1.

    >>> canonical((4, 1, 8), ((8, 0, 1), (16, 0, 2)))
    ((32,), ((1,), (2,)))
    """
    axes = [(size, *strides) for size, *strides in zip(sizes, *regions, strict=True) if size != 1]
    axes.sort(key=lambda axis: (-axis[1], -axis[0]))
    merged: list[tuple[int, ...]] = []
    for axis in axes:
        size = axis[0]
        if merged and all(outer == size * inner for outer, inner in zip(merged[-1][1:], axis[1:], strict=True)):
            merged[-1] = (merged[-1][0] * size, *axis[1:])
        else:
            merged.append(axis)
    if not merged:
        return (1,), ((1,),) * len(regions)
    columns = tuple(zip(*merged, strict=True))
    return columns[0], columns[1:]


def contiguous_run(sizes: Sequence[int], strides: Sequence[int], item: int) -> int:
    """Return how many bytes from the box's start on lie side by side, walking from the last axis outward."""
    run = item
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size != 1:
            if stride != run:
                break
            run *= size
    return run


def common_run(sizes: Sequence[int], regions: Sequence[Sequence[int]], item: int) -> tuple[int, int]:
    """Return how many of the first axes are left, and how many bytes of the others lie side by side in every region."""
    axis, run = len(sizes), item
    while axis and (sizes[axis - 1] == 1 or all(strides[axis - 1] == run for strides in regions)):
        axis -= 1
        run *= sizes[axis]
    return axis, run


def clip(
    sizes: tuple[int, ...], strides: tuple[int, ...], item: int, offset: int, low: int, high: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield the sub-boxes, each as starts and sizes, that hold the elements of a box which lie in bytes `low` to `high`.

    The strides must be nested: each at least the extent of the axes after it, as in a part of a row-major tensor. At most
    two sub-boxes for each axis, and one, come out; `low` and `high` must not cut an element.
    """
    if not sizes:
        if low <= offset < high:
            yield (), ()
        return
    size, stride = sizes[0], strides[0]
    inner = extent(sizes[1:], strides[1:], item)
    first = max(0, -((offset + inner - 1 - low) // stride))  # the first whose last byte is at `low` or after
    last = min(size, -((offset - high) // stride))  # one past the last that starts before `high`
    if first >= last:
        return
    whole_first = max(first, -((offset - low) // stride))
    whole_last = min(last, (high - inner - offset) // stride + 1)
    rest = (0,) * (len(sizes) - 1)
    if whole_first >= whole_last:
        partial = range(first, last)
        whole_first = whole_last = last
    else:
        partial = range(first, whole_first)
    for index in partial:
        for starts, counts in clip(sizes[1:], strides[1:], item, offset + index * stride, low, high):
            yield (index, *starts), (1, *counts)
    if whole_first < whole_last:
        yield (whole_first, *rest), (whole_last - whole_first, *sizes[1:])
    for index in range(whole_last, last):
        for starts, counts in clip(sizes[1:], strides[1:], item, offset + index * stride, low, high):
            yield (index, *starts), (1, *counts)


def starts_of(sizes: Sequence[int], tile: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield where each tile of a box starts, the last axis fastest."""
    if not sizes:
        yield ()
        return
    for head in starts_of(sizes[:-1], tile[:-1]):
        for last in range(0, sizes[-1], tile[-1]):
            yield (*head, last)
