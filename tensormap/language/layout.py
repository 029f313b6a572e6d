"""The axis algebra: how a tensor's axes are built from atomic axes, and the blocks that follow from that.

A layout is a tree of products and sums over atoms. Choosing one summand in every sum gives a block: a box over atoms, placed
in the tensor by an affine map, an offset and one stride per atom in each axis. Sizes are polynomials, so that what holds
here holds for every size. Knows nothing of names, rules or numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from tensormap.diagnostics import Span
from tensormap.language.polynomial import Polynomial

ONE = Polynomial.number(1)
ZERO = Polynomial.number(0)


@dataclass(frozen=True, slots=True)
class Atom:
    """An axis that is not taken apart. Its `name` is its identity inside a block; `of` is the index its size depends on."""

    name: str
    size: Polynomial
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """One atom in a layout; `per` counts how many consecutive positions of the atom share one element (`o/128`)."""

    atom: Atom
    per: int = 1
    tag: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Rest:
    """`...`: the axes that are not named."""

    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Product:
    """Axes side by side, first one slowest."""

    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """Summands one behind the other; a single one is a product axis."""

    summands: tuple[Product, ...]
    tag: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


Node: TypeAlias = Leaf | Rest | Sum


@dataclass(frozen=True, slots=True)
class Layout:
    """The axes of one tensor."""

    axes: tuple[Node, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


REST = Layout((Rest(),))
"""What an omitted layout means."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an atom stands in an axis: each step of it moves by `stride`. With `ragged`, `stride` is the size of what stands
    behind the atom at each of its positions, and its offset is the sum over the positions before.
    """

    atom: Atom
    stride: Polynomial
    per: int = 1
    ragged: bool = False


@dataclass(frozen=True, slots=True)
class AxisBlock:
    """A block's part in one axis of its tensor. `rest` stands for the axes of `...`, then nothing else is set."""

    size: Polynomial  # of the whole axis
    offset: Polynomial
    places: tuple[Place, ...]
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """One choice of summands: tags in order of appearance, and its part in each axis."""

    tags: tuple[str, ...]
    axes: tuple[AxisBlock, ...]

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """The atoms in order of appearance, ones left out."""
        return tuple(place.atom for axis in self.axes for place in axis.places)

    @property
    def has_rest(self) -> bool:
        return any(axis.rest for axis in self.axes)


def ragged_total(index: str, inner: Polynomial) -> str:
    """Name the dimension that is the sum of `inner` over all positions of `index`."""
    return f"sum over {index} of {inner}"


def size(node: Node | Product) -> Polynomial:
    """Return how many positions an axis has."""
    match node:
        case Leaf(atom=atom, per=per):
            return atom.size if per == 1 else Polynomial.dimension(quotient(atom, per))
        case Rest():
            raise ValueError("`...` has no size of its own")
        case Sum(summands=summands):
            total = ZERO
            for each in summands:
                total = total + size(each)
            return total
        case Product(factors=factors):
            return _product_size(factors)


def quotient(atom: Atom, per: int) -> str:
    """Name the dimension that is an atom's size divided by `per`, rounded up."""
    return f"ceil({atom.size} / {per})"


def _product_size(factors: tuple[Node, ...]) -> Polynomial:
    total = ONE
    for position in range(len(factors) - 1, -1, -1):
        each = factors[position]
        if isinstance(each, Leaf) and _depends(total, each.atom.name):
            total = Polynomial.dimension(ragged_total(each.atom.name, total))
        else:
            total = size(each) * total
    return total


def _depends(inner: Polynomial, index: str) -> bool:
    """Say whether a size holds a dimension such as `stages[p]` for this index."""
    return any(name.endswith(f"[{index}]") for name in inner.dimensions)


def ragged_sums(layout: Layout) -> tuple[tuple[str, Polynomial], ...]:
    """List the (index, inner size) of every sum over positions in a layout."""
    found: list[tuple[str, Polynomial]] = []

    def visit(node: Node | Product) -> None:
        match node:
            case Sum(summands=summands):
                for each in summands:
                    visit(each)
            case Product(factors=factors):
                inner = ONE
                for factor in reversed(factors):
                    visit(factor)
                    if isinstance(factor, Leaf) and _depends(inner, factor.atom.name):
                        found.append((factor.atom.name, inner))
                        inner = Polynomial.dimension(ragged_total(factor.atom.name, inner))
                    elif not isinstance(factor, Rest):
                        inner = size(factor) * inner
            case _:
                pass

    for axis in layout.axes:
        visit(axis)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Choice:
    tags: tuple[str, ...]
    offset: Polynomial
    places: tuple[Place, ...]


