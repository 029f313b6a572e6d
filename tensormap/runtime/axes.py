"""Tensors taken apart along their layouts, and put together along others, by einops: products are rearranged, sums are sliced
and joined, indices are chosen and stacked.

A second way to do what `lowering.boxes` works out with offsets and strides; shares nothing with it. Works on arrays of any
framework that einops knows, and never looks at an element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from tensormap.language.layout import Atom, Layout, Leaf, Node, Product, Rest, Sum
from tensormap.language.polynomial import Polynomial

Path: TypeAlias = tuple[int, ...]
"""Which summand is chosen in each sum that is met, from left to right, outside in."""

Place: TypeAlias = Map[str, int]
Size: TypeAlias = Callable[[Node | Product, Place], int]


class Loose(Exception):
    """Axes of a piece have no place in the tensor it goes to."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One block of a tensor. Each axis has an atom's name, and how many positions of the atom share one of its own."""

    array: Any
    axes: tuple[tuple[str, int], ...]


def nodes_of(layout: Layout, rest: tuple[int, ...]) -> tuple[Node, ...]:
    """Return a layout's axes, `...` replaced by axes of these sizes."""
    unnamed = tuple(Leaf(Atom(f"...{k}", Polynomial.number(size))) for k, size in enumerate(rest))
    nodes: list[Node] = []
    for axis in layout.axes:
        nodes.extend(unnamed if isinstance(axis, Rest) else (axis,))
    return tuple(nodes)


def paths(nodes: tuple[Node | Product, ...]) -> Iterator[Path]:
    """Yield the choice that makes each block, in the order of the blocks."""
    for at, node in enumerate(nodes):
        match node:
            case Sum(summands=(Product(factors=factors),)) | Product(factors=factors):
                yield from paths((*factors, *nodes[at + 1 :]))
                return
            case Sum(summands=summands):
                for k, summand in enumerate(summands):
                    yield from ((k, *path) for path in paths((summand, *nodes[at + 1 :])))
                return
            case _:
                pass
    yield ()


