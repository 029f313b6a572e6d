"""Exact Gaussian elimination on sparse rows of fractions that remember which rows they were made of."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Row(Generic[Key]):
    """`sum of unknowns = right side`, which may have several columns; `origin` says how much of each input row is in it."""

    unknowns: dict[Key, Fraction]
    right: dict[int, Fraction]
    origin: dict[int, Fraction] = field(default_factory=dict)

    def subtract(self, other: Row[Key], factor: Fraction) -> None:
        _subtract(self.unknowns, other.unknowns, factor)
        _subtract(self.right, other.right, factor)
        _subtract(self.origin, other.origin, factor)

    def divide(self, by: Fraction) -> None:
        for column in (self.unknowns, self.right, self.origin):
            _divide(column, by)


@dataclass(frozen=True, slots=True)
class Reduced(Generic[Key]):
    """Rows in reduced echelon form by their pivots, and the rows that lost all their unknowns: their right side has to be 0."""

    pivots: dict[Key, Row[Key]]
    empty: tuple[tuple[int, Row[Key]], ...]  # with the number of the input row

    def reduce(self, unknowns: dict[Key, Fraction]) -> Row[Key]:
        """Return what is left of a combination of unknowns; the right side and origin are those of what was taken off, negated."""
        row = Row(dict(unknowns), {})
        for key in [key for key in row.unknowns if key in self.pivots]:
            row.subtract(self.pivots[key], row.unknowns[key])
        return row


def eliminate(rows: Sequence[Row[Key]]) -> Reduced[Key]:
    """Bring rows, which are used up, into reduced echelon form; earlier rows become pivots before later ones."""
    pivots: dict[Key, Row[Key]] = {}
    order: dict[Key, int] = {}
    empty: list[tuple[int, Row[Key]]] = []
    for number, row in enumerate(rows):
        row.origin = {number: Fraction(1)}
        _reduce(row, pivots, order)
        if not row.unknowns:
            empty.append((number, row))
            continue
        key = _first(row.unknowns)
        row.divide(row.unknowns[key])
        order[key] = len(pivots)
        pivots[key] = row
    for key in reversed(pivots):
        row = pivots[key]
        for other in [other for other in row.unknowns if other in pivots and other != key]:
            row.subtract(pivots[other], row.unknowns[other])
    return Reduced(pivots, tuple(empty))


def _reduce(row: Row[Key], pivots: dict[Key, Row[Key]], order: dict[Key, int]) -> None:
    """Take off the pivots in the order they were found in: a pivot's row holds no earlier pivot, but may hold later ones."""
    while True:
        held = [key for key in row.unknowns if key in order]
        if not held:
            return
        key = min(held, key=order.__getitem__)
        row.subtract(pivots[key], row.unknowns[key])


def _first(keys: Iterable[Any]) -> Any:
    return min(keys)


def _subtract(column: dict[Any, Fraction], other: dict[Any, Fraction], factor: Fraction) -> None:
    for key, value in other.items():
        left = column.get(key, _ZERO) - factor * value
        if left:
            column[key] = left
        else:
            column.pop(key, None)


def _divide(column: dict[Any, Fraction], by: Fraction) -> None:
    for key in column:
        column[key] /= by


_ZERO = Fraction(0)
