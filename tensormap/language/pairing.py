"""Which block on the left is which block on the right. Works on one rule, for every size at once."""

from __future__ import annotations

from dataclasses import dataclass

from tensormap.language import mapping as m
from tensormap.language.layout import Atom, Block, blocks


@dataclass(frozen=True, slots=True)
class TermBlock:
    """One block of a term: for each of its tensors the block there. `open`: the term states no axes and takes its partner's."""

    term: int  # position in its side
    tags: tuple[str, ...]
    operands: tuple[Block, ...]
    open: bool = False

    @property
    def has_rest(self) -> bool:
        return any(block.has_rest for block in self.operands)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two blocks that hold the same numbers."""

    left: TermBlock
    right: TermBlock


class Unpaired(Exception):
    """The blocks of a rule do not pair: how many each side has for these tags."""

    def __init__(self, tags: tuple[str, ...], left: int, right: int) -> None:
        super().__init__(tags, left, right)
        self.tags = tags
        self.left = left
        self.right = right


def term_blocks(term: m.Term, position: int) -> tuple[TermBlock, ...]:
    """List a term's blocks in row-major order. Several tensors of one term have as many blocks each, or one for all."""
    prefix = (term.tag,) if term.tag else ()
    match term.content:
        case m.Stored(output=output) if output is not None:
            return tuple(TermBlock(position, prefix + block.tags, (block,)) for block in blocks(output))
        case m.Stored(tensors=tensors):
            each = [blocks(tensor.layout) for tensor in tensors]
            count = max(len(one) for one in each)
            if any(len(one) not in (1, count) for one in each):
                raise Unpaired((), min(len(one) for one in each), count)
            found: list[TermBlock] = []
            for k in range(count):
                chosen = tuple(one[k if len(one) == count else 0] for one in each)
                tags = next((block.tags for block in chosen if block.tags), ())
                found.append(TermBlock(position, prefix + tags, chosen))
            return tuple(found)
        case m.Fixed(layout=layout) if layout is not None:
            return tuple(TermBlock(position, prefix + block.tags, (block,)) for block in blocks(layout))
        case _:
            return (TermBlock(position, prefix, (), open=True),)


def side_blocks(terms: tuple[m.Term, ...]) -> tuple[TermBlock, ...]:
    """List the blocks of all terms of one side."""
    return tuple(block for position, term in enumerate(terms) for block in term_blocks(term, position))


def pair(rule: m.Rule) -> tuple[Pair, ...]:
    """Pair the blocks of a rule: in order, within equal tag lists. Raises Unpaired."""
    left, right = side_blocks(rule.left), side_blocks(rule.right)
    groups: dict[tuple[str, ...], tuple[list[TermBlock], list[TermBlock]]] = {}
    for side, found in ((0, left), (1, right)):
        for block in found:
            groups.setdefault(block.tags, ([], []))[side].append(block)
    pairs: list[Pair] = []
    for tags, (one, other) in groups.items():
        if len(one) != len(other):
            raise Unpaired(tags, len(one), len(other))
        pairs.extend(Pair(a, b) for a, b in zip(one, other, strict=True))
    return tuple(pairs)


def block_atoms(block: TermBlock, content: m.Content) -> dict[str, Atom | None]:
    """Return the atoms of a block by name, those of the tensors' layouts and (as None) the indices in their names."""
    found: dict[str, Atom | None] = {}
    for one in block.operands:
        for atom in one.atoms:
            found.setdefault(atom.name, atom)
    if isinstance(content, m.Stored):
        for tensor in content.tensors:
            for index in tensor.template.indices:
                found.setdefault(index, None)
    return found
