"""Which indices move a pair of blocks: at other positions of theirs, tensors have other shapes or blocks lie elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tensormap.language.layout import Layout, Place, Rest
from tensormap.language.layout import size as axis_size
from tensormap.language.pairing import Pair
from tensormap.lowering.known import Known


def moving(each: Pair, layouts: Iterable[Layout], known: Known) -> frozenset[str]:
    """Return the indices at whose positions a tensor of a pair has another shape, or its blocks another place."""
    axes = [axis for layout in layouts for axis in layout.axes if not isinstance(axis, Rest)]
    sizes = [axis_size(axis) for axis in axes]
    for block in (*each.left.operands, *each.right.operands):
        sizes += [size for axis in block.axes for size in (axis.size, axis.offset)]
    for place in _places(each):
        sizes += [place.stride, place.atom.size]
    return frozenset().union(*map(known.moving, sizes), uneven(each), _grouped(each))


def uneven(each: Pair) -> tuple[str, ...]:
    """List the indices of a pair at whose positions what stands behind them has different sizes."""
    return tuple(dict.fromkeys(place.atom.name for place in _places(each) if place.ragged))


def _places(each: Pair) -> Iterator[Place]:
    for block in (*each.left.operands, *each.right.operands):
        for axis in block.axes:
            yield from axis.places


def _grouped(each: Pair) -> tuple[str, ...]:
    """List the atoms of which several positions share one element somewhere."""
    return tuple(dict.fromkeys(place.atom.name for place in _places(each) if place.per > 1))
