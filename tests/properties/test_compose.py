"""Intersecting boxes gives every shared element once, with both payloads, whatever the factors of their axes."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from tensormap.lowering.compose import Axis, Box, intersect


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """A part of a row of elements, taken apart into nested axes, with a payload that counts its elements in another order."""
    rest = draw(st.sampled_from([6, 24, 48, 60]))
    stride = 1
    axes: list[tuple[int, int, int]] = []
    while rest > 1:
        factor = draw(st.sampled_from([each for each in (2, 3, 4, 5, 6, rest) if rest % each == 0]))
        kept = draw(st.integers(1, factor))
        axes.append((kept, stride, draw(st.integers(0, factor - kept)) * stride))
        stride *= factor
        rest //= factor
    steps = [0] * len(axes)
    step = 1
    for k in draw(st.permutations(range(len(axes)))):
        steps[k] = step
        step *= axes[k][0]
    offset = sum(start for _, _, start in axes)
    return Box(offset, (0,), tuple(Axis(size, at, (move,)) for (size, at, _), move in zip(axes, steps, strict=True)))


def _elements(box: Box) -> dict[int, int]:
    found = {}
    for place in product(*(range(axis.size) for axis in box.axes)):
        at = box.offset + sum(k * axis.stride for k, axis in zip(place, box.axes, strict=True))
        found[at] = sum(k * axis.payload[0] for k, axis in zip(place, box.axes, strict=True))
    return found


@given(boxes(), boxes())
def test_shared_elements(one: Box, other: Box) -> None:
    left, right = _elements(one), _elements(other)
    wanted = sorted((left[at], right[at]) for at in left.keys() & right.keys())
    got = []
    for meeting in intersect(one, other):
        got.extend(
            tuple(
                origin[0] + sum(k * payload[0] for k, payload in zip(place, payloads, strict=True))
                for origin, payloads in (meeting.one, meeting.other)
            )
            for place in product(*(range(size) for size in meeting.sizes))
        )
    assert sorted(got) == wanted
