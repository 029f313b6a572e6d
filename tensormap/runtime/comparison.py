"""What must be equal in memory and is not: collected rule by rule, and refused in one go, in the words of `runtime.verifying`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensormap.diagnostics import CheckpointError, Diagnostic
from tensormap.language import mapping as m
from tensormap.lowering.instances import where
from tensormap.runtime.casts import raw_dtype
from tensormap.runtime.equality import distance, words

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Found:
    """Where an array comes from: a tensor's shape, and a function for the flat position in it of each of the array's elements."""

    shape: tuple[int, ...]
    places: Callable[[], Array]


@dataclass(slots=True)
class Differences:
    """The first difference of each rule, and how many more it has."""

    _first: dict[int, tuple[m.Rule, str]] = field(default_factory=dict)
    _count: dict[int, int] = field(default_factory=dict)

    def compare(
        self, rule: m.Rule, names: Sequence[str], one: Array, other: Array, found: Found, ulps: int | None
    ) -> None:
        """Compare two arrays of one dtype, bitwise where `ulps` is None; `other` is what `found` says of the last of `names`."""
        if ulps is None:
            raw = raw_dtype(one.dtype.itemsize)
            unequal = one.view(raw) != other.view(raw)
        else:
            unequal = distance(one, other, other.dtype.name) > ulps
        if not unequal.any():
            return
        self._count[rule.number] = self._count.get(rule.number, 0) + 1
        if rule.number in self._first:
            return
        places = found.places()
        at = np.unravel_index(int(np.argmin(np.where(unequal, places, np.iinfo(np.int64).max))), unequal.shape)
        shown = ", ".join(str(each) for each in np.unravel_index(int(places[at]), found.shape))
        sources = " and ".join(f"`{name}`" for name in names[:-1]) or "the value of the rule"
        here, there = words(one[at], other[at])
        where_ = f" at [{shown}]" if shown else ""
        message = f"{sources} and `{names[-1]}` must be equal, and differ{where_}: {here} and {there}"
        self._first[rule.number] = rule, message

    def close(self) -> None:
        """Raise CheckpointError if anything differed."""
        found = []
        for number, (rule, message) in sorted(self._first.items()):
            notes = [f"the rule at {where(rule)} says so"]
            if self._count[number] > 1:
                notes.append(f"and {self._count[number] - 1} more of this rule")
            found.append(Diagnostic("not-equal", message, notes=tuple(notes)))
        if found:
            raise CheckpointError(found)
