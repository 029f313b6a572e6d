"""One pair of blocks of a rule: which block of which tensors it reads, and what becomes of the numbers."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import TypeAlias

from tensormap.language import mapping as m
from tensormap.language.pairing import Pair, block_atoms, term_blocks
from tensormap.runtime import axes

Place: TypeAlias = Map[str, int]


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor that is read: one of the source's, a virtual one that another rule makes, or one that `function` makes of others.
    `dtype` None: nothing decides it.
    """

    name: str
    tensor: m.Tensor
    place: Place
    shape: tuple[int, ...]
    dtype: str | None
    function: str | None = None
    arguments: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """`paths` choose the block in each of the left term's tensors, or in what an extern makes of them; `target` chooses the one on
    the right. `inner` are the indices that only the left names have, `reduced` the replicated ones among them, `spread` those on
    the right that share a sum.
    """

    rule: m.Rule
    left: m.Content
    right: m.Content
    tensors: tuple[m.Tensor, ...]
    paths: tuple[axes.Path, ...]
    target: axes.Path
    inner: tuple[str, ...]
    reduced: tuple[tuple[str, m.How], ...]
    spread: tuple[str, ...]

    @staticmethod
    def writing(rule: m.Rule, pair: Pair, term: m.Term) -> Link:
        """Return the link that reads the left block of a pair to write the right one."""
        left = rule.left[pair.left.term].content
        here, there = block_atoms(pair.left, left), block_atoms(pair.right, term.content)
        assert isinstance(term.content, m.Stored)
        own = term.content.tensors[0]
        number = term_blocks(term, pair.right.term).index(pair.right)
        reduced = tuple((name, how) for name, how in rule.replicated if name in here and name not in there)
        merged = {name for name, _ in reduced}
        tensors, paths, indices = _left(rule, pair)
        return Link(
            rule,
            left,
            term.content,
            tensors,
            paths,
            list(axes.paths(own.layout.axes))[number],
            tuple(name for name in indices if name not in own.template.indices and name not in merged),
            reduced,
            tuple(name for name, how in rule.replicated if how == "sum" and name in there and name not in here),
        )

    @staticmethod
    def verifying(rule: m.Rule, pair: Pair) -> Link:
        """Return the link that reads the left block of a pair, replicas too, to compare it with the right one."""
        tensors, paths, indices = _left(rule, pair)
        left, right = rule.left[pair.left.term].content, rule.right[pair.right.term].content
        places = (place for block in pair.left.operands for axis in block.axes for place in axis.places)
        uneven = (place.atom.name for place in places if place.ragged)
        return Link(rule, left, right, tensors, paths, (), tuple(dict.fromkeys((*indices, *uneven))), (), ())

    @property
    def formula(self) -> m.Formula:
        """What the left term makes of its tensors, or of the one that an extern makes of them."""
        assert isinstance(self.left, m.Stored)
        return m.Operand(0) if self.left.call is not None else self.left.formula

    @property
    def calls(self) -> bool:
        """Say whether the left side is what an extern returns."""
        return isinstance(self.left, m.Stored) and self.left.call is not None

    @property
    def width(self) -> int:
        """How many tensors the formula is of."""
        return len(self.paths)

    @property
    def is_anything(self) -> bool:
        """Say whether the right side is `_`."""
        return isinstance(self.right, m.Fixed) and self.right.value is None

    @property
    def computes(self) -> bool:
        """Say whether numbers change on the way."""
        plain = isinstance(self.right, m.Stored) and isinstance(self.right.formula, m.Operand)
        if isinstance(self.left, m.Stored):
            plain = plain and isinstance(self.formula, m.Operand)
        return not plain or bool(self.spread) or any(how in ("mean", "sum") for _, how in self.reduced)

    def spot(self, place: Place) -> tuple[int, ...]:
        """Return the positions of the inner indices."""
        missing = next((name for name in self.inner if name not in place), None)
        if missing is not None:
            raise axes.Loose(missing)
        return tuple(place[name] for name in self.inner)


def _left(rule: m.Rule, pair: Pair) -> tuple[tuple[m.Tensor, ...], tuple[axes.Path, ...], tuple[str, ...]]:
    term = rule.left[pair.left.term]
    if not isinstance(term.content, m.Stored):
        return (), (), ()
    number = term_blocks(term, pair.left.term).index(pair.left)
    tensors = term.content.tensors
    output = term.content.output
    layouts = [tensor.layout for tensor in tensors] if output is None else [output]
    choices = [list(axes.paths(layout.axes)) for layout in layouts]
    paths = tuple(each[number if len(each) > 1 else 0] for each in choices)
    return tensors, paths, tuple(dict.fromkeys(index for each in tensors for index in each.template.indices))
