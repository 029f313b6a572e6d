"""From a pair of blocks to boxes: sizes, and for every tensor an offset and strides, at given dimensions.

What depends on the positions of indices in names is kept as one coefficient per index, so that a family of ten thousand tensors
is worked out once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from tensormap.diagnostics import Diagnostic, MappingError
from tensormap.language.layout import AxisBlock, Block, Place
from tensormap.lowering.known import Known


class Placed(NamedTuple):
    """One tensor's part: element offset at position 0 of all indices, a stride for each axis of the box, and what each index in
    names adds to the offset.
    """

    offset: int
    strides: tuple[int, ...]
    coefficients: tuple[tuple[str, int], ...]


class Boxed(NamedTuple):
    """A box over several tensors, the written one first."""

    sizes: tuple[int, ...]
    parts: tuple[Placed, ...]
    elements: int


@dataclass(frozen=True, slots=True)
class Form:
    """The shape and strides that a tensor of a family has; the strides are row-major unless the file says otherwise."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a tensor without gaps."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def box(
    blocks: Sequence[Block | None],
    forms: Sequence[Form | None],
    order: Block,
    rest: tuple[int, ...],
    fixed: Iterable[str],
    known: Known,
    positions: Map[str, int],
) -> tuple[Boxed, ...]:
    """Return the boxes of one pair of blocks.

    `blocks` and `forms` describe the tensors, the written one first; a block of None is a generated tensor, row-major over the
    atoms of `order`. `fixed` are the indices that names fix. Several boxes come out only where `o/128` leaves a remainder.
    """
    held = set(fixed)
    sizes: dict[str, int] = {}
    pers: dict[str, int] = {}
    for one in (order, *(each for each in blocks if each is not None)):
        for axis in one.axes:
            for place in axis.places:
                name = place.atom.name
                if name not in sizes:
                    sizes[name] = _size(place, known, positions)
                if place.per > 1 and pers.setdefault(name, place.per) != place.per:
                    message = f"`{name}` is counted in groups of {pers[name]} and of {place.per} in one rule"
                    raise MappingError(Diagnostic("bad-layout", message))
    names = [name for name in _names(order, rest) if name not in held]
    for block in blocks:
        if block is not None:
            names.extend(name for name in _names(block, rest) if name not in held and name not in names)
    for k, size in enumerate(rest):
        sizes[_rest_name(k)] = size
    parts = [
        _generated(order, rest, held, sizes) if block is None else _place(block, form, rest, known, positions)
        for block, form in zip(blocks, forms, strict=True)
    ]
    for name, per in tuple(pers.items()):
        if all(part.pers.get(name) == per for part in parts if name in part.strides):
            sizes[name] = -(-sizes[name] // per)  # in groups everywhere: what moves is the groups
            del pers[name]
    return tuple(_split(names, sizes, pers, parts, held))


def _rest_name(k: int) -> str:
    return f"...{k}"


def _names(block: Block, rest: tuple[int, ...]) -> list[str]:
    names: list[str] = []
    for axis in block.axes:
        if axis.rest:
            names.extend(_rest_name(k) for k in range(len(rest)))
        names.extend(place.atom.name for place in axis.places)
    return list(dict.fromkeys(names))


def _size(place: Place, known: Known, positions: Map[str, int]) -> int:
    value = known.size(place.atom.size, positions)
    assert value is not None, place.atom.name
    return value


@dataclass(frozen=True, slots=True)
class _Part:
    offset: int
    strides: Map[str, int]
    pers: Map[str, int]
    ragged: bool = False


def _place(block: Block, form: Form | None, rest: tuple[int, ...], known: Known, positions: Map[str, int]) -> _Part:
    assert form is not None
    offset = 0
    strides: dict[str, int] = {}
    pers: dict[str, int] = {}
    at = 0
    for axis in block.axes:
        if axis.rest:
            for k in range(len(rest)):
                strides[_rest_name(k)] = form.strides[at + k]
            at += len(rest)
            continue
        step = form.strides[at]
        offset += step * _value(axis, known, positions)
        for place in axis.places:
            name = place.atom.name
            if place.ragged:
                before = known.before(name, place.stride, positions[name])
                assert before is not None
                offset += step * before
                strides[name] = 0
                continue
            stride = known.size(place.stride, positions)
            assert stride is not None
            if place.per > 1 and name in positions:  # an index that names fix: which group it is in
                offset += step * stride * (positions[name] // place.per)
                strides[name] = 0
                continue
            strides[name] = step * stride
            if place.per > 1:
                pers[name] = place.per
        at += 1
    return _Part(offset, strides, pers)


def _value(axis: AxisBlock, known: Known, positions: Map[str, int]) -> int:
    value = known.size(axis.offset, positions)
    assert value is not None
    return value


def _generated(order: Block, rest: tuple[int, ...], held: set[str], sizes: Map[str, int]) -> _Part:
    names = _names(order, rest)
    steps = row_major([sizes[name] for name in names])
    return _Part(0, {name: step for name, step in zip(names, steps, strict=True) if name not in held}, {})


def _split(
    names: list[str], sizes: Map[str, int], pers: Map[str, int], parts: list[_Part], held: set[str]
) -> Iterable[Boxed]:
    """Take apart every atom that a tensor counts in groups: whole groups, then what is left."""
    variants: list[list[tuple[str, int, int, int]]] = [[]]  # (name, start, groups, per); groups 0: no grouping
    for name in names:
        per = pers.get(name, 1)
        size = sizes[name]
        if per == 1:
            variants = [[*each, (name, 0, 0, size)] for each in variants]
            continue
        whole, left = divmod(size, per)
        options: list[tuple[str, int, int, int]] = []
        if whole:
            options.append((name, 0, whole, per))
        if left:
            options.append((name, whole * per, 1, left))
        variants = [[*each, option] for each in variants for option in options]
    for variant in variants:
        yield _box(variant, parts, held, pers)


def _box(variant: list[tuple[str, int, int, int]], parts: list[_Part], held: set[str], pers: Map[str, int]) -> Boxed:
    box_sizes: list[int] = []
    for _, _, groups, size in variant:
        if groups:
            box_sizes.append(groups)
        box_sizes.append(size)
    placed: list[Placed] = []
    for part in parts:
        offset = part.offset
        strides: list[int] = []
        for name, start, groups, _size_in in variant:
            stride = part.strides.get(name, 0)
            grouped = name in part.pers
            if groups:
                per = pers[name]
                offset += stride * (start // per if grouped else start)
                strides.append(stride if grouped else stride * per)
                strides.append(0 if grouped else stride)
            else:
                strides.append(stride)
        coefficients = tuple((name, part.strides[name]) for name in part.strides if name in held and part.strides[name])
        placed.append(Placed(offset, tuple(strides), coefficients))
    return Boxed(*_merge(tuple(box_sizes), placed), prod(box_sizes))


def _merge(sizes: tuple[int, ...], placed: list[Placed]) -> tuple[tuple[int, ...], tuple[Placed, ...]]:
    """Drop axes of size one, order by the written tensor, and join axes that are one run in every tensor."""
    axes = [(size, tuple(part.strides[k] for part in placed)) for k, size in enumerate(sizes) if size != 1]
    axes.sort(key=lambda axis: -axis[1][0])
    merged: list[tuple[int, tuple[int, ...]]] = []
    for size, strides in axes:
        if merged:
            above, outer = merged[-1]
            if all(a == b * size for a, b in zip(outer, strides, strict=True)):
                merged[-1] = (above * size, strides)
                continue
        merged.append((size, strides))
    shape = tuple(size for size, _ in merged)
    parts = tuple(
        Placed(part.offset, tuple(strides[k] for _, strides in merged), part.coefficients)
        for k, part in enumerate(placed)
    )
    return shape, parts