def _choices(node: Node | Product) -> Iterator[_Choice]:
    """Yield the choices of one axis in row-major order, strides counted in the axis's own positions."""
    match node:
        case Leaf(atom=atom, per=per, tag=tag):
            tags: tuple[str, ...] = (tag,) if tag else ()
            single = atom.name == "1"  # a name is an axis, whatever its size
            yield _Choice(tags, ZERO, () if single else (Place(atom, ONE, per),))
        case Sum(summands=summands, tag=tag):
            offset = ZERO
            for summand in summands:
                for choice in _choices(summand):
                    tags = ((tag,) if tag else ()) + choice.tags
                    yield _Choice(tags, offset + choice.offset, choice.places)
                offset = offset + size(summand)
        case Product(factors=factors):
            yield from _product_choices(factors)
        case Rest():
            raise ValueError("`...` stands only as an axis of its own")


def _product_choices(factors: tuple[Node, ...]) -> Iterator[_Choice]:
    if not factors:
        yield _Choice((), ZERO, ())
        return
    head, tail = factors[0], factors[1:]
    inner = _product_size(tail)
    ragged = isinstance(head, Leaf) and _depends(inner, head.atom.name)
    for first in _choices(head):
        for rest in _product_choices(tail):
            places = tuple(Place(p.atom, p.stride * inner, p.per, ragged or p.ragged) for p in first.places)
            yield _Choice(first.tags + rest.tags, first.offset * inner + rest.offset, places + rest.places)


def extent(layout: Layout) -> int:
    """Return how much `blocks` makes of a layout, without making it: the pieces of its blocks, and the terms of their sizes."""
    ways, longest, terms = 1, 1, 1
    for axis in layout.axes:
        each = _extent(axis)
        ways, longest, terms = ways * each[0], longest + each[1], terms + each[2]
    return ways * (longest + terms)


def _extent(node: Node | Product) -> tuple[int, int, int]:
    """Return how many choices an axis has, how many atoms one of them has, and how many terms its size."""
    match node:
        case Leaf(atom=atom, per=per):
            return 1, 1, len(atom.size.terms) if per == 1 else 1
        case Sum(summands=summands):
            parts = [_extent(each) for each in summands]
            return sum(each[0] for each in parts), max(each[1] for each in parts), sum(each[2] for each in parts)
        case Product(factors=factors):
            ways, longest, terms = 1, 0, 1
            for factor in factors:
                each = _extent(factor)
                ways, longest, terms = ways * each[0], longest + each[1], terms * each[2]
            return ways, longest, terms
        case Rest():
            return 1, 1, 1


@lru_cache(maxsize=512)  # most tensors of a mapping have one of a few layouts
def blocks(layout: Layout) -> tuple[Block, ...]:
    """List a layout's blocks in row-major order of the choices: `[(a + b) (c + d)]` gives ac, ad, bc, bd."""
    found: list[tuple[tuple[str, ...], tuple[AxisBlock, ...]]] = [((), ())]
    for axis in layout.axes:
        if isinstance(axis, Rest):
            found = [(tags, (*axes, AxisBlock(ZERO, ZERO, (), rest=True))) for tags, axes in found]
            continue
        total = size(axis)
        choices = tuple(_choices(axis))
        found = [
            (tags + choice.tags, (*axes, AxisBlock(total, choice.offset, choice.places)))
            for tags, axes in found
            for choice in choices
        ]
    return tuple(Block(tags, axes) for tags, axes in found)


def leaves(layout: Layout) -> Iterator[Leaf]:
    """Yield every leaf of a layout, in order of appearance."""

    def visit(node: Node | Product) -> Iterator[Leaf]:
        match node:
            case Leaf():
                yield node
            case Sum(summands=children):
                for each in children:
                    yield from visit(each)
            case Product(factors=factors):
                for factor in factors:
                    yield from visit(factor)
            case Rest():
                pass

    for axis in layout.axes:
        yield from visit(axis)


def atoms(layout: Layout) -> tuple[Atom, ...]:
    """List every atom of a layout once, in order of appearance."""
    seen: dict[str, Atom] = {}
    for leaf in leaves(layout):
        seen.setdefault(leaf.atom.name, leaf.atom)
    return tuple(seen.values())
