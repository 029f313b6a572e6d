"""Blocks of a layout, held against counting positions one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tensormap.language import layout as axes
from tensormap.language.layout import Atom, Layout, Leaf, Node, Product, Rest, Sum
from tensormap.language.polynomial import Polynomial

SIZES = {"a": 2, "b": 3, "c": 4, "d": 5}


def _leaf(name: str, tag: str | None = None, per: int = 1) -> Leaf:
    size = Polynomial.number(int(name)) if name.isdigit() else Polynomial.dimension(name.rstrip("'"))
    return Leaf(Atom(name, size), per, tag)


def _sum(*summands: tuple[Node, ...], tag: str | None = None) -> Sum:
    return Sum(tuple(Product(each) for each in summands), tag)


A, B, C, D = map(_leaf, "abcd")

LAYOUTS = {
    "[a b]": Layout((A, B)),
    "[(a b)]": Layout((_sum((A, B)),)),
    "[(a b c)]": Layout((_sum((A, B, C)),)),
    "[(a + b)]": Layout((_sum((A,), (B,)),)),
    "[(a + b) (c + d)]": Layout((_sum((A,), (B,)), _sum((C,), (D,)))),
    "[(a b + c) d]": Layout((_sum((A, B), (C,)), D)),
    "[(a (b + c))]": Layout((_sum((A, _sum((B,), (C,)))),)),
    "[((a + b) c)]": Layout((_sum((_sum((A,), (B,)), C)),)),
    "[((a + b) (c + d))]": Layout((_sum((_sum((A,), (B,)), _sum((C,), (D,)))),)),
    "[(a + b + c + d)]": Layout((_sum((A,), (B,), (C,), (D,)),)),
    "[(a (b + (c + d)))]": Layout((_sum((A, _sum((B,), (_sum((C,), (D,)),)))),)),
    "[(a 3) (1 b)]": Layout((_sum((A, _leaf("3"))), _sum((_leaf("1"), B)))),
    "[]": Layout(()),
}


def _counted(node: Node | Product, start: int) -> tuple[list[list[tuple[dict[str, int], int]]], int]:
    """List the choices of an axis, each as the positions of its atoms with the axis's own position; and the axis's length."""
    match node:
        case Leaf(atom=atom):
            count = atom.size.evaluate(SIZES)
            held = [({atom.name: k} if count != 1 else {}, start + k) for k in range(count)]
            return [held], count
        case Sum(summands=summands):
            found, length = [], 0
            for each in summands:
                choices, more = _counted(each, start + length)
                found += choices
                length += more
            return found, length
        case Product(factors=()):
            return [[({}, start)]], 1
        case Product(factors=(head, *tail)):
            inner, length = _counted(Product(tuple(tail)), 0)
            outer, count = _counted(head, 0)
            joined = [
                [(one | other, start + at * length + by) for (one, at), (other, by) in product(first, rest)]
                for first in outer
                for rest in inner
            ]
            return joined, count * length
    raise AssertionError(node)


@pytest.mark.parametrize("name", LAYOUTS)
def test_blocks_lie_where_counting_says(name: str) -> None:
    layout = LAYOUTS[name]
    counted = [_counted(axis, 0) for axis in layout.axes]
    expected = list(product(*(choices for choices, _ in counted)))
    found = axes.blocks(layout)
    assert len(found) == len(expected)
    covered = np.zeros([length for _, length in counted], np.int64)
    for block, choice in zip(found, expected, strict=True):
        for axis, held, (_, length) in zip(block.axes, choice, counted, strict=True):
            assert axis.size.evaluate(SIZES) == length
            for positions, at in held:
                moved = sum(place.stride.evaluate(SIZES) * positions[place.atom.name] for place in axis.places)
                assert axis.offset.evaluate(SIZES) + moved == at
        covered[np.ix_(*([at for _, at in held] for held in choice))] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_extent_is_no_less_than_what_is_made(name: str) -> None:
    """The bound that keeps hostile mappings small counts at least every piece of every block."""
    layout = LAYOUTS[name]
    made = axes.blocks(layout)
    pieces = sum(1 + len(block.axes) + len(block.atoms) for block in made)
    assert len(made) <= axes.extent(layout)
    assert pieces <= 4 * axes.extent(layout)


@pytest.mark.parametrize(
    ("layout", "extent"),
    [
        (Layout(()), 1 * (1 + 1)),
        (Layout((A,)), 1 * (2 + 2)),
        (Layout((A, Rest())), 1 * (3 + 3)),
        (Layout((_sum((A,), (B,)),)), 2 * (2 + 3)),
        (Layout((_sum((A, B)),)), 1 * (3 + 2)),
        (Layout((_sum((A,), (B, C)),)), 2 * (3 + 3)),
        (Layout((_sum((_sum((A,), (B,)), _sum((C,), (D,)))),)), 4 * (3 + 5)),
        (Layout((Leaf(A.atom, 128),)), 1 * (2 + 2)),
    ],
)
def test_extent(layout: Layout, extent: int) -> None:
    assert axes.extent(layout) == extent


def test_tags_come_in_order_of_appearance() -> None:
    layout = Layout((_sum((_leaf("a", "q"),), (_leaf("b", "k"),), tag="w"), _leaf("c", "v")))
    assert [each.tags for each in axes.blocks(layout)] == [("w", "q", "v"), ("w", "k", "v")]


def test_what_a_block_holds() -> None:
    layout = Layout((_sum((A, _leaf("1")), (B,)), Rest(), C))
    one, other = axes.blocks(layout)
    assert [atom.name for atom in one.atoms] == ["a", "c"]
    assert [atom.name for atom in other.atoms] == ["b", "c"]
    assert one.has_rest
    assert not axes.blocks(Layout((A,)))[0].has_rest
    assert [axis.rest for axis in one.axes] == [False, True, False]
    assert [atom.name for atom in axes.atoms(layout)] == ["a", "1", "b", "c"]


def test_an_axis_of_groups() -> None:
    leaf = Leaf(A.atom, 128)
    assert str(axes.size(leaf)) == "ceil(a / 128)"
    (block,) = axes.blocks(Layout((leaf,)))
    assert [place.per for place in block.axes[0].places] == [128]
    (block,) = axes.blocks(Layout((_sum((leaf, B)),)))
    assert [place.per for place in block.axes[0].places] == [128, 1]


STAGES = Leaf(Atom("l", Polynomial.dimension("stages[p]"), "p"))
INDEX = Leaf(Atom("p", Polynomial.dimension("n")))


def test_sizes_that_depend_on_a_position_are_summed() -> None:
    inner = Polynomial.dimension("stages[p]")
    layout = Layout((_sum((INDEX, STAGES)), B))
    assert axes.ragged_sums(layout) == (("p", inner),)
    assert axes.size(layout.axes[0]) == Polynomial.dimension(axes.ragged_total("p", inner))
    (block,) = axes.blocks(layout)
    assert [(place.atom.name, place.ragged) for place in block.axes[0].places] == [("p", True), ("l", False)]
    wide = Layout((_sum((INDEX, STAGES, B)),))
    assert axes.ragged_sums(wide) == (("p", inner * Polynomial.dimension("b")),)
    around = Layout((_sum((C, INDEX, STAGES)),))
    assert axes.ragged_sums(around) == (("p", inner),)
    total = Polynomial.dimension(axes.ragged_total("p", inner))
    assert axes.size(around.axes[0]) == Polynomial.dimension("c") * total
    (block,) = axes.blocks(around)
    assert [place.ragged for place in block.axes[0].places] == [False, True, False]
    assert block.axes[0].places[0].stride == total
    assert axes.ragged_sums(Layout((_sum((STAGES, INDEX)),))) == ()
