"""Dimensions from evidence: every size that was seen somewhere is an equation, and only what follows exactly is an answer.

Linear algebra over monomials, then over their exponents, again and again until nothing new follows: no search and no guess. All
arithmetic is exact. Where equations contradict each other, the weakest of those that were used is set aside and reported with the
others as its opponents. Knows neither configs nor tensors: a witness is text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from types import MappingProxyType

from tensormap.diagnostics import Span
from tensormap.language.polynomial import Monomial, Polynomial
from tensormap.lowering.elimination import Row, eliminate
from tensormap.lowering.factors import coprime_base, exact_root, exponents, product

_NOTHING: Mapping[str, int] = MappingProxyType({})
_DEGREE = 64  # a product of more dimensions than this is left alone
_SET = 2**63  # the strength of what is known beforehand: no witness outweighs it


@dataclass(frozen=True, slots=True)
class Witness:
    """Where a size was seen, in words; of two witnesses that disagree, the one of higher strength is believed."""

    text: str
    span: Span | None = None
    strength: int = 0


@dataclass(frozen=True, slots=True)
class Equation:
    """`size = value`, as one witness has it."""

    size: Polynomial
    value: int
    witness: Witness


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An equation that does not fit what stronger or earlier ones say; `count` equations say the same.

    `witnesses` begins with the one that disagrees; the others are those that it disagrees with, none where it is impossible by
    itself. `expected` is the size as the others have it, None where no whole number is possible.
    """

    size: Polynomial
    value: int
    expected: int | None
    witnesses: tuple[Witness, ...]
    count: int = 1
    slug: str = "contradiction"

    @property
    def message(self) -> str:
        seen, *others = (each.text for each in self.witnesses)
        if not others and self.size.value is not None:
            return f"a size that has to be {self.size} is {self.value}: {seen}"
        if not others:
            return f"`{self.size}` cannot be {self.value} in whole numbers: {seen}"
        if self.expected is None:
            return f"`{self.size}` = {self.value} leaves no whole number: {'; '.join(others)}; but {seen}"
        return f"`{self.size}` is both {self.expected} and {self.value}: {'; '.join(others)}; but {seen}"


@dataclass(frozen=True, slots=True)
class FreeMonomial:
    """A product that is known while its dimensions are not; or a dimension (`value` None) that nothing determines."""

    monomial: Monomial
    value: int | None
    witnesses: tuple[Witness, ...] = ()

    def __str__(self) -> str:
        shown = str(Polynomial.of([(self.monomial, 1)]))
        return f"{shown} is not determined" if self.value is None else f"{shown} = {self.value}"


@dataclass(frozen=True, slots=True)
class Solution:
    """Dimensions with their values and what gave them, what disagrees, and what stays open."""

    values: dict[str, int]
    witnesses: dict[str, tuple[Witness, ...]]
    contradictions: tuple[Contradiction, ...]
    free: tuple[FreeMonomial, ...]


