"""Intersect two boxes in one flat row of elements, so that two equations with a virtual tensor between them become one.

A box is an offset and axes; each axis has a size, a stride in the row, and the strides of whatever else moves along with it (its
payload). Boxes come from tensors, so their axes nest: what lies inside one step of an axis never reaches the next step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Payload = tuple[int, ...]
LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Axis:
    size: int
    stride: int  # in the row
    payload: Payload


@dataclass(frozen=True, slots=True)
class Box:
    """`offset` in the row, `origin` of the payload, axes in any order."""

    offset: int
    origin: Payload
    axes: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Meeting:
    """What two boxes share: sizes, and for each box its payload's origin and strides."""

    sizes: tuple[int, ...]
    one: tuple[Payload, tuple[Payload, ...]]
    other: tuple[Payload, tuple[Payload, ...]]


def intersect(one: Box, other: Box) -> Iterator[Meeting]:
    """Yield the boxes that make up what two boxes share, each with both payloads."""
    if any(axis.size == 0 for axis in (*one.axes, *other.axes)):
        return
    left = replace_axes(one)
    right = replace_axes(other)
    for sizes, (a, b) in _meet(left, right):
        yield Meeting(sizes, (a[0], tuple(a[1])), (b[0], tuple(b[1])))


def replace_axes(box: Box) -> Box:
    """Drop axes of one position and order the others, largest stride first."""
    axes = sorted((axis for axis in box.axes if axis.size > 1), key=lambda axis: -axis.stride)
    return Box(box.offset, box.origin, tuple(axes))


def _span(box: Box) -> int:
    return 1 + sum((axis.size - 1) * axis.stride for axis in box.axes)


def _add(origin: Payload, payload: Payload, times: int) -> Payload:
    return tuple(a + b * times for a, b in zip(origin, payload, strict=True))


_Part = tuple[Payload, list[Payload]]


def _meet(a: Box, b: Box) -> Iterator[tuple[tuple[int, ...], tuple[_Part, _Part]]]:
    if a.offset >= b.offset + _span(b) or b.offset >= a.offset + _span(a):
        return
    if not a.axes and not b.axes:
        if a.offset == b.offset:
            yield (), ((a.origin, []), (b.origin, []))
        return
    top_a = a.axes[0].stride if a.axes else 0
    top_b = b.axes[0].stride if b.axes else 0
    if top_a == top_b:
        yield from _same(a, b)
    elif top_a > top_b:
        yield from _split(a, b)
    else:
        for sizes, (one, other) in _split(b, a):
            yield sizes, (other, one)


def _same(a: Box, b: Box) -> Iterator[tuple[tuple[int, ...], tuple[_Part, _Part]]]:
    """Both step by the same stride: their insides meet at one of two shifts."""
    head_a, head_b = a.axes[0], b.axes[0]
    stride = head_a.stride
    quotient, rest = divmod(b.offset - a.offset, stride)
    for shift, inside in ((quotient, rest), (quotient + 1, rest - stride)):
        first = max(0, shift)
        count = min(head_a.size, head_b.size + shift) - first
        if count <= 0:
            continue
        inner_a = Box(0, _add(a.origin, head_a.payload, first), a.axes[1:])
        inner_b = Box(inside, _add(b.origin, head_b.payload, first - shift), b.axes[1:])
        for sizes, (one, other) in _meet(inner_a, inner_b):
            if count == 1:
                yield sizes, (one, other)
            else:
                yield (
                    (count, *sizes),
                    ((one[0], [head_a.payload, *one[1]]), (other[0], [head_b.payload, *other[1]])),
                )


def _split(a: Box, b: Box) -> Iterator[tuple[tuple[int, ...], tuple[_Part, _Part]]]:
    """`a` steps by more than `b`: cut the outermost axis of `b` where the steps of `a` begin."""
    head = a.axes[0]
    stride = head.stride
    if b.axes and _span(b) > stride and stride % b.axes[0].stride == 0:
        outer = b.axes[0]
        per = stride // outer.stride
        lead = (-(b.offset - a.offset)) % stride
        first = min(outer.size, -(-lead // outer.stride))
        groups = (outer.size - first) // per
        if groups > 0 and (groups > 1 or first + groups * per < outer.size or first > 0 or per < outer.size):
            yield from _slice(a, b, 0, first)
            middle = Box(
                b.offset + first * outer.stride,
                _add(b.origin, outer.payload, first),
                (
                    Axis(groups, stride, tuple(each * per for each in outer.payload)),
                    Axis(per, outer.stride, outer.payload),
                    *b.axes[1:],
                ),
            )
            yield from _meet(a, middle if groups > 1 else replace_axes(middle))
            yield from _slice(a, b, first + groups * per, outer.size)
            return
    low = max(0, -(-(b.offset - a.offset - (_span(a) - 1 - (head.size - 1) * stride)) // stride))
    high = min(head.size - 1, (b.offset + _span(b) - 1 - a.offset) // stride)
    if high - low + 1 > LIMIT:
        raise ValueError("the two layouts of this virtual tensor have too few borders in common")
    for k in range(low, high + 1):
        inner = Box(a.offset + k * stride, _add(a.origin, head.payload, k), a.axes[1:])
        yield from _meet(inner, b)


def _slice(a: Box, b: Box, start: int, stop: int) -> Iterator[tuple[tuple[int, ...], tuple[_Part, _Part]]]:
    """Meet `a` with the positions `start` to `stop` of the outermost axis of `b`."""
    if stop <= start:
        return
    outer = b.axes[0]
    axes = b.axes[1:] if stop - start == 1 else (Axis(stop - start, outer.stride, outer.payload), *b.axes[1:])
    part = Box(b.offset + start * outer.stride, _add(b.origin, outer.payload, start), axes)
    head = a.axes[0]
    low = max(0, -(-(part.offset - a.offset - (_span(a) - 1 - (head.size - 1) * head.stride)) // head.stride))
    high = min(head.size - 1, (part.offset + _span(part) - 1 - a.offset) // head.stride)
    for k in range(low, high + 1):
        inner = Box(a.offset + k * head.stride, _add(a.origin, head.payload, k), a.axes[1:])
        yield from _meet(inner, part)
