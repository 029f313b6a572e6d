"""Sizes as polynomials: sums of products of dimensions with integer coefficients, in one normal form.

Knows no tensor and no evidence. Two sizes are equal for every value of their dimensions exactly when their polynomials are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LIMIT = 2**63
_DEGREE = 64
_ONE = (((), 1),)

Monomial = tuple[tuple[str, int], ...]
"""Dimensions with their exponents, sorted by name; `()` is 1."""


@dataclass(frozen=True, slots=True)
class Polynomial:
    """Monomials with non-zero coefficients, sorted: `kv*g*d + 2*kv*d`."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def of(terms: Iterable[tuple[Monomial, int]]) -> Polynomial:
        """Collect equal monomials and drop zeros."""
        collected: dict[Monomial, int] = {}
        for monomial, coefficient in terms:
            collected[monomial] = collected.get(monomial, 0) + coefficient
        return Polynomial(tuple(sorted((m, c) for m, c in collected.items() if c)))

    @staticmethod
    def number(value: int) -> Polynomial:
        return Polynomial((((), value),) if value else ())

    @staticmethod
    def dimension(name: str) -> Polynomial:
        return Polynomial(((((name, 1),), 1),))

    def __add__(self, other: Polynomial) -> Polynomial:
        if not self.terms or not other.terms:
            return self if self.terms else other
        return Polynomial.of((*self.terms, *other.terms))

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + other * Polynomial.number(-1)

    def __mul__(self, other: Polynomial) -> Polynomial:
        if not self.terms or other.terms == _ONE:
            return self
        if not other.terms or self.terms == _ONE:
            return other
        return Polynomial.of((_times(m, n), c * k) for m, c in self.terms for n, k in other.terms)

    @property
    def value(self) -> int | None:
        """The number that this is, or None if it holds a dimension."""
        if not self.terms:
            return 0
        if len(self.terms) == 1 and self.terms[0][0] == ():
            return self.terms[0][1]
        return None

    @property
    def bounded(self) -> bool:
        """Whether the coefficients have 63 bits and the products 64 factors: beyond that is no size of anything."""
        return all(
            abs(coefficient) < LIMIT and sum(power for _, power in monomial) <= _DEGREE
            for monomial, coefficient in self.terms
        )

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that occur, sorted."""
        return tuple(sorted({name for monomial, _ in self.terms for name, _ in monomial}))

    def substitute(self, known: Mapping[str, int]) -> Polynomial:
        """Replace dimensions by the numbers that they are known to be."""
        terms: list[tuple[Monomial, int]] = []
        for monomial, coefficient in self.terms:
            rest: list[tuple[str, int]] = []
            for name, exponent in monomial:
                if name in known:
                    coefficient *= known[name] ** exponent
                else:
                    rest.append((name, exponent))
            terms.append((tuple(rest), coefficient))
        return Polynomial.of(terms)

    def evaluate(self, known: Mapping[str, int]) -> int:
        """Return the number; every dimension must be known (KeyError otherwise)."""
        total = 0
        for monomial, coefficient in self.terms:
            for name, exponent in monomial:
                coefficient *= known[name] ** exponent
            total += coefficient
        return total

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        return " + ".join(_show(m, c) for m, c in reversed(self.terms)).replace("+ -", "- ")


def _times(left: Monomial, right: Monomial) -> Monomial:
    exponents = dict(left)
    for name, exponent in right:
        exponents[name] = exponents.get(name, 0) + exponent
    return tuple(sorted(exponents.items()))


def _show(monomial: Monomial, coefficient: int) -> str:
    factors = [name if exponent == 1 else f"{name}**{exponent}" for name, exponent in monomial]
    if not factors:
        return str(coefficient)
    product = "*".join(factors)
    return product if coefficient == 1 else f"-{product}" if coefficient == -1 else f"{coefficient}*{product}"