def solve(equations: Sequence[Equation], known: Mapping[str, int] = _NOTHING) -> Solution:
    """Return every dimension that follows from the equations; `known` ones are set, whatever the equations say.

    The result depends on the order of equations only where they contradict each other: then higher strength, and at equal
    strength the earlier one, is believed. Dimensions are whole numbers of at least 0. Equations that repeat cost next to nothing.

    >>> seen = Witness("seen")
    >>> kv, g, d = map(Polynomial.dimension, ("kv", "g", "d"))
    >>> solve([Equation(kv * g, 32, seen), Equation(kv * g * d, 4096, seen), Equation(kv * d, 1024, seen)]).values
    {'d': 128, 'g': 4, 'kv': 8}
    """
    settled = [
        Equation(Polynomial.dimension(name), known[name], Witness(f"`{name}` is set to {known[name]}", None, _SET))
        for name in sorted(known)
    ]
    return _Solver(_distinct((*settled, *equations))).solution()


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A distinct equation; its rank is its place in the list of all, strongest first. `order` is where it was given."""

    equation: Equation
    order: int
    count: int


def _distinct(equations: Sequence[Equation]) -> list[_Ranked]:
    found: dict[tuple[Polynomial, int], list[int]] = {}
    for order, equation in enumerate(equations):
        found.setdefault((equation.size, equation.value), []).append(order)
    ranked = []
    for orders in found.values():
        best = min(orders, key=lambda order: (-equations[order].witness.strength, order))
        ranked.append(_Ranked(equations[best], best, len(orders)))
    return sorted(ranked, key=lambda each: (-each.equation.witness.strength, each.order))


# A support is a set of equations as the bits of an integer: bit k for the equation of rank k. Its highest bit is the weakest.


@dataclass(slots=True)
class _Known:
    value: int
    support: int


@dataclass(slots=True)
class _Open:
    """An equation as far as it is not settled: known dimensions are put in."""

    rank: int | None  # None for a monomial that was derived
    size: Polynomial
    value: int
    support: int


class _ClashError(Exception):
    """Equations that cannot all be true."""

    def __init__(self, support: int) -> None:
        super().__init__(support)
        self.support = support


class _Logarithms:
    """Known positive monomials as linear equations over exponents: which products of powers of dimensions follow from them."""

    def __init__(self, monomials: Mapping[Monomial, _Known]) -> None:
        self._facts = [(monomial, known) for monomial, known in sorted(monomials.items()) if known.value]
        self._base = coprime_base(known.value for _, known in self._facts)
        self._largest = max((known.value for _, known in self._facts), default=1)
        self._reduced = eliminate(
            [
                Row(_vector(monomial), {k: Fraction(power) for k, power in exponents(known.value, self._base).items()})
                for monomial, known in self._facts
            ]
        )
        for _, row in self._reduced.empty:
            if row.right:
                raise _ClashError(self._support(row))

    def dimensions(self) -> dict[str, _Known]:
        """Return the dimensions that follow: whole, and a factor of some known monomial."""
        found: dict[str, _Known] = {}
        for name, row in sorted(self._reduced.pivots.items()):
            if len(row.unknowns) == 1:
                value = product(row.right, self._base, self._largest)
                if value is None:
                    raise _ClashError(self._support(row))
                found[name] = _Known(value, self._support(row))
        return found

    def monomial(self, monomial: Monomial) -> _Known | None:
        """Return a monomial if it is a product of powers of known ones."""
        row = self._reduced.reduce(_vector(monomial))
        degree = sum(power for _, power in monomial)
        if row.unknowns or degree > _DEGREE:
            return None
        powers = {position: -power for position, power in row.right.items()}
        value = product(powers, self._base, self._largest**degree)
        if value is None:
            raise _ClashError(self._support(row))
        return _Known(value, self._support(row))

    def _support(self, row: Row[str]) -> int:
        return _union(self._facts[number][1].support for number in row.origin)


class _Solver:
    def __init__(self, equations: list[_Ranked]) -> None:
        self.equations = equations
        self.dropped: dict[int, int] = {}  # rank -> the support of the clash
        self.dimensions: dict[str, _Known] = {}
        self.monomials: dict[Monomial, _Known] = {}  # what is known without its dimensions
        self.open: list[_Open] = []
        self.used = 0  # the equations that something was derived from

    def solution(self) -> Solution:
        while True:
            self._begin()
            try:
                while self._round():
                    pass
            except _ClashError as clash:
                self.dropped[clash.support.bit_length() - 1] = clash.support
            else:
                break
        names = sorted(self.dimensions)
        return Solution(
            {name: self.dimensions[name].value for name in names},
            {name: self._witnesses(self.dimensions[name].support) for name in names},
            tuple(self._contradictions()),
            tuple(self._free()),
        )

    # --- one round ----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Open all equations again. A name that is said to be negative is no size, but a number all the same: `window = -1`."""
        self.dimensions, self.open, self.used = {}, [], 0
        for rank, each in enumerate(self.equations):
            size, value = each.equation.size, each.equation.value
            if rank in self.dropped:
                continue
            name = size.dimensions[0] if value < 0 and len(size.dimensions) == 1 else ""
            if size == Polynomial.dimension(name) and name not in self.dimensions:
                self._add({name: _Known(value, 1 << rank)})
            else:
                self.open.append(_Open(rank, size, value, 1 << rank))

    def _round(self) -> bool:
        """Derive what follows at once; say whether anything was new."""
        self._put_in()
        self._linear()
        found = self._zeros_and_ones()
        if not found:
            logarithms = _Logarithms(self.monomials)
            found = logarithms.dimensions()
        if found:
            self._add(found)
            return True
        return self._products(logarithms)

    def _add(self, found: Mapping[str, _Known]) -> None:
        self.dimensions.update(found)
        self.used |= _union(known.support for known in found.values())

    def _put_in(self) -> None:
        """Put known dimensions into the open equations, and take out what is settled or cannot be."""
        still: list[_Open] = []
        for each in self.open:
            known = [name for name in each.size.dimensions if name in self.dimensions]
            if known:
                each.size = each.size.substitute({name: self.dimensions[name].value for name in known})
                each.support |= _union(self.dimensions[name].support for name in known)
            settled = each.size.value
            if settled is None and not _impossible(each.size, each.value):
                still.append(each)
            elif settled != each.value:
                self._disagree(each.rank, each.support)
        self.open = still

    def _disagree(self, rank: int | None, support: int) -> None:
        """Set an equation aside that nothing was derived from; where it is not the weakest of its clash, begin again."""
        if rank is None or rank != support.bit_length() - 1 or self.used >> rank & 1:
            raise _ClashError(support)
        self.dropped[rank] = support

    def _linear(self) -> None:
        """Find the monomials that the open equations, linear in them, determine."""
        rows: list[Row[Monomial]] = []
        for each in self.open:
            constant = sum(coefficient for monomial, coefficient in each.size.terms if not monomial)
            unknowns = {monomial: Fraction(coefficient) for monomial, coefficient in each.size.terms if monomial}
            rows.append(Row(unknowns, {0: Fraction(each.value - constant)} if each.value != constant else {}))
        reduced = eliminate(rows)
        for number, row in reduced.empty:
            if row.right:
                self._disagree(self.open[number].rank, self._support(row))
        self.monomials = {}
        for monomial, row in reduced.pivots.items():
            if len(row.unknowns) == 1:
                value, support = row.right.get(0, Fraction(0)), self._support(row)
                degree = gcd(*(power for _, power in monomial))
                if value.denominator != 1 or value < 0 or exact_root(int(value), degree) is None:
                    raise _ClashError(support)
                self.monomials[monomial] = _Known(int(value), support)
        needless = {number for number, _ in reduced.empty}
        self.open = [each for number, each in enumerate(self.open) if number not in needless]

    def _support(self, row: Row[Monomial]) -> int:
        return _union(self.open[number].support for number in row.origin)

    def _zeros_and_ones(self) -> dict[str, _Known]:
        """A product of whole numbers is 1 only if all are; it is 0 if one is, and a factor of a positive product is not."""
        positive: dict[str, int] = {}
        found: dict[str, _Known] = {}
        for monomial, known in sorted(self.monomials.items()):
            if known.value:
                for name, _ in monomial:
                    positive.setdefault(name, known.support)
                    if known.value == 1:
                        found.setdefault(name, _Known(1, known.support))
        for monomial, known in sorted(self.monomials.items()):
            if not known.value:
                support = known.support | _union(positive.get(name, 0) for name, _ in monomial)
                maybe = [name for name, _ in monomial if name not in positive]
                if not maybe:
                    raise _ClashError(support)
                if len(maybe) == 1:
                    found.setdefault(maybe[0], _Known(0, support))
        return found

    def _products(self, logarithms: _Logarithms) -> bool:
        """Add the unknown monomials of open equations that are products of powers of known ones."""
        new: list[_Open] = []
        for monomial in sorted({monomial for each in self.open for monomial, _ in each.size.terms if monomial}):
            known = None if monomial in self.monomials else logarithms.monomial(monomial)
            if known is not None:
                new.append(_Open(None, Polynomial.of([(monomial, 1)]), known.value, known.support))
                self.used |= known.support
        self.open = [*new, *self.open]
        return bool(new)

    # --- the answer -----------------------------------------------------------------------------------------------

    def _witnesses(self, support: int) -> tuple[Witness, ...]:
        return tuple(self.equations[rank].equation.witness for rank in _bits(support))

    def _contradictions(self) -> Iterator[Contradiction]:
        for rank in sorted(self.dropped, key=lambda rank: self.equations[rank].order):
            each = self.equations[rank]
            size, value = each.equation.size, each.equation.value
            expected = self._expected(size)
            if expected != value:  # otherwise it fell with a clash whose other half fell later
                others = self._witnesses(self.dropped[rank] & ~(1 << rank))
                yield Contradiction(size, value, expected, (each.equation.witness, *others), each.count)

    def _expected(self, size: Polynomial) -> int | None:
        rest = size.substitute({name: known.value for name, known in self.dimensions.items()})
        total = 0
        for monomial, coefficient in rest.terms:
            if monomial and monomial not in self.monomials:
                return None
            total += coefficient * (self.monomials[monomial].value if monomial else 1)
        return total

    def _free(self) -> Iterator[FreeMonomial]:
        """Choose the least monomials that say all that is known of the dimensions in them; then the dimensions in none."""
        known = sorted(self.monomials.items(), key=lambda item: (sum(power for _, power in item[0]), item[0]))
        positive = [item for item in known if item[1].value]
        needless = {number for number, _ in eliminate([Row(_vector(monomial), {}) for monomial, _ in positive]).empty}
        chosen = [item for number, item in enumerate(positive) if number not in needless]
        chosen += [item for item in known if not item[1].value]
        for monomial, each in chosen:
            yield FreeMonomial(monomial, each.value, self._witnesses(each.support))
        covered = {name for monomial, _ in chosen for name, _ in monomial} | self.dimensions.keys()
        opened: dict[str, int] = {}
        for rank, ranked in enumerate(self.equations):
            for name in ranked.equation.size.dimensions:
                if name not in covered and rank not in self.dropped:
                    opened.setdefault(name, rank)
        for name in sorted(opened):
            yield FreeMonomial(((name, 1),), None, self._witnesses(1 << opened[name]))


def _impossible(size: Polynomial, value: int) -> bool:
    """Say whether a size, of any whole dimensions, differs from a value by its sign or by its divisor."""
    rest = value - sum(coefficient for monomial, coefficient in size.terms if not monomial)
    coefficients = [coefficient for monomial, coefficient in size.terms if monomial]
    divisor = gcd(*coefficients)
    return bool(divisor and rest % divisor) or (rest < 0 < min(coefficients)) or (rest > 0 > max(coefficients))


def _vector(monomial: Monomial) -> dict[str, Fraction]:
    return {name: Fraction(power) for name, power in monomial}


def _union(supports: Iterable[int]) -> int:
    result = 0
    for support in supports:
        result |= support
    return result


def _bits(support: int) -> Iterator[int]:
    return (rank for rank in range(support.bit_length()) if support >> rank & 1)
