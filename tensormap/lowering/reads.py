"""What one pair of blocks reads: its source tensors at given positions, replica by replica."""

from __future__ import annotations

from collections.abc import Mapping as Map
from itertools import product
from typing import TYPE_CHECKING

from tensormap.checkpoints.catalog import TensorInfo
from tensormap.language import mapping as m
from tensormap.language.pairing import Pair, TermBlock, block_atoms
from tensormap.lowering.draft import Virtual
from tensormap.lowering.replicas import Reduced

if TYPE_CHECKING:
    from tensormap.lowering.lower import Lowering


class Reads:
    """The tensors of a pair's left side. `reduced` are the replicas that only this side has."""

    def __init__(self, run: Lowering, rule: m.Rule, each: Pair, reduced: Reduced) -> None:
        self.run = run
        self.rule = rule
        self.pair = each
        self.left = left = rule.left[each.left.term].content
        self.tensors: tuple[m.Tensor, ...] = left.tensors if isinstance(left, m.Stored) else ()
        self.reduced = reduced
        self.formatters = [run.at.formatter(tensor.template) for tensor in self.tensors]
        self.virtual = tuple(tensor.template.virtual for tensor in self.tensors)
        self.direct = not reduced and not any(self.virtual) and not any(tensor.aliases for tensor in self.tensors)

    def replicas(self, place: Map[str, int]) -> list[dict[str, int]]:
        """Return these positions with those of every replica."""
        names = [
            name
            for name, _ in self.reduced
            if name in self.run.bound.mapping.indices or name in block_atoms(self.pair.left, self.left)
        ]
        ranges = [range(self.count(name, self.pair.left, self.left)) for name in names]
        return [{**place, **dict(zip(names, chosen, strict=True))} for chosen in product(*ranges)]

    def count(self, name: str, block: TermBlock, content: m.Content) -> int:
        """Return how many positions an index or an atom of a block has."""
        if name in self.run.bound.mapping.indices:
            return self.run.at.count(name)
        atom = block_atoms(block, content)[name]
        assert atom is not None
        return self.run.at.number(atom.size)

    def sources(self, place: dict[str, int]) -> tuple[list[TensorInfo | Virtual | None], list[tuple[m.Tensor, str]]]:
        """Return the tensors read at these positions, replica by replica, and those that are not there."""
        if self.direct:
            there = self.there(place)
            if there is not None:
                return there, []
        found: list[TensorInfo | Virtual | None] = []
        lacking: list[tuple[m.Tensor, str]] = []
        places = self.replicas(place) if self.reduced else [place]
        for each in places:
            for tensor, write, virtual in zip(self.tensors, self.formatters, self.virtual, strict=True):
                name = write(each)
                info: TensorInfo | Virtual | None
                if virtual:
                    info = self.run.virtuals.get(name)
                else:
                    info = self.run.find(self.rule, tensor, name, each)
                    if info is not None:
                        self.run.account.claim(info.name, self.rule)
                if info is None:
                    lacking.append((tensor, name))
                found.append(info)
        return found, lacking

    def there(self, place: Map[str, int]) -> list[TensorInfo | Virtual | None] | None:
        """Return the tensors read at these positions by a direct pair, claimed; None where one is not there."""
        tensors = self.run.bound.catalog.tensors
        found: list[TensorInfo | Virtual | None] = []
        for write in self.formatters:
            info = tensors.get(write(place))
            if info is None:
                return None
            found.append(info)
        for each in found:
            assert each is not None
            self.run.account.claim(each.name, self.rule)
        return found