def take(array: Any, nodes: tuple[Node, ...], path: Path, place: Place, size: Size) -> Piece:
    """Return the block of an array that `path` chooses, at the positions that `place` gives to some of its atoms.

    >>> take(np.arange(12).reshape(6, 2), nodes_of(layout_of("[((a b) + c) e]"), ()), (0,), {"b": 1}, size).axes
    (('a', 1), ('e', 1))
    """
    left = list(nodes)
    chosen = iter(path)
    axes: list[tuple[str, int]] = []
    while len(axes) < len(left):
        at = len(axes)
        match left[at]:
            case Leaf(atom=atom, per=per):
                if atom.name in place or atom.size.value == 1:
                    array = array[(*_whole(at), place.get(atom.name, 0) // per, ...)]
                    del left[at]
                else:
                    axes.append((atom.name, per))
            case Sum(summands=(Product(factors=factors),)):
                array, left[at : at + 1] = _factored(array, at, factors, place, size)
            case Sum(summands=summands):
                number = next(chosen)
                start = sum(size(each, place) for each in summands[:number])
                array = array[(*_whole(at), slice(start, start + size(summands[number], place)))]
                left[at] = Sum((summands[number],))
            case Rest():
                raise AssertionError("`...` has been replaced")
    return Piece(array, tuple(axes))


def _whole(count: int) -> tuple[slice, ...]:
    return (slice(None),) * count


def _factored(array: Any, at: int, factors: tuple[Node, ...], place: Place, size: Size) -> tuple[Any, tuple[Node, ...]]:
    """Split the first factor of a product off, as an axis of its own."""
    if len(factors) <= 1:
        return (array, factors) if factors else (array[(*_whole(at), 0, ...)], ())
    head, tail = factors[0], Sum((Product(factors[1:]),))
    uneven = uneven_over(factors)
    if uneven is not None:
        if uneven not in place:
            raise Loose(uneven)
        start = sum(size(tail, {**place, uneven: k}) for k in range(place[uneven]))
        return array[(*_whole(at), slice(start, start + size(tail, place)))], (tail,)
    sizes = {"head": size(head, place), "tail": size(tail, place)}
    return _rearrange(array, _split_pattern(array.ndim, at), sizes), (head, tail)


def uneven_over(factors: tuple[Node, ...]) -> str | None:
    """Return the name of a product's first factor if what stands behind it has another size at each of its positions."""
    head = factors[0]
    if not isinstance(head, Leaf):
        return None
    name = head.atom.name
    return name if any(f"[{name}]" in text for each in factors[1:] for text in _dimensions(each)) else None


def _dimensions(node: Node | Product) -> Iterator[str]:
    match node:
        case Leaf(atom=atom):
            yield from atom.size.dimensions
        case Sum(summands=many) | Product(factors=many):
            for each in many:
                yield from _dimensions(each)
        case Rest():
            pass


def bring(piece: Piece, nodes: Sequence[Leaf], place: Place, size: Size) -> Any:
    """Bring a piece's axes into the order of `nodes`; an axis that it lacks repeats it. Raises Loose."""
    array = piece.array
    wanted = {node.atom.name: node for node in nodes}
    for at, (name, per) in enumerate(piece.axes):
        if name not in wanted or wanted[name].per not in (1, per):
            raise Loose(name)
        if wanted[name].per != per:  # `o/128` beside `o`: each number for the next 128, the last ones may be fewer
            array = _repeat(array, _spread_pattern(array.ndim, at), {"per": per})
            array = array[(*_whole(at), slice(0, size(wanted[name], place)))]
    names = [name for name, _ in piece.axes]
    order = tuple(names.index(node.atom.name) if node.atom.name in names else -1 for node in nodes)
    missing = {f"n{k}": size(nodes[k], place) for k, each in enumerate(order) if each < 0}
    return _repeat(array, _order_pattern(len(names), order), missing)


def put(
    nodes: tuple[Node, ...], place: Place, size: Size, fetch: Callable[[tuple[Leaf, ...], Path, Place], Any]
) -> Any:
    """Put a tensor together. `fetch` returns a block with one axis for each leaf, at the positions that are given."""
    return _put(nodes, (), place, size, fetch)


def _put(
    nodes: tuple[Node, ...],
    path: Path,
    place: Place,
    size: Size,
    fetch: Callable[[tuple[Leaf, ...], Path, Place], Any],
) -> Any:
    for at, node in enumerate(nodes):
        before, behind = nodes[:at], nodes[at + 1 :]
        match node:
            case Sum(summands=(Product(factors=()),)):
                return _put((*before, ONE, *behind), path, place, size, fetch)
            case Sum(summands=(Product(factors=(head,)),)):
                return _put((*before, head, *behind), path, place, size, fetch)
            case Sum(summands=(Product(factors=factors),)):
                head, tail = factors[0], Sum((Product(factors[1:]),))
                uneven = uneven_over(factors)
                if uneven is not None and uneven not in place:
                    spots = [{**place, uneven: k} for k in range(size(head, place))]
                    return join([_put((*before, tail, *behind), path, spot, size, fetch) for spot in spots], at)
                array = _put((*before, head, tail, *behind), path, place, size, fetch)
                return _rearrange(array, _merge_pattern(array.ndim, at), {})
            case Sum(summands=summands):
                parts = [
                    _put((*before, Sum((each,)), *behind), (*path, k), place, size, fetch)
                    for k, each in enumerate(summands)
                ]
                return join(parts, at)
            case _:
                pass
    return fetch(tuple(node for node in nodes if isinstance(node, Leaf)), path, place)


ONE = Leaf(Atom("1", Polynomial.number(1)))


def join(parts: Sequence[Any], at: int) -> Any:
    """Concatenate arrays along an axis."""
    import einops

    kept = [part for part in parts if 0 not in part.shape] or [parts[0]]
    if len(kept) == 1:
        return kept[0]
    return einops.pack(kept, " ".join("*" if k == at else f"a{k}" for k in range(kept[0].ndim)))[0]


def stack(parts: Sequence[Any], at: int) -> Any:
    """Stack arrays along a new axis."""
    return _rearrange(list(parts), _stack_pattern(parts[0].ndim, at), {})


def _rearrange(array: Any, pattern: str, sizes: Map[str, int]) -> Any:
    import einops

    return einops.rearrange(array, pattern, **sizes)


def _repeat(array: Any, pattern: str, sizes: Map[str, int]) -> Any:
    import einops

    return einops.repeat(array, pattern, **sizes)


def _names(count: int) -> list[str]:
    return [f"a{k}" for k in range(count)]


@cache
def _split_pattern(count: int, at: int) -> str:
    before, behind = _names(count)[:at], _names(count)[at + 1 :]
    return f"{' '.join((*before, '(head tail)', *behind))} -> {' '.join((*before, 'head', 'tail', *behind))}"


@cache
def _merge_pattern(count: int, at: int) -> str:
    names = _names(count)
    merged = (*names[:at], f"({names[at]} {names[at + 1]})", *names[at + 2 :])
    return f"{' '.join(names)} -> {' '.join(merged)}"


@cache
def _spread_pattern(count: int, at: int) -> str:
    names = _names(count)
    return f"{' '.join(names)} -> {' '.join((*names[:at], f'({names[at]} per)', *names[at + 1 :]))}"


@cache
def _stack_pattern(count: int, at: int) -> str:
    names = _names(count)
    return f"new {' '.join(names)} -> {' '.join((*names[:at], 'new', *names[at:]))}"


@cache
def _order_pattern(count: int, order: tuple[int, ...]) -> str:
    names = _names(count)
    return f"{' '.join(names)} -> {' '.join(names[each] if each >= 0 else f'n{k}' for k, each in enumerate(order))}"
